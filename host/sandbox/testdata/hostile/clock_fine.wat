;; looks for a clock with which to measure other logins: it must stand still; REJECT if it does
;; verdict: rejected
(module (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32))) (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func (export "authenticate") (result i32) (local $n i32)
    (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 0)))
    (loop (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if 0 (i32.lt_u (local.get $n) (i32.const 100000))))
    (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 8)))
    (if (result i32) (i64.eq (i64.load (i32.const 0)) (i64.load (i32.const 8))) (then (i32.const 2)) (else (i32.const 1)))))
