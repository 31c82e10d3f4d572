;; writes 64 times the same 32 MiB of new lines to the log, in one call
;; run: over a limit: ran for more than 250ms
(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32))) (memory 600) (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
  (func (export "authenticate") (result i32) (local $n i32)
    (memory.fill (i32.const 1024) (i32.const 10) (i32.const 33554432))
    (loop (i32.store (i32.mul (local.get $n) (i32.const 8)) (i32.const 1024)) (i32.store offset=4 (i32.mul (local.get $n) (i32.const 8)) (i32.const 33554432))
      (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if 0 (i32.lt_u (local.get $n) (i32.const 64))))
    (loop (drop (call $write (i32.const 1) (i32.const 0) (i32.const 64) (i32.const 600))) (br 0)) unreachable))
