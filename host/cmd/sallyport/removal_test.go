package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/outbox"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/host/state"
)

// What can't be the folder of one account alone is not deleted, however it is named.
func TestOwnHome(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"data/private", "data/files/alice", "ftp/bob", "kiosk/sub", "shared/x", "in-bob", "remote/dave", "partners/anybody", "own/alice", "other"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"link-data": "data", "link-ftp": "ftp", "link-remote": "remote", "link-own": "own/alice", "nowhere": "missing"} {
		if err := os.Symlink(filepath.Join(root, target), filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Parse(filepath.Join(root, "config.hcl"), []byte(strings.ReplaceAll(`
server {
  authentications = ["a", "ldap"]
  data_dir        = "ROOT/link-data"
}
service "ftps" "main" {}
authentication "a" {
  plugin = "local"
}
authentication "ldap" {
  plugin = "local"
  grant {
    home_under = "ROOT/link-remote"
    groups     = ["partners"]
  }
}
group "default" {
  virtual_folder "/shared" {
    real = "ROOT/shared/{username}"
  }
  virtual_folder "/in" {
    real = "ROOT/in-{username}"
  }
}
group "by-link" {
  home = "ROOT/link-ftp/{username}"
}
group "kiosk" {
  home = "ROOT/kiosk"
}
group "partners" {
  home = "ROOT/partners/{username}"
}
`, "ROOT", root)))
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.OpenBolt(filepath.Join(root, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	key, err := account.LoadKey(filepath.Join(root, "codes.key"))
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := account.New(t.Context(), store, outbox.New(store, "test"), account.NewHasher(1), key, account.Rules{Passwords: policy.Passwords{}, Groups: c.GroupNames()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := accounts.Add(t.Context(), account.Account{Name: "bob", Groups: []string{"by-link"}}, secret.New("gravel umbrella ninety tango")); err != nil {
		t.Fatal(err)
	}
	a := &app{data: &dataDir{private: filepath.Join(root, "link-data/private")}, current: &setup{config: c}, accounts: accounts}
	for home, want := range map[string]string{ // empty: it may be deleted
		"/srv":             "no folder of one account",
		"/":                "no folder of one account",
		"data":             "keys and accounts",
		"data/private":     "keys and accounts",
		"link-data":        "keys and accounts",
		"data/files":       `members of group "default"`,
		"data/files/alice": "",
		"ftp":              `members of group "by-link"`,
		"ftp/bob":          "the home of account bob",
		"ftp/bob/sub":      "the home of account bob",
		"kiosk":            `members of group "kiosk"`,
		"kiosk/sub":        `members of group "kiosk"`,
		"shared":           "a virtual folder",
		"shared/x":         "a virtual folder",
		"shared/x/y":       "a virtual folder",
		"in-bob":           "a virtual folder",
		"in-bob/z":         "a virtual folder",
		"other":            "",
		"remote":           `users of authentication "ldap"`,
		"remote/dave":      `users of authentication "ldap"`,
		"partners":         `users of authentication "ldap"`,
		"partners/anybody": `users of authentication "ldap"`,
		"own/alice":        "",
		"link-own":         "",
		"nowhere":          "leads nowhere",
		".":                "keys and accounts",
	} {
		named := home
		if !filepath.IsAbs(home) {
			named = filepath.Join(root, home)
		}
		got, err := a.ownHome(t.Context(), account.Account{Name: "alice"}, named)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v; want %q", home, got, err, want)
		}
	}
}
