package main

import (
	"testing"

	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdktest"
)

func TestGuest(t *testing.T) {
	for name, c := range map[string]struct {
		user, password string
		granted        bool
		want           sdk.Verdict
	}{
		"the guest":        {"visitor", "open sesame", true, sdk.Accept},
		"wrong passphrase": {"visitor", "sesame", true, sdk.Reject},
		"somebody else":    {"alice", "open sesame", true, sdk.Unknown},
		"not granted":      {"visitor", "open sesame", false, sdk.Fail},
	} {
		t.Run(name, func(t *testing.T) {
			host := sdktest.Host{
				Fields:       map[string]string{"user": c.user},
				Settings:     map[string]string{"user": "visitor", "passphrase": "open sesame"},
				Password:     c.password,
				SeesPassword: c.granted,
			}
			if got := host.Run(method{}); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
