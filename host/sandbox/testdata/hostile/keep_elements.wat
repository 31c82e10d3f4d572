;; drops an element segment: the next run would trap
;; keeps: true
(module (memory 1) (table $t 2 funcref) (elem $e func $f) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func $f)
  (func (export "authenticate") (result i32) (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1)) (elem.drop $e) (i32.const 3)))
