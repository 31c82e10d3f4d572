;; 200,000 functions
;; load: 200002 functions | at most 100000
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
;; repeat 200000: (func)
(func (export "authenticate") (result i32) i32.const 1))
