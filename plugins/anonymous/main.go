// The method "anonymous" lets guests in without an account of their own (RFC 1635), read-only unless
// the administrator says otherwise.
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
	return sdk.Description{Name: "anonymous", Version: "1", Settings: []sdk.Setting{
		{Name: "account", Type: sdk.String, Help: "the account that guests are let in as; grant { accounts } must name it. Not set: they go to the granted group"},
		{Name: "usernames", Type: sdk.List, Help: `names of guests; if not set ["anonymous", "ftp"]`},
		{Name: "permissions", Type: sdk.List, Help: `what guests may do, at most; if not set ["allow-read", "allow-list", "allow-traverse"]`},
		{Name: "require_email", Type: sdk.Bool, Help: "the password must look like an e-mail address; needs grant { password = true }"},
	}}
}

// CheckSettings implements sdk.SettingsChecker.
func (method) CheckSettings(a sdk.Attempt) error {
	for _, word := range a.SettingList("permissions") {
		if !slices.Contains(permissions(), word) {
			return errors.New("setting permissions: there is no " + strconv.Quote(word) + "; there are " + strings.Join(permissions(), ", "))
		}
	}
	if _, err := a.Password(); err != nil && a.Setting("require_email") == "true" {
		return errors.New("require_email needs grant { password = true }")
	}
	return nil
}

func permissions() []string {
	return []string{
		"allow-full-control", "deny-full-control", "allow-read", "allow-list", "allow-traverse", "allow-create-folder", "allow-write", "allow-rename",
		"allow-delete-file", "allow-delete-folder", "allow-set-attributes",
	}
}

// Authenticate implements sdk.Method.
func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	guests := a.SettingList("usernames")
	if len(guests) == 0 {
		guests = []string{"anonymous", "ftp"}
	}
	if !slices.ContainsFunc(guests, func(guest string) bool { return strings.EqualFold(guest, a.User()) }) {
		return sdk.Unknown
	}
	if a.Setting("require_email") == "true" {
		password, err := a.Password()
		if err != nil {
			return a.Fail("require_email: password: " + err.Error())
		}
		if !looksLikeEmail(password) {
			return a.Reject("wrong_password")
		}
	}
	permissions := a.SettingList("permissions")
	if len(permissions) == 0 {
		permissions = []string{"allow-read", "allow-list", "allow-traverse"}
	}
	if err := a.SetAccount(sdk.Account{Name: a.Setting("account"), Permissions: permissions}); err != nil {
		return a.Fail(err.Error())
	}
	return sdk.Accept
}

// looksLikeEmail is as generous as RFC 1635 asks for: a name, an @, and perhaps a host.
func looksLikeEmail(text string) bool {
	name, _, ok := strings.Cut(text, "@")
	return ok && name != "" && !strings.ContainsAny(text, " \t")
}
