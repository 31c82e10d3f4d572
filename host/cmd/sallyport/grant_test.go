package main

import (
	"path/filepath"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

// Whoever is let in as an account is in that account's folder, not in the one of the name that was typed.
func TestHomeOfAnAccount(t *testing.T) {
	c, err := config.Parse(filepath.Join(t.TempDir(), "c.hcl"), []byte(`
server { authentications = ["accounts"] }
service "ftps" "x" {}
authentication "accounts" { plugin = "local" }
group "default" {
  virtual_folder "/own" { real = "/srv/own/{username}" }
}
`))
	if err != nil {
		t.Fatal(err)
	}
	grant := auth.Grant{User: "alice", Account: "public", Groups: []string{"default"}, Access: policy.FullAccess()}
	got, err := homes{func() *config.Config { return c }}.Complete(grant)
	if err != nil || filepath.Base(got.Home) != "public" || got.Folders[0].Real != "/srv/own/public" {
		t.Errorf("got %+v, %v", got, err)
	}
	grant.Account = ""
	if got, err = (homes{func() *config.Config { return c }}).Complete(grant); err != nil || filepath.Base(got.Home) != "alice" {
		t.Errorf("got %+v, %v", got, err)
	}
}
