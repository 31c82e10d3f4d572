# What each of the push plugins must do, whatever its language:
#   sallyport plugin test examples/plugins/push-c/push-c.wasm examples/plugins/push.cases.hcl

settings = { url = "https://push.example/v1", timeout = 60 }
secrets  = { token = "Bearer t0ken" }

case "approved at the third look" {
  answer {
    status = 201
    body   = "{\"id\": \"r1\", \"prompt\": \"47\"}"
  }
  answer {
    status = 200
    body   = "{\"status\": \"pending\"}"
  }
  answer {
    status = 200
    body   = "{\"status\": \"pending\"}"
  }
  answer {
    status = 200
    body   = "{\"status\": \"approved\"}"
  }
  expect {
    verdict   = "accepted"
    approvals = ["requested", "approved"]
    slept     = "15s"
    headers   = { Authorization = "Bearer t0ken" }
    requests = [
      "POST https://push.example/v1/requests user=alice",
      "GET https://push.example/v1/requests/r1",
      "GET https://push.example/v1/requests/r1",
      "GET https://push.example/v1/requests/r1",
    ]
  }
}

case "denied" {
  answer {
    status = 201
    body   = "{\"id\": \"r1\"}"
  }
  answer {
    status = 200
    body   = "{\"status\": \"denied\"}"
  }
  expect {
    verdict   = "rejected"
    reason    = "rejected"
    approvals = ["requested", "denied"]
  }
}

case "a name that must be escaped" {
  user = "gräfin&co"
  answer { status = 404 }
  expect {
    verdict  = "unknown"
    requests = ["POST https://push.example/v1/requests user=gr%C3%A4fin%26co"]
  }
}

case "nobody answers" {
  settings = { url = "https://push.example/v1", timeout = 12 }
  answer {
    status = 201
    body   = "{\"id\": \"r1\"}"
  }
  answer {
    status = 200
    body   = "{\"status\": \"pending\"}"
  }
  answer {
    status = 200
    body   = "{\"status\": \"pending\"}"
  }
  answer {
    status = 200
    body   = "{\"status\": \"pending\"}"
  }
  answer { status = 204 }
  expect {
    verdict   = "rejected"
    approvals = ["requested", "expired"]
    slept     = "15s"
    requests = [
      "POST https://push.example/v1/requests",
      "GET https://push.example/v1/requests/r1",
      "GET https://push.example/v1/requests/r1",
      "GET https://push.example/v1/requests/r1",
      "DELETE https://push.example/v1/requests/r1",
    ]
  }
}

case "the client leaves: the request is taken back" {
  give_up = "7s"
  answer {
    status = 201
    body   = "{\"id\": \"r1\"}"
  }
  answer {
    status = 200
    body   = "{\"status\": \"pending\"}"
  }
  answer { status = 204 }
  expect {
    verdict = "given up"
    requests = [
      "POST https://push.example/v1/requests",
      "GET https://push.example/v1/requests/r1",
      "DELETE https://push.example/v1/requests/r1",
    ]
  }
}

case "the service is down" {
  answer { error = "connection refused" }
  expect {
    verdict  = "failed"
    log      = ["connection refused", "did not take the request"]
    requests = ["POST https://push.example/v1/requests"]
  }
}

case "the service talks nonsense" {
  answer {
    status = 201
    body   = "<html>Welcome</html>"
  }
  expect { verdict = "failed" }
}

case "the service loses its mind while somebody waits" {
  answer {
    status = 201
    body   = "{\"id\": \"r1\"}"
  }
  answer {
    status = 500
    body   = "oops"
  }
  answer { status = 204 }
  expect {
    verdict = "failed"
    requests = [
      "POST https://push.example/v1/requests",
      "GET https://push.example/v1/requests/r1",
      "DELETE https://push.example/v1/requests/r1",
    ]
  }
}

case "the client leaves before the first look" {
  give_up = "5s"
  answer {
    status = 201
    body   = "{\"id\": \"r1\"}"
  }
  answer { status = 204 }
  expect {
    verdict = "given up"
    requests = [
      "POST https://push.example/v1/requests",
      "DELETE https://push.example/v1/requests/r1",
    ]
  }
}
