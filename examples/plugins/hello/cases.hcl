# What the plugin must do: sallyport plugin test examples/plugins/hello/hello.wasm

settings = { user = "alice", passphrase = "open sesame" }

case "somebody else" {
  user = "bob"
  expect { verdict = "unknown" }
}

case "the right passphrase" {
  user     = "alice"
  password = "open sesame"
  expect { verdict = "accepted" }
}

case "a wrong passphrase" {
  user     = "alice"
  password = "guess"
  expect {
    verdict = "rejected"
    reason  = "wrong_password"
  }
}
