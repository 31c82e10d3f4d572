case "anonymous" {
  user     = "anonymous"
  password = "mozilla@example.com"
  expect {
    verdict = "accepted"
    fields  = { "account.permissions" = "allow-read,allow-list,allow-traverse" }
  }
}

case "ftp" {
  user     = "ftp"
  password = "guest"
  expect { verdict = "accepted" }
}

case "somebody else" {
  user = "alice"
  expect { verdict = "unknown" }
}

case "mapped to an account, with an upload folder" {
  user     = "guest"
  password = "x"
  settings = { usernames = ["Guest"], account = "public", permissions = ["allow-full-control"] }
  expect {
    verdict = "accepted"
    fields  = { "account.name" = "public", "account.permissions" = "allow-full-control" }
  }
}

case "an e-mail address is asked for" {
  user          = "anonymous"
  password      = "guest"
  settings      = { require_email = true }
  sees_password = true
  expect { verdict = "rejected" }
}

case "an e-mail address is given" {
  user          = "anonymous"
  password      = "bob@"
  settings      = { require_email = true }
  sees_password = true
  expect { verdict = "accepted" }
}

case "an e-mail address is asked for, without the grant" {
  user     = "anonymous"
  password = "bob@"
  settings = { require_email = true }
  expect { verdict = "failed" }
}
