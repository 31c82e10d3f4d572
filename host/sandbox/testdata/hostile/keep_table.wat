;; keeps a mark in a table
;; keeps: true
(module (memory 1) (table $t 2 funcref) (elem declare func $f) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func $f)
  (func (export "authenticate") (result i32)
    (if (result i32) (ref.is_null (table.get $t (i32.const 1))) (then (table.set $t (i32.const 1) (ref.func $f)) (i32.const 3)) (else (i32.const 1)))))
