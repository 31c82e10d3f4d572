// The method "push" is a second factor without a vendor: the host asks an approver over NATS, who answers with a signed
// decision: a phone app, a chat bot, a desk.
package main

import (
	"errors"
	"strings"

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
	return sdk.Description{Name: "push", Version: "1", Settings: []sdk.Setting{
		{Name: "prompt", Type: sdk.String, Help: `what the approver reads; {user}, {service} and {ip} are filled in; if not set "Log in as {user} to {service} from {ip}?"`},
	}}
}

// Authenticate implements sdk.Method.
func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	prompt := a.Setting("prompt")
	if prompt == "" {
		prompt = "Log in as {user} to {service} from {ip}?"
	}
	prompt = strings.NewReplacer("{user}", a.User(), "{service}", a.Service(), "{ip}", a.ClientIP()).Replace(prompt)
	yes, err := a.Ask(prompt)
	switch {
	case errors.Is(err, sdk.ErrAbsent): // nobody is enrolled for this user
		return sdk.Unknown
	case errors.Is(err, sdk.ErrGivenUp):
		return sdk.Fail
	case err != nil:
		return a.Fail("ask: " + err.Error())
	case !yes:
		return a.Reject("approval_denied")
	}
	return sdk.Accept
}
