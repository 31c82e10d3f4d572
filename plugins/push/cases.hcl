case "approved" {
  user   = "alice"
  fields = { service = "partners", "client.ip" = "192.0.2.1" }
  ask    = true
  expect { verdict = "accepted" }
}

case "denied" {
  ask = false
  expect {
    verdict = "rejected"
    reason  = "approval_denied"
  }
}
