;; recurses until the stack is full
;; run: stack overflow
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func $f (call $f) (drop (i32.const 1)) (call $f)) (func (export "authenticate") (result i32) (call $f) (i32.const 1)))
