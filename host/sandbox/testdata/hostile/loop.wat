;; never ends, in a loop
;; run: over a limit: ran for more than 250ms
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func (export "authenticate") (result i32) (loop (br 0)) unreachable))
