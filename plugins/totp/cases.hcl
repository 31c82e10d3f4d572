case "right" {
  fields = { code = "123456" }
  account { code = "123456" }
  expect { verdict = "accepted" }
}

case "wrong" {
  fields = { code = "654321" }
  account { code = "123456" }
  expect {
    verdict = "rejected"
    reason  = "wrong_code"
  }
}

case "none given" {
  account { code = "123456" }
  expect { verdict = "rejected" }
}

case "not enrolled" {
  fields = { code = "123456" }
  account { password = "x" }
  expect { verdict = "unknown" }
}
