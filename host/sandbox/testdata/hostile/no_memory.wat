;; exports no memory
;; load: memory
(module (func (export "sallyport_abi_1")) (func (export "authenticate") (result i32) i32.const 1))
