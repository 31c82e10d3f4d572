# Implicit FTPS on every address with a certificate of our own, a fixed range of passive ports
# for the firewall, and a read-only group.
server {
  name            = "files.example.org"
  data_dir        = "/var/lib/sallyport"
  authentications = ["accounts"]
}

service "ftps" "public" {
  listen        = "[::]:990"
  tls           = "implicit"
  certificate   = "/etc/sallyport/tls.crt"
  private_key   = "/etc/sallyport/tls.key"
  passive_ports = "50000-50100"
}

authentication "accounts" {
  plugin = "local"
}

group "readers" {
  home        = "/srv/ftp/{username}"
  permissions = ["allow-read", "allow-list", "allow-traverse"]
}
