# The bundled accounts first, then a guest from a plugin of our own:
#   GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o guest.wasm ./examples/plugins/guest
server {
  authentications = ["accounts", "guest"]
}

service "ftps" "main" {
  listen = "127.0.0.1:2121"
}

authentication "accounts" {
  plugin = "local"
}

authentication "guest" {
  plugin = "./guest.wasm"
  settings = {
    user       = "visitor"
    passphrase = env("GUEST_PASSPHRASE")
  }
  grant {
    password = true        # the plugin sees what the client typed
    groups   = ["default"] # it may put its user in this group, and in no other
  }
}
