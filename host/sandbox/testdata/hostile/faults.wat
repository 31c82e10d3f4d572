;; many faults at once: all must be named
;; load: env.abort | get as (i64) -> (i32), it is (i32 i32 i32 i32) -> (i32) | teleport | memory | authenticate must be a function () -> (i32) | describe must be
(module (import "env" "abort" (func (param i32))) (import "sallyport_1" "get" (func (param i64) (result i32)))
  (import "sallyport_1" "teleport" (func)) (memory 1) (func (export "sallyport_abi_1")) (func (export "authenticate") (param i32)) (func (export "describe") (result i32) i32.const 0))
