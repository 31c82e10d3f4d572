;; grows a table that declares no maximum; ACCEPT if that worked
;; verdict: rejected
(module (memory 1) (table $t 1 funcref) (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
  (func (export "authenticate") (result i32)
    (if (result i32) (i32.eq (table.grow $t (ref.null func) (i32.const 100000000)) (i32.const -1)) (then (i32.const 2)) (else (i32.const 1)))))
