;; returns 7
;; run: returned 7
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func (export "authenticate") (result i32) i32.const 7))
