# The bundled accounts first, then a guest from a plugin of our own:
#   sallyport plugin build examples/plugins/hello, and copy hello.wasm here
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
  plugin = "./hello.wasm"
  settings = {
    user       = "visitor"
    passphrase = env("GUEST_PASSPHRASE")
  }
  grant {
    password = true        # the plugin sees what the client typed
    groups   = ["default"] # it may put its user in this group, and in no other
  }
}
