;; keeps a mark in the size of its memory
;; keeps: true
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func (export "authenticate") (result i32)
    (if (result i32) (i32.eq (memory.size) (i32.const 1)) (then (drop (memory.grow (i32.const 1))) (i32.const 3)) (else (i32.const 1)))))
