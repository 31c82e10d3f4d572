;; one function body of more than 1 MiB, of nothing but slow operations
;; load: at most 1048576 | limits { function }
(module (memory 1000) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func (export "authenticate") (result i32)
;; repeat 100000: (memory.fill (i32.const 0) (i32.const 1) (i32.const 65000000))
i32.const 1))
