package main

import (
	"testing"

	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdktest"
)

func TestLocal(t *testing.T) {
	accounts := map[string]sdktest.Account{
		"alice": {Password: "right", Groups: []string{"default", "uk-sales"}},
		"bob":   {Password: "right", Groups: []string{"default"}},
		"carol": {Password: "right", Disabled: true},
	}
	for name, c := range map[string]struct {
		user, password string
		allowed        []string
		verdict        sdk.Verdict
		reason         string
	}{
		"right password":    {"alice", "right", nil, sdk.Accept, ""},
		"wrong password":    {"alice", "wrong", nil, sdk.Reject, "wrong_password"},
		"nobody":            {"dave", "right", nil, sdk.Unknown, ""},
		"disabled":          {"carol", "right", nil, sdk.Reject, "account_disabled"},
		"group allowed":     {"alice", "right", []string{"uk-support", "uk-sales"}, sdk.Accept, ""},
		"group not allowed": {"bob", "right", []string{"uk-support", "uk-sales"}, sdk.Reject, "group_not_allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			host := sdktest.Host{
				Fields:   map[string]string{"user": c.user},
				Lists:    map[string][]string{"allowed_groups": c.allowed},
				Password: c.password,
				Accounts: accounts,
			}
			if got := host.Run(method{}); got != c.verdict || host.Result["reason"] != c.reason {
				t.Errorf("got %v %q, want %v %q", got, host.Result["reason"], c.verdict, c.reason)
			}
		})
	}
}
