;; keeps a mark in the size of a table
;; keeps: true
(module (memory 1) (table $t 2 funcref) (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
  (func (export "authenticate") (result i32)
    (if (result i32) (i32.eq (table.size $t) (i32.const 2)) (then (drop (table.grow $t (ref.null func) (i32.const 1))) (i32.const 3)) (else (i32.const 1)))))
