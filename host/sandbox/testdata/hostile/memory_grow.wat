;; grows its memory until refused; REJECT then
;; verdict: rejected
(module (memory 1) (export "memory" (memory 0)) (func (export "sallyport_abi_1")) (func (export "authenticate") (result i32)
  (loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) i32.const 2))
