;; an export with a name of ours
;; load: names that begin with sallyport_global_ are ours
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (global $g (mut i32) (i32.const 0)) (export "sallyport_global_0" (global $g)) (func (export "authenticate") (result i32) i32.const 1))
