;; verifies again and again
;; verdict: rejected
(module (import "sallyport_1" "verify" (func $verify (param i32 i32) (result i32)))
  (memory 1) (data (i32.const 0) "password") (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
  (func (export "authenticate") (result i32) (local $n i32)
    (loop (drop (call $verify (i32.const 0) (i32.const 8)))
      (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if 0 (i32.lt_u (local.get $n) (i32.const 100))))
    i32.const 2))
