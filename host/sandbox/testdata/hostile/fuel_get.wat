;; reads the counter that the rewrite adds
;; load: uses a global that it does not have
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func (export "authenticate") (result i32) (global.get 0)))
