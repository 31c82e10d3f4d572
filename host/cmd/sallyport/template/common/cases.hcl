# What the plugin must do; run it with: sallyport plugin test NAME.wasm cases.hcl
# A case may also have answer { } blocks for HTTP requests, account { }, give_up = "7s" and more:
# the README of Sallyport says which.

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
