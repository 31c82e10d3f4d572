package main

import (
	"testing"

	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdktest"
)

// What the built plugin does is in cases.hcl.
func TestAnonymous(t *testing.T) {
	for user, want := range map[string]sdk.Verdict{"anonymous": sdk.Accept, "ftp": sdk.Accept, "alice": sdk.Unknown} {
		host := sdktest.Host{Fields: map[string]string{"user": user}}
		if got := host.Run(method{}); got != want {
			t.Errorf("%s: got %v, want %v", user, got, want)
		}
		if want == sdk.Accept && host.Result["account.permissions"] != "allow-read,allow-list,allow-traverse" {
			t.Errorf("%s: %q", user, host.Result)
		}
	}
}
