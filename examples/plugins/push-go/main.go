// Push is a second factor that asks a person: it requests an approval from a web service, waits for
// it, and takes the request back if nobody waits any more.
package main

import (
	"errors"
	"time"

	"github.com/sallyport-ftps/sallyport/sdk"
)

func init() { sdk.Register(method{}) }

func main() {}

type method struct{}

// Describe tells which settings there are, and what must be granted.
func (method) Describe() sdk.Description {
	return sdk.Description{
		Name: "push", Version: "1.0",
		Settings: []sdk.Setting{
			{Name: "url", Type: sdk.String, Required: true, Help: "base URL of the approval service"},
			{Name: "timeout", Type: sdk.Number, Help: "seconds that a person has, 60 if not set"},
		},
		Needs: sdk.Needs{HTTP: []string{"settings.url"}, Secrets: []string{"token"}},
	}
}

// Authenticate asks and waits. It looks like code that blocks; the host keeps nothing but what it has read.
func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	settings := struct {
		URL     string `setting:"url"`
		Timeout int    `setting:"timeout"`
	}{Timeout: 60}
	if err := a.Settings(&settings); err != nil {
		return a.Fail(err.Error())
	}
	base := settings.URL + "/requests"
	answer, err := send(a, "POST", base, map[string]string{"user@": "user"})
	if err == nil && answer.Status == 404 {
		return sdk.Unknown
	}
	id, ok := answer.JSON("/id")
	if err != nil || answer.Status != 201 || !ok || id == "" {
		return a.Fail("the approval service did not take the request")
	}
	prompt, _ := answer.JSON("/prompt")
	_ = a.Approval("requested", id, prompt)
	return wait(a, base+"/"+id, id, prompt, time.Duration(settings.Timeout)*time.Second)
}

func wait(a sdk.Attempt, url, id, prompt string, timeout time.Duration) sdk.Verdict {
	for end := time.Now().Add(timeout); time.Now().Before(end); {
		if err := a.Sleep(5 * time.Second); err != nil {
			_, _ = send(a, "DELETE", url, nil)
			return sdk.Fail
		}
		answer, err := send(a, "GET", url, nil)
		if errors.Is(err, sdk.ErrGivenUp) {
			_, _ = send(a, "DELETE", url, nil)
			return sdk.Fail
		}
		status, ok := answer.JSON("/status")
		switch {
		case err != nil || answer.Status != 200 || !ok:
			_, _ = send(a, "DELETE", url, nil)
			return a.Fail("the approval service gave no status")
		case status == "approved":
			_ = a.Approval("approved", id, prompt)
			return sdk.Accept
		case status == "denied":
			_ = a.Approval("denied", id, prompt)
			return a.Reject("rejected")
		}
	}
	_, _ = send(a, "DELETE", url, nil)
	_ = a.Approval("expired", id, prompt)
	return a.Reject("rejected")
}

func send(a sdk.Attempt, method, url string, form map[string]string) (sdk.Response, error) {
	return a.HTTP(sdk.Request{Method: method, URL: url, Form: form, Header: map[string]string{"Authorization@": "secret.token"}, Withdraw: method == "DELETE"})
}
