// The method "local" asks the host's own accounts. The host checks the password; it never
// enters the sandbox.
package main

import (
	"slices"

	"github.com/sallyport-ftps/sallyport/sdk"
)

func init() { sdk.Register(method{}) }

func main() {}

type method struct{}

var (
	_ sdk.Method    = method{}
	_ sdk.Describer = method{}
)

// Describe implements sdk.Describer.
func (method) Describe() sdk.Description {
	return sdk.Description{
		Name:     "local",
		Version:  "1",
		Settings: []sdk.Setting{{Name: "allowed_groups", Type: sdk.List}},
	}
}

// Authenticate implements sdk.Method.
func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	check, err := a.VerifyPassword()
	switch {
	case err != nil:
		return a.Fail("verify: " + err.Error())
	case !check.Enrolled:
		return sdk.Unknown
	case !check.Right:
		return a.Reject(check.Reason)
	}
	if allowed := a.SettingList("allowed_groups"); len(allowed) > 0 && !overlap(allowed, a.AccountGroups()) {
		return a.Reject("group_not_allowed")
	}
	return sdk.Accept
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
