// Hello knows one user with a passphrase, both from config.hcl. It is as small as a useful plugin gets;
// "sallyport plugin new" makes one like it.
package main

import (
	"crypto/subtle"

	"github.com/sallyport-ftps/sallyport/sdk"
)

func init() { sdk.Register(method{}) }

func main() {}

type method struct{}

// Describe tells the host which settings there are, so that a misspelt one is refused at the start.
func (method) Describe() sdk.Description {
	return sdk.Description{
		Name:    "hello",
		Version: "1",
		Settings: []sdk.Setting{
			{Name: "user", Type: sdk.String, Required: true},
			{Name: "passphrase", Type: sdk.String, Required: true, Secret: true},
		},
		Needs: sdk.Needs{Password: true, Groups: true},
	}
}

// Authenticate knows one user. Unknown lets the next method be asked; Reject ends the login.
func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	if a.User() != a.Setting("user") {
		return sdk.Unknown
	}
	password, err := a.Password() // needs grant { password = true }
	if err != nil {
		return a.Fail("password: " + err.Error())
	}
	if subtle.ConstantTimeCompare([]byte(password), []byte(a.Setting("passphrase"))) != 1 {
		return a.Reject("wrong_password")
	}
	return sdk.Accept
}
