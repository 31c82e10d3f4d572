;; asks everything in _initialize, when nothing is granted; traps unless all is refused
;; verdict: accepted
(module (import "sallyport_1" "get" (func $get (param i32 i32 i32 i32) (result i32)))(import "sallyport_1" "set" (func $set (param i32 i32 i32 i32) (result i32)))(import "sallyport_1" "http" (func $http (result i32)))(import "sallyport_1" "ask" (func $ask (result i32)))(import "sallyport_1" "dial" (func $dial (param i32 i32) (result i32)))(import "sallyport_1" "sleep" (func $sleep (param i32) (result i32)))
  (memory 1) (data (i32.const 0) "userreasontcp://127.0.0.1:22") (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
  (func $denied (param i32) (if (i32.ge_s (local.get 0) (i32.const 0)) (then unreachable)))
  (func (export "_initialize")
    (call $denied (call $get (i32.const 0) (i32.const 4) (i32.const 100) (i32.const 100)))
    (call $denied (call $set (i32.const 4) (i32.const 6) (i32.const 0) (i32.const 4)))
    (call $denied (call $http)) (call $denied (call $ask)) (call $denied (call $sleep (i32.const 1)))
    (call $denied (call $dial (i32.const 10) (i32.const 18))))
  (func (export "authenticate") (result i32) i32.const 1))
