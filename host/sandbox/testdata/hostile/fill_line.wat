;; straight-line code of 400 slow bulk operations in one function: no call, no loop
;; run: over a limit: ran for more than 250ms
(module (memory 1000) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func (export "authenticate") (result i32)
;; repeat 400: (memory.fill (i32.const 0) (i32.const 1) (i32.const 65000000))
i32.const 1))
