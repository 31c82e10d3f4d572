;; keeps a mark in the last byte of its memory, and in globals of all kinds
;; keeps: true
(module (memory 4) (global $a (mut i64) (i64.const 7)) (global $b (mut f32) (f32.const 0.5)) (global $c (mut f64) (f64.const 0.25)) (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
  (func (export "authenticate") (result i32) (local $kept i32)
    (local.set $kept (i32.or (i32.or (i32.load8_u (i32.const 262143)) (i64.ne (global.get $a) (i64.const 7))) (i32.or (f32.ne (global.get $b) (f32.const 0.5)) (f64.ne (global.get $c) (f64.const 0.25)))))
    (i32.store8 (i32.const 262143) (i32.const 1)) (global.set $a (i64.const 8)) (global.set $b (f32.const 1)) (global.set $c (f64.const 1))
    (if (result i32) (local.get $kept) (then (i32.const 1)) (else (i32.const 3)))))
