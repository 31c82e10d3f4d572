package sdk_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdktest"
)

// methodFunc is a function as a method.
type methodFunc func(a sdk.Attempt) sdk.Verdict

func (f methodFunc) Authenticate(a sdk.Attempt) sdk.Verdict { return f(a) }

func TestGroupMap(t *testing.T) {
	m, err := sdk.ParseGroupMap([]string{"cn=Sales,dc=example => sales", "admins=>staff", "* => default", "staff => default"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ theirs, want []string }{
		{nil, []string{"default"}},
		{[]string{"ADMINS", "cn=sales,dc=example", "staff"}, []string{"sales", "staff", "default"}},
	} {
		if got := m.Groups(c.theirs); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.theirs, got, c.want)
		}
	}
	for _, line := range []string{"sales", "=> sales", "sales =>"} {
		if _, err := sdk.ParseGroupMap([]string{line}); err == nil {
			t.Errorf("%q was taken", line)
		}
	}
}

func TestSettingMap(t *testing.T) {
	want := map[string]string{"": "empty", "a": "", "quote\"d": "\\ back", "<&>": "ü\u2028\x01", "x,y:z": "{}"}
	host := sdktest.Host{Maps: map[string]map[string]string{"m": want}}
	host.Run(methodFunc(func(a sdk.Attempt) sdk.Verdict {
		if got := a.SettingMap("m"); !maps.Equal(got, want) {
			t.Errorf("got %q", got)
		}
		if got := a.SettingMap("absent"); len(got) != 0 {
			t.Errorf("got %q", got)
		}
		return sdk.Unknown
	}))
}

func TestSetAccount(t *testing.T) {
	set := func(account sdk.Account) (map[string]string, error) {
		host, err := sdktest.Host{}, error(nil)
		host.Run(methodFunc(func(a sdk.Attempt) sdk.Verdict {
			err = a.SetAccount(account)
			return sdk.Accept
		}))
		return host.Result, err
	}
	got, err := set(sdk.Account{
		Groups: []string{"a", "b"}, Permissions: []string{}, Rules: []sdk.Rule{{Expression: "/x", Permissions: nil}}, Folders: []sdk.Folder{{Path: "/v", Real: "/r"}},
		Attributes: map[string]string{"id": "7"},
	})
	want := map[string]string{
		"account.groups": "a,b", "account.permissions": "deny-full-control", "account.rules": "/x\tdeny-full-control\n", "account.folders": "/v\t/r\n", "account.attribute.id": "7",
	}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := set(sdk.Account{Folders: []sdk.Folder{{Path: "/v\t/etc", Real: "/r"}}}); err == nil {
		t.Error("a tab in a path was passed on")
	}
	if _, err := set(sdk.Account{Rules: []sdk.Rule{{Expression: "/x\n*", Permissions: []string{"allow-read"}}}}); err == nil {
		t.Error("a line break in an expression was passed on")
	}
}
