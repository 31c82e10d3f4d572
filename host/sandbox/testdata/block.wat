;; a plugin without an SDK on a socket that blocks, as C programs have it: dials settings.address, sends
;; a line, and accepts if the same comes back
(module
  (import "sallyport_1" "get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "sallyport_1" "dial" (func $dial (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory 1) (data (i32.const 0) "settings.address") (data (i32.const 32) "hello\n")
  (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
  (func $ok (param i32) (if (local.get 0) (then unreachable)))
  (func (export "authenticate") (result i32) (local $fd i32)
    (local.set $fd (call $dial (i32.const 100) (call $get (i32.const 0) (i32.const 16) (i32.const 100) (i32.const 100))))
    (if (i32.lt_s (local.get $fd) (i32.const 0)) (then (return (i32.const 2))))
    (i32.store (i32.const 200) (i32.const 32)) (i32.store (i32.const 204) (i32.const 6))
    (call $ok (call $write (local.get $fd) (i32.const 200) (i32.const 1) (i32.const 220)))
    (i32.store (i32.const 200) (i32.const 300)) (i32.store (i32.const 204) (i32.const 6))
    (call $ok (call $read (local.get $fd) (i32.const 200) (i32.const 1) (i32.const 220)))
    (if (result i32) (i64.eq (i64.load (i32.const 32)) (i64.load (i32.const 300))) (then (i32.const 1)) (else (i32.const 0)))))
