# What "sallyport serve" uses when there is no config.hcl: config.hcl at the top of the
# repository explains each line.
server {
  authentications = ["accounts"]
}

service "ftps" "main" {}

authentication "accounts" {
  plugin = "local"
}
