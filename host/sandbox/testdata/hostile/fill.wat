;; straight-line code of slow bulk operations, called again and again without a loop
;; run: over a limit: ran for more than 250ms
(module (memory 1000) (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
  (func $one (memory.fill (i32.const 0) (i32.const 1) (i32.const 65000000)))
  (func $ten (call $one)(call $one)(call $one)(call $one)(call $one)(call $one)(call $one)(call $one)(call $one)(call $one))
  (func $hundred (call $ten)(call $ten)(call $ten)(call $ten)(call $ten)(call $ten)(call $ten)(call $ten)(call $ten)(call $ten))
  (func (export "authenticate") (result i32) (call $hundred)(call $hundred)(call $hundred)(call $hundred) (i32.const 1)))
