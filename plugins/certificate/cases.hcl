case "no certificate" {
  user     = "alice"
  password = "x"
  expect { verdict = "unknown" }
}

case "the common name" {
  user   = "alice"
  fields = { "certificate.names" = "cn:Alice", "certificate.subject" = "CN=Alice" }
  expect {
    verdict = "accepted"
    fields  = { "account.name" = "alice" }
  }
}

case "an alternative name" {
  user   = "alice@example.org"
  fields = { "certificate.names" = "cn:Alice Liddell\nemail:alice@example.org" }
  expect { verdict = "accepted" }
}

case "somebody else's" {
  user     = "alice"
  password = "x"
  fields   = { "certificate.names" = "cn:bob", "certificate.subject" = "CN=bob" }
  expect {
    verdict = "rejected"
    reason  = "certificate_not_theirs"
  }
}

case "mapped" {
  user     = "alice"
  settings = { users = { "cn:Alice Liddell" = "alice" } }
  fields   = { "certificate.names" = "cn:Alice Liddell" }
  expect { verdict = "accepted" }
}

case "a name that is mapped is no longer its own" {
  user     = "bob"
  settings = { users = { "cn:bob" = "robert" } }
  fields   = { "certificate.names" = "cn:bob" }
  expect { verdict = "rejected" }
}

case "nor in upper case" {
  user     = "bob"
  settings = { users = { "cn:bob" = "robert" } }
  fields   = { "certificate.names" = "cn:Bob" }
  expect { verdict = "rejected" }
}

case "a kind that does not count" {
  user     = "alice"
  settings = { match = ["email"] }
  fields   = { "certificate.names" = "cn:alice\nemail:bob" }
  expect { verdict = "rejected" }
}

case "without an account here" {
  user     = "alice"
  settings = { accounts = false }
  fields   = { "certificate.names" = "cn:alice" }
  expect {
    verdict = "accepted"
    fields  = {}
  }
}
