;; tries everything without a grant: http, dial, ask, secrets, the password; REJECT if all is refused
;; verdict: rejected
(module (import "sallyport_1" "get" (func $get (param i32 i32 i32 i32) (result i32)))(import "sallyport_1" "set" (func $set (param i32 i32 i32 i32) (result i32)))(import "sallyport_1" "http" (func $http (result i32)))(import "sallyport_1" "ask" (func $ask (result i32)))(import "sallyport_1" "dial" (func $dial (param i32 i32) (result i32)))(import "sallyport_1" "start_tls" (func $start_tls (param i32 i32 i32) (result i32)))
  (memory 1) (data (i32.const 0) "http.request.urlhttp://127.0.0.1:22/tcp://127.0.0.1:22passwordsecret.x") (export "memory" (memory 0)) (func (export "sallyport_abi_1"))
  (func $denied (param i32) (if (i32.ge_s (local.get 0) (i32.const 0)) (then unreachable)))
  (func (export "authenticate") (result i32)
    (drop (call $set (i32.const 0) (i32.const 16) (i32.const 16) (i32.const 20)))
    (call $denied (call $http))
    (call $denied (call $dial (i32.const 36) (i32.const 18)))
    (call $denied (call $start_tls (i32.const 4) (i32.const 0) (i32.const 0)))
    (call $denied (call $ask))
    (call $denied (call $get (i32.const 54) (i32.const 8) (i32.const 200) (i32.const 100)))
    (call $denied (call $get (i32.const 62) (i32.const 8) (i32.const 200) (i32.const 100)))
    i32.const 2))
