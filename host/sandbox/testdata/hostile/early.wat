;; asks the host in _initialize, when nothing is granted yet; traps unless the answer is -7
;; verdict: accepted
(module (import "sallyport_1" "verify" (func $verify (param i32 i32) (result i32)))
  (memory 1) (data (i32.const 0) "password") (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
  (func (export "_initialize") (if (i32.ne (call $verify (i32.const 0) (i32.const 8)) (i32.const -7)) (then unreachable)))
  (func (export "authenticate") (result i32) i32.const 1))
