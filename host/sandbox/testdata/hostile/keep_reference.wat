;; keeps a mark in a global that is no number
;; keeps: true
(module (memory 1) (global $g (mut funcref) (ref.null func)) (elem declare func $f) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func $f)
  (func (export "authenticate") (result i32)
    (if (result i32) (ref.is_null (global.get $g)) (then (global.set $g (ref.func $f)) (i32.const 3)) (else (i32.const 1)))))
