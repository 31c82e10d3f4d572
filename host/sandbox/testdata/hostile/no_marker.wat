;; some other module
;; load: not a Sallyport plugin
(module (memory 1) (export "memory" (memory 0)) (func (export "authenticate") (result i32) i32.const 1))
