;; sets a field a million times, and too long ones
;; run: over a limit: ran for more than 250ms
(module (import "sallyport_1" "set" (func $set (param i32 i32 i32 i32) (result i32))) (memory 4) (data (i32.const 0) "reason") (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
  (func (export "authenticate") (result i32)
    (if (i32.ne (call $set (i32.const 0) (i32.const 6) (i32.const 0) (i32.const 65537)) (i32.const -4)) (then unreachable))
    (loop (drop (call $set (i32.const 0) (i32.const 6) (i32.const 100) (i32.const 60000))) (br 0)) unreachable))
