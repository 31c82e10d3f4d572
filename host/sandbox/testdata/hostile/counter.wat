;; ACCEPT from the second call on, if anything is kept between calls
;; keeps: true
(module (memory 1) (global $n (mut i32) (i32.const 0)) (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
  (func (export "authenticate") (result i32)
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (i32.const 1)))
    (if (result i32) (i32.or (i32.gt_u (global.get $n) (i32.const 1)) (i32.gt_u (i32.load (i32.const 64)) (i32.const 1))) (then (i32.const 1)) (else (i32.const 3)))))
