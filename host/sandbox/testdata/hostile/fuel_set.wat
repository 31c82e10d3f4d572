;; gives itself time: writes the counter that the rewrite adds as the last global
;; load: uses a global that it does not have
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func (export "authenticate") (result i32) (global.set 0 (i32.const 2000000000)) (loop (br 0)) unreachable))
