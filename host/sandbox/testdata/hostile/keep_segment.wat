;; drops a data segment: the next run would trap
;; keeps: true
(module (memory 1) (data $d "x") (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
  (func (export "authenticate") (result i32) (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)) (data.drop $d) (i32.const 3)))
