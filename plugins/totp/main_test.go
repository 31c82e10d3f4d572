package main

import (
	"testing"

	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdktest"
)

func TestTOTP(t *testing.T) {
	for name, c := range map[string]struct {
		user, code string
		want       sdk.Verdict
		reason     string
	}{
		"right":        {"alice", "123456", sdk.Accept, ""},
		"wrong":        {"alice", "654321", sdk.Reject, "wrong_code"},
		"none":         {"alice", "", sdk.Reject, "wrong_code"},
		"not enrolled": {"bob", "123456", sdk.Unknown, ""},
	} {
		host := sdktest.Host{Fields: map[string]string{"user": c.user, "code": c.code}, Codes: map[string]string{"alice": "123456"}}
		if got := host.Run(method{}); got != c.want || host.Result["reason"] != c.reason {
			t.Errorf("%s: got %v %q", name, got, host.Result["reason"])
		}
	}
}
