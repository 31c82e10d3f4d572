;; 200,000 data segments
;; load: 200000 data segments | at most 100000
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
;; repeat 200000: (data (i32.const 0) "")
(func (export "authenticate") (result i32) i32.const 1))
