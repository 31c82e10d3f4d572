;; never ends, without a loop: f(n) = f(n-1) + f(n-1)
;; run: over a limit: ran for more than 250ms
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
  (func $f (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 1))
      (else (i32.add (call $f (i32.sub (local.get 0) (i32.const 1))) (call $f (i32.sub (local.get 0) (i32.const 1)))))))
  (func (export "authenticate") (result i32) (call $f (i32.const 60))))
