package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// apiName is how the client calls itself.
const apiName = "SecSignIDApi_Go"

// maxBody bounds an answer, in bytes: they have some hundred, and a picture with an access pass.
const maxBody = 64 << 10

// legacy is the HTTP API in which all calls are a POST to one URL. Nobody but the request ID protects a session.
type legacy struct {
	a         sdk.Attempt
	s         settings
	id        string
	server    string // that made the session
	session   string
	requestID string
}

func (l *legacy) ref() string { return l.session }

// request implements pushAPI. Only a request that did not reach the server is sent to the other one: two sessions
// of one person suspend each other.
func (l *legacy) request() error {
	form := map[string]string{
		"request": "ReqRequestAuthSession", "secsignid": l.id, "servicename": l.s.Name, "serviceaddress": l.s.Address, "showaccesspass": strconv.FormatBool(l.s.AccessPass),
	}
	answer, err := l.call(l.s.Server, form, false)
	l.server = l.s.Server
	var onTheWay transient
	if errors.As(err, &onTheWay) && l.s.Fallback != "" {
		l.a.Log(sdk.Warn, l.s.Server+": "+err.Error()+"; asking "+l.s.Fallback)
		answer, err = l.call(l.s.Fallback, form, false)
		l.server = l.s.Fallback
	}
	if err != nil {
		return err
	}
	l.session, l.requestID = answer["authsessionid"], answer["requestid"]
	if _, err := strconv.ParseInt(l.session, 10, 64); err != nil || l.session == "-1" || l.requestID == "" {
		return errors.New("the answer names no session")
	}
	if !strings.EqualFold(answer["secsignid"], l.id) {
		return errors.New("the session is another ID's")
	}
	return nil
}

// state implements pushAPI.
func (l *legacy) state() (state, error) {
	answer, err := l.call(l.server, l.ofSession("ReqGetAuthSessionState"), false)
	if err != nil {
		return 0, err
	}
	switch {
	case answer["authsessionid"] != l.session:
		return 0, errors.New("the answer is of another session")
	case !strings.EqualFold(answer["secsignid"], l.id):
		return 0, errors.New("the answer is of another ID")
	}
	text := answer["authsessionstate"]
	if len(text) != 1 || text[0] < '1' || text[0] > '8' { // exactly one digit: "03" and "3 " are no 3
		return 0, errors.New("the answer has no state")
	}
	return state(text[0] - '0'), nil
}

// cancel implements pushAPI.
func (l *legacy) cancel() {
	if _, err := l.call(l.server, l.ofSession("ReqCancelAuthSession"), true); err != nil {
		l.a.Log(sdk.Warn, "the session could not be cancelled: "+err.Error())
	}
}

func (l *legacy) ofSession(request string) map[string]string {
	return map[string]string{"request": request, "secsignid": l.id, "authsessionid": l.session, "requestid": l.requestID}
}

func (l *legacy) call(server string, form map[string]string, withdraw bool) (map[string]string, error) {
	form["apimethod"] = apiName
	r, err := l.a.HTTP(sdk.Request{URL: server + "/", Header: map[string]string{"Referer": apiName}, Form: form, Withdraw: withdraw})
	switch {
	case errors.Is(err, sdk.ErrFailed):
		return nil, transient{err}
	case err != nil:
		return nil, err
	case r.Status == 429 || r.Status == 502 || r.Status == 503 || r.Status == 504:
		return nil, transient{errors.New("the server answers " + strconv.Itoa(r.Status))}
	}
	body, err := r.Body()
	if err != nil {
		return nil, err
	}
	answer, err := parseAnswer(body)
	if err == nil && r.Status != 200 {
		return nil, errors.New("the server answers " + strconv.Itoa(r.Status))
	}
	return answer, err
}

// parseAnswer splits key=value&key=value. Nothing in it is escaped: a + is a +. A key that is there twice has no
// value, and whatever else an answer with an error says does not count.
func parseAnswer(body string) (map[string]string, error) {
	if len(body) > maxBody {
		return nil, errors.New("the answer is too long")
	}
	answer := map[string]string{}
	for _, part := range strings.Split(strings.TrimRight(body, "\r\n"), "&") {
		key, value, ok := strings.Cut(part, "=")
		if _, twice := answer[key]; twice || !ok || key == "" {
			return nil, errors.New("the answer is not one of an ID server")
		}
		answer[key] = value
	}
	_, failed := answer["error"]
	switch code := answer["errorcode"]; {
	case code == "20000":
		return nil, errUnknownID
	case code == "20006":
		return nil, errFrozen
	case failed || code != "":
		return nil, errors.New("the server says error " + digits(answer["error"]) + ", code " + digits(code))
	}
	return answer, nil
}

// digits keeps foreign text out of the log.
func digits(text string) string {
	if text == "" || len(text) > 10 || strings.Trim(text, "-0123456789") != "" {
		return "?"
	}
	return text
}
