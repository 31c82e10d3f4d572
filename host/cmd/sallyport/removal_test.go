package main

import (
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/config"
)

// What can't be the folder of one account alone is not deleted.
func TestOwnedAlone(t *testing.T) {
	c, err := config.Parse("/etc/sallyport/config.hcl", []byte(`
server {
  authentications = ["a"]
}
service "ftps" "main" {}
authentication "a" {
  plugin = "local"
  grant {
    home_under = "/srv/remote"
  }
}
group "default" {
  virtual_folder "/shared" {
    real = "/srv/shared/{username}"
  }
}
group "kiosk" {
  home = "/srv/kiosk"
}
`))
	if err != nil {
		t.Fatal(err)
	}
	a := &app{data: &dataDir{private: "/etc/sallyport/data/private"}, current: &setup{config: c}}
	for home, want := range map[string]string{
		"/srv":                      "no folder of one account",
		"/":                         "no folder of one account",
		"/etc/sallyport":            "keys and accounts",
		"/etc/sallyport/data/files": "members of group",
		"/srv/kiosk":                "members of group",
		"/srv/kiosk/sub":            "members of group",
		"/srv/shared":               "a virtual folder",
		"/srv/shared/alice":         "a virtual folder",
		"/srv/remote":               `users of authentication "a"`,
	} {
		if err := a.ownedAlone(t.Context(), account.Account{Name: "alice"}, home); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", home, err)
		}
	}
}
