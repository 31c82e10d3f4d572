package main

import (
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdktest"
)

// What the built plugin does is in cases.hcl.
func TestHTTP(t *testing.T) {
	host := sdktest.Host{
		Fields: map[string]string{"user": "kevin", "client.ip": "2001:db8::1"}, Password: "secret",
		Lists: map[string][]string{"urls": {"https://a.example/x", "https://b.example/x"}},
		Maps:  map[string]map[string]string{"headers": {"X-A": "1", "X-B": "two \"words\" <&> ü"}},
		HTTP:  []sdktest.Answer{{Status: sdk.CodeFailed}, {Status: 200, Body: `{"account": {"group": "uk-sales"}}`}},
	}
	if got := host.Run(method{}); got != sdk.Accept || host.Result["account.groups"] != "uk-sales" {
		t.Fatalf("got %v %q: %q", got, host.Result, host.Logs)
	}
	last := host.Requests[1]
	for name, want := range map[string]string{
		"url": "https://b.example/x", "json:/credentials/content": "secret", "json:/credentials/peer/family": "IPv6", "value:/credentials/peer/port": "0",
		"header.X-A": "1", "header.X-B": "two \"words\" <&> ü",
	} {
		if last[name] != want {
			t.Errorf("%s = %q; want %q", name, last[name], want)
		}
	}
}

// Whatever a service answers, an account never holds a name that the user chose where it would mean more.
func FuzzParseAccount(f *testing.F) {
	f.Add(`{"account": {"home_folder_path": "/srv/${USER}", "permissions": [["allow-read"], ["/${USER}/*", "allow-write"]]}}`, "kevin")
	f.Add(`{"account": {"virtual_folders": [["/a", "/b"]], "create_home_folder": true}}`, "..")
	f.Fuzz(func(t *testing.T, body, user string) {
		account, _, err := parseAccount([]byte(body), user)
		if err != nil {
			return
		}
		if strings.Contains(body, `"/srv/${USER}"`) && strings.Contains(account.Home, "/../") {
			t.Errorf("home %q", account.Home)
		}
	})
}
