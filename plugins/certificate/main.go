// The method "certificate" knows users by the certificate that their client shows: in place of a password, or as a second factor
// beside one.
package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-ftps/sallyport/sdk"
)

func init() { sdk.Register(method{}) }

func main() {}

type method struct{}

var (
	_ sdk.Method    = method{}
	_ sdk.Describer = method{}

	_ sdk.SettingsChecker = method{}
)

// Describe implements sdk.Describer.
func (method) Describe() sdk.Description {
	return sdk.Description{Name: "certificate", Version: "1", Settings: []sdk.Setting{
		{Name: "match", Type: sdk.List, Help: `which names of a certificate count; if not set ["cn", "email", "dns", "uri"]`},
		{Name: "users", Type: sdk.Map, Help: `who a certificate is, by a name in it: { "cn:Alice Liddell" = "alice" }; without an entry a name is the user's own`},
		{Name: "accounts", Type: sdk.Bool, Help: `false: users need no account of this server, and go to the granted group; if not set true: grant { accounts = ["*"] }`},
	}}
}

func kinds() []string { return []string{"cn", "email", "dns", "uri"} }

// CheckSettings implements sdk.SettingsChecker.
func (method) CheckSettings(a sdk.Attempt) error {
	for _, kind := range a.SettingList("match") {
		if !slices.Contains(kinds(), kind) {
			return errors.New("setting match: there is no " + strconv.Quote(kind) + "; there are " + strings.Join(kinds(), ", "))
		}
	}
	for name := range a.SettingMap("users") {
		if kind, _, ok := strings.Cut(name, ":"); !ok || !slices.Contains(kinds(), kind) {
			return errors.New("setting users: " + strconv.Quote(name) + `: the kind of name is expected before it, as in "cn:Alice Liddell"; there are ` + strings.Join(kinds(), ", "))
		}
	}
	return nil
}

// Authenticate implements sdk.Method.
func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	certificate, ok := a.Certificate()
	if !ok {
		return sdk.Unknown
	}
	match := a.SettingList("match")
	if len(match) == 0 {
		match = kinds()
	}
	for _, name := range certificate.Names {
		if kind, _, _ := strings.Cut(name, ":"); slices.Contains(match, kind) && userOf(a, name) == a.User() {
			return accept(a)
		}
	}
	a.Log(sdk.Info, "the certificate "+certificate.Subject+" is for "+strings.Join(certificate.Names, ", "))
	return a.Reject("certificate_not_theirs")
}

// userOf is the user whom a name in a certificate stands for. Upper case counts for nothing in ASCII, as in the names of users.
func userOf(a sdk.Attempt, name string) string {
	name = lower(name)
	for entry, user := range a.SettingMap("users") {
		if lower(entry) == name {
			return user
		}
	}
	_, name, _ = strings.Cut(name, ":")
	return name
}

func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

func accept(a sdk.Attempt) sdk.Verdict {
	if a.Setting("accounts") == "false" {
		return sdk.Accept
	}
	if err := a.SetAccount(sdk.Account{Name: a.User()}); err != nil {
		return a.Fail(err.Error())
	}
	return sdk.Accept
}
