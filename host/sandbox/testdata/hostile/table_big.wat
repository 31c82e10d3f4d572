;; declares a huge table
;; load: 100000000 entries | 65536
(module (memory 1) (table 100000000 funcref) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func (export "authenticate") (result i32) i32.const 1))
