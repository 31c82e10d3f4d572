;; exports the counter that the rewrite adds
;; load: is a global that it does not have
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (export "mine" (global 0)) (func (export "authenticate") (result i32) (i32.const 1)))
