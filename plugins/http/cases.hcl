settings = { urls = ["https://auth.example/check", "https://auth2.example/check"] }

case "204 accepts, and this is what is asked" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 204
  }
  expect {
    verdict = "accepted"
    requests = ["POST https://auth.example/check {\"credentials\":{\"content\":\"p\\\"w\",\"creator\":{\"type\":\"ftps\",\"uuid\":\"partners\"},\"peer\":{\"address\":\"203.0.113.5\",\"family\":\"IPv4\",\"port\":2345,\"protocol\":\"TCP\"},\"type\":\"password\",\"username\":\"kevin\"},\"server\":{\"uuid\":\"VP server\"}}"]
    headers = { Content-Type = "application/json; charset=utf-8", X-Request-Id = "login-1" }
  }
}

case "401 knows nobody of that name" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 401
  }
  expect {
    verdict = "unknown"
  }
}

case "403 rejects" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 403
    body = "{\"message\": \"too late\", \"code\": 7, \"extra\": {}}"
  }
  expect {
    verdict = "rejected"
    reason = "rejected"
    log = ["too late"]
  }
}

case "403 with a text" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 403
    body = "go away"
  }
  expect {
    verdict = "rejected"
  }
}

case "200 with a whole account" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "{\"account\": {\"home_folder_path\": \"/srv/ftp/$${USER}\", \"uuid\": \"7f\", \"group\": \"uk-sales\", \"email\": \"kevin@example.com\", \"create_home_folder\": true, \"create_home_folder_owner\": \"ftp\", \"create_home_folder_group\": \"\", \"home_folder_structure\": [\"in\", \"out/new\"], \"virtual_folders\": [[\"/shared\", \"/srv/ftp/shared\"]], \"permissions\": [[\"allow-read\", \"allow-list\"], [\"/in/*\", \"allow-write\"], [\"*.exe\", \"deny-full-control\"]]}}"
  }
  expect {
    verdict = "accepted"
    fields = {
      "account.home" = "/srv/ftp/kevin"
      "account.attribute.uuid" = "7f"
      "account.groups" = "uk-sales"
      "account.email" = "kevin@example.com"
      "account.create_home" = "true"
      "account.structure" = "in\nout/new"
      "account.folders" = "/shared\t/srv/ftp/shared\n"
      "account.permissions" = "allow-read,allow-list"
      "account.rules" = "/in/*\tallow-write\n*.exe\tdeny-full-control\n"
    }
    log = ["create_home_folder_owner is ignored"]
  }
}

case "200 with an empty account" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "{\"account\": {}}"
  }
  expect {
    verdict = "accepted"
  }
}

case "200 with an unknown key fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "{\"account\": {\"home\": \"/x\"}}"
  }
  expect {
    verdict = "failed"
    error = "account.home: unknown key"
  }
}

case "200 with an unknown key outside fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "{\"account\": {}, \"more\": 1}"
  }
  expect {
    verdict = "failed"
    error = "unknown key"
  }
}

case "200 with another case fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "{\"Account\": {}}"
  }
  expect {
    verdict = "failed"
    error = "unknown key"
  }
}

case "200 with a key twice fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "{\"account\": {\"group\": \"a\", \"group\": \"b\"}}"
  }
  expect {
    verdict = "failed"
    error = "twice"
  }
}

case "200 with another type fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "{\"account\": {\"group\": 7}}"
  }
  expect {
    verdict = "failed"
    error = "account.group"
  }
}

case "200 with null fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "{\"account\": {\"email\": null}}"
  }
  expect {
    verdict = "failed"
    error = "null"
  }
}

case "200 with no account fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "{}"
  }
  expect {
    verdict = "failed"
    error = "missing"
  }
}

case "200 with no JSON fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "OK"
  }
  expect {
    verdict = "failed"
    error = "JSON object is expected"
  }
}

case "200 with nothing fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = ""
  }
  expect {
    verdict = "failed"
    error = "JSON object is expected"
  }
}

case "200 with a cut object fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "{\"account\": {\"group\": \"a\""
  }
  expect {
    verdict = "failed"
  }
}

case "200 with more behind it fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "{\"account\": {}} {}"
  }
  expect {
    verdict = "failed"
    error = "behind the object"
  }
}

case "200 with half a folder fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "{\"account\": {\"virtual_folders\": [[\"/a\"]]}}"
  }
  expect {
    verdict = "failed"
    error = "pairs"
  }
}

case "200 with a rule without permissions fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "{\"account\": {\"permissions\": [[], [\"/a\"]]}}"
  }
  expect {
    verdict = "failed"
    error = "rules"
  }
}

case "any other answer fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 202
  }
  expect {
    verdict = "failed"
    error = "202"
  }
}

case "a redirect fails" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 302
  }
  expect {
    verdict = "failed"
  }
}

case "the next URL answers" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    error = "connection refused"
  }
  answer {
    status = 204
  }
  expect {
    verdict = "accepted"
    requests = ["POST https://auth.example/check {\"credentials\":{\"content\":\"p\\\"w\",\"creator\":{\"type\":\"ftps\",\"uuid\":\"partners\"},\"peer\":{\"address\":\"203.0.113.5\",\"family\":\"IPv4\",\"port\":2345,\"protocol\":\"TCP\"},\"type\":\"password\",\"username\":\"kevin\"},\"server\":{\"uuid\":\"VP server\"}}", "POST https://auth2.example/check {\"credentials\":{\"content\":\"p\\\"w\",\"creator\":{\"type\":\"ftps\",\"uuid\":\"partners\"},\"peer\":{\"address\":\"203.0.113.5\",\"family\":\"IPv4\",\"port\":2345,\"protocol\":\"TCP\"},\"type\":\"password\",\"username\":\"kevin\"},\"server\":{\"uuid\":\"VP server\"}}"]
  }
}

case "the first URL is broken" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 503
  }
  answer {
    status = 401
  }
  expect {
    verdict = "unknown"
  }
}

case "the first URL is too slow" {
  user     = "kevin"
  password = "p\"w"
  settings = { urls = ["https://auth.example/check", "https://auth2.example/check"], timeout = "5s" }
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 204
    took = "6s"
  }
  answer {
    status = 204
  }
  expect {
    verdict = "accepted"
  }
}

case "no URL answers" {
  user     = "kevin"
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    error = "connection refused"
  }
  answer {
    error = "connection refused"
  }
  expect {
    verdict = "failed"
    error = "connection refused"
  }
}

case "Basic authentication and headers" {
  user     = "kevin"
  password = "p\"w"
  settings = { urls = ["https://auth.example/check"], username = "me", password = "sesame", headers = { "X-API-Key" = "k3y" } }
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 204
  }
  expect {
    verdict = "accepted"
    headers = { Authorization = "Basic bWU6c2VzYW1l", X-Api-Key = "k3y" }
  }
}

case "a name that is no folder" {
  user     = ".."
  password = "p\"w"
  fields = { "client.ip" = "203.0.113.5", "client.port" = "2345", "service.kind" = "ftps", service = "partners", server = "VP server", login = "login-1" }
  answer {
    status = 200
    body = "{\"account\": {\"home_folder_path\": \"/srv/$${USER}\"}}"
  }
  expect {
    verdict = "failed"
  }
}

case "our own password is refused" {
  user     = "kevin"
  password = "a password"
  settings = { urls = ["https://auth.example/check"], username = "me", password = "old" }
  answer {
    status = 401
    header = { WWW-Authenticate = "Basic" }
  }
  expect {
    verdict = "failed"
    error   = "refuses our own"
  }
}
