package main

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// rest is the REST API of an ID server of one's own. The account protects it; its password is the secret "pin", which
// the host sends.
type rest struct {
	a       sdk.Attempt
	s       settings
	id      string
	session string
}

func (r *rest) ref() string { return r.session }

// request implements pushAPI.
func (r *rest) request() error {
	answer, err := r.call(sdk.Request{URL: r.s.Server + "/rest/v2/AuthSession", Query: map[string]string{
		"secsignid": r.id, "servicename": r.s.Name, "serviceaddress": r.s.Address, "showaccesspassicons": strconv.FormatBool(r.s.AccessPass),
	}})
	if err != nil {
		return err
	}
	id, ok := answer.JSON("/secsignid")
	if !ok || !strings.EqualFold(id, r.id) {
		return errors.New("the session is another ID's")
	}
	session, ok := answer.JSONInt("/authsessionid")
	if !ok || session == -1 {
		return errors.New("the answer names no session")
	}
	r.session = strconv.FormatInt(session, 10)
	return nil
}

// state implements pushAPI. The answer does not say whose session it is: the URL does.
func (r *rest) state() (state, error) {
	answer, err := r.call(sdk.Request{URL: r.sessionURL()})
	if err != nil {
		return 0, err
	}
	text, ok := answer.JSON("/authsessionstate")
	if !ok || len(text) != 1 || text[0] < '1' || text[0] > '8' {
		return 0, errors.New("the answer has no state")
	}
	return state(text[0] - '0'), nil
}

// cancel implements pushAPI.
func (r *rest) cancel() {
	if _, err := r.call(sdk.Request{Method: "DELETE", URL: r.sessionURL(), Withdraw: true}); err != nil {
		r.a.Log(sdk.Warn, "the session could not be cancelled: "+err.Error())
	}
}

func (r *rest) sessionURL() string {
	return r.s.Server + "/rest/v2/AuthSession/" + url.PathEscape(r.session)
}

func (r *rest) call(q sdk.Request) (sdk.Response, error) {
	q.Username, q.PasswordField = r.s.Account, "secret.pin"
	answer, err := r.a.HTTP(q)
	if errors.Is(err, sdk.ErrFailed) {
		return answer, transient{err}
	}
	if err != nil {
		return answer, err
	}
	if _, failed := answer.JSON("/error"); failed && answer.Status == 200 {
		return answer, errors.New("the server says an error")
	}
	switch answer.Status {
	case 200:
		return answer, nil
	case 409:
		return answer, errFrozen
	case 404:
		return answer, errUnknownID
	case 429, 502, 503, 504:
		return answer, transient{errors.New("the server answers " + strconv.Itoa(answer.Status))}
	}
	return answer, errors.New("the server answers " + strconv.Itoa(answer.Status))
}
