;; writes 4 billion pieces; REJECT if it is refused
;; verdict: rejected
(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32))) (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func (export "authenticate") (result i32)
  (if (result i32) (i32.eqz (call $write (i32.const 1) (i32.const 0) (i32.const 0xffffffff) (i32.const 0))) (then (i32.const 1)) (else (i32.const 2)))))
