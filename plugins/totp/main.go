// The method "totp" is a second factor: a one-time code of an authenticator app (RFC 6238), or one on paper, that the
// user appends to the password. The host splits it off and checks it; the seed never enters the sandbox.
package main

import "github.com/sallyport-ftps/sallyport/sdk"

func init() { sdk.Register(method{}) }

func main() {}

type method struct{}

var (
	_ sdk.Method    = method{}
	_ sdk.Describer = method{}
)

// Describe implements sdk.Describer.
func (method) Describe() sdk.Description {
	return sdk.Description{Name: "totp", Version: "1", Settings: []sdk.Setting{}, Needs: sdk.Needs{Code: true}}
}

// Authenticate implements sdk.Method.
func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	check, err := a.VerifyCode()
	switch {
	case err != nil:
		return a.Fail("verify: " + err.Error())
	case !check.Enrolled:
		return sdk.Unknown
	case !check.Right:
		return a.Reject("wrong_code")
	}
	return sdk.Accept
}
