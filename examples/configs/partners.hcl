# A directory first, guests who may only read, and local accounts for the rest. Who never logs in is sorted out before.
server {
  name            = "Partners"
  data_dir        = "./partners-data"
  authentications = ["never", "corp-ldap", "guests", "accounts"]
}

service "ftps" "partners" {
  listen = "127.0.0.1:2122"
}

authentication "never" {
  plugin   = "deny"
  settings = { usernames = ["root", "daemon"], patterns = ["svc-*"] }
}

authentication "corp-ldap" {
  plugin = "ldap"
  settings = {
    servers       = ["ldaps://ldap.example.org"]
    base_dn       = "dc=example,dc=org"
    bind_dn       = "cn=ftp,dc=example,dc=org"
    bind_password = env("LDAP_PASSWORD")
    group_map     = ["sales => sales", "* => default"]
  }
  grant {
    network  = ["ldaps://ldap.example.org"]
    password = true
    groups   = ["sales", "default"]
  }
}

authentication "guests" {
  plugin = "anonymous"
  grant {
    groups = ["public"]
  }
}

authentication "accounts" {
  plugin = "local"
}

group "sales" {
  home = "./partners-data/sales/{username}"
  path "/incoming/*" { # they may bring, and not take
    permissions = ["allow-list", "allow-traverse", "allow-write"]
  }
  path "*.exe" {
    permissions = ["deny-full-control"]
  }
  virtual_folder "/price-lists" {
    real = "./partners-data/price-lists"
  }
}

group "public" {
  home        = "/srv/ftp/public"
  create_home = false
  permissions = ["allow-read", "allow-list", "allow-traverse"]
}
