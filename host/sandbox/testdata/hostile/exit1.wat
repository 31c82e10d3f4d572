;; ends itself with failure
;; run: ended itself with exit code 1
(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func (export "authenticate") (result i32) (call $exit (i32.const 1)) i32.const 1))
