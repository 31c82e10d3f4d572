;; 100,000 mutable globals
;; load: 100000 mutable globals | at most 1000
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
;; repeat 100000: (global (mut i32) (i32.const 0))
(func (export "authenticate") (result i32) i32.const 1))
