;; never ends, in the start function
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func $s (loop (br 0))) (start $s) (func (export "authenticate") (result i32) i32.const 1))
