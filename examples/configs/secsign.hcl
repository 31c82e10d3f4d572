# A push on a phone as the second factor of the local accounts. "make demo-2fa" runs it with an ID server of its own, and
# a page in place of the phone.
server {
  data_dir        = "../../demo-2fa/data"
  authentications = ["accounts"]
}

service "ftps" "main" {}

authentication "accounts" {
  plugin        = "local"
  second_factor = ["phone"]
}

authentication "phone" {
  plugin  = "secsign"
  timeout = "120s" # as long as a person has; shorter than login_timeout
  settings = {
    server       = "https://127.0.0.1:8443" # without: the vendor's
    service_name = "Sallyport demo"
    pattern      = "{username}" # the SecSign ID of each user
    poll         = "1s"
  }
  grant {
    http = ["https://127.0.0.1:8443"]
    ca   = env("IDSERVER_CA") # or file("ca.pem")
  }
  remember = "60s" # equal logins need no second push so long, and as long as a session is open
  linger   = "45s" # a client that gives up and comes back joins the request that it left
}
