;; a marker that is a function with parameters
;; load: sallyport_abi_1 must be a function () -> ()
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1") (param i32)) (func (export "authenticate") (result i32) i32.const 1))
