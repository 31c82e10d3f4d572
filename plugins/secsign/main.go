// The method "secsign" is a second factor: a push to the SecSign ID app, which its owner approves on a phone. It
// speaks the ID server's legacy HTTP API, or the REST API of an ID server of one's own.
package main

import (
	"errors"
	"strconv"
	"strings"
	"time"

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

const (
	defaultServer   = "https://httpapi.secsign.com"
	defaultFallback = "https://httpapi2.secsign.com"
)

// Describe implements sdk.Describer.
func (method) Describe() sdk.Description {
	return sdk.Description{
		Name: "secsign", Version: "1",
		Settings: []sdk.Setting{
			{Name: "api", Type: sdk.String, Help: `"legacy", or "rest" of an ID server of your own; if not set "legacy"`},
			{Name: "server", Type: sdk.String, Help: `if not set "` + defaultServer + `"`},
			{Name: "fallback", Type: sdk.String, Help: `asked for a push if the server can't be reached; if neither is set "` + defaultFallback + `"`},
			{Name: "account", Type: sdk.String, Help: `pin account of the REST API; its password is secret "pin"`},
			{Name: "service_name", Type: sdk.String, Required: true, Help: "what the person reads in the app"},
			{Name: "service_address", Type: sdk.String, Help: "the second line in the app; if not set the name of the server"},
			{Name: "users", Type: sdk.Map, Help: `SecSign IDs by user: { alice = "alice-at-example" } or pairs(file("secsignid.config"))`},
			{Name: "attribute", Type: sdk.String, Help: `what the first factor says: its attribute that holds the SecSign ID; if not set "secsign_id"`},
			{Name: "pattern", Type: sdk.String, Help: `for users of whom nothing else says the ID, such as "{username}@example.com"`},
			{Name: "access_pass", Type: sdk.Bool, Help: "the app shows symbols to choose from; an FTP client shows none, so leave it out"},
			{Name: "poll", Type: sdk.String, Help: `how often the server is asked for the answer; if not set "3s"`},
			{Name: "wait", Type: sdk.String, Help: `how long for an answer; shorter than the method's timeout; if not set "110s"`},
		},
		Needs: sdk.Needs{HTTP: []string{"settings.server", "settings.fallback"}},
	}
}

type settings struct {
	API        string        `setting:"api"`
	Server     string        `setting:"server"`
	Fallback   string        `setting:"fallback"`
	Account    string        `setting:"account"`
	Name       string        `setting:"service_name"`
	Address    string        `setting:"service_address"`
	Attribute  string        `setting:"attribute"`
	Pattern    string        `setting:"pattern"`
	AccessPass bool          `setting:"access_pass"`
	Poll       time.Duration `setting:"poll"`
	Wait       time.Duration `setting:"wait"`
}

func readSettings(a sdk.Attempt) (s settings, err error) {
	s = settings{API: "legacy", Attribute: "secsign_id", Poll: 3 * time.Second, Wait: 110 * time.Second, Address: a.Server()}
	if err := a.Settings(&s); err != nil {
		return s, err
	}
	if s.Server == "" {
		s.Server = defaultServer
		if s.Fallback == "" {
			s.Fallback = defaultFallback
		}
	}
	switch {
	case s.API != "legacy" && s.API != "rest":
		return s, errors.New(`setting api: "legacy" and "rest" are allowed`)
	case s.API == "rest" && s.Account == "":
		return s, errors.New("the REST API needs the setting account, and secret \"pin\"")
	case tooLong(a, s.Wait):
		return s, errors.New("wait = " + s.Wait.String() + " must be shorter than the timeout of the method: set timeout = \"" + (s.Wait + 10*time.Second).String() + "\", or a shorter wait")
	case s.Poll < time.Second || s.Wait < s.Poll:
		return s, errors.New("poll must be a second or more, and wait longer than it")
	}
	for _, text := range []string{s.Name, s.Address} { // the legacy API can't express an &
		if text == "" || len(text) > 255 || strings.ContainsAny(text, "&\r\n") {
			return s, errors.New("service_name and service_address must have 1 to 255 characters, and no &")
		}
	}
	return s, nil
}

// tooLong reports whether the method's time would be up before the person's.
func tooLong(a sdk.Attempt, wait time.Duration) bool {
	timeout, err := a.Get("timeout")
	ms, parseErr := strconv.ParseInt(timeout, 10, 64)
	return err == nil && parseErr == nil && wait.Milliseconds() >= ms
}

// CheckSettings implements sdk.SettingsChecker.
func (method) CheckSettings(a sdk.Attempt) error {
	_, err := readSettings(a)
	return err
}

// Authenticate implements sdk.Method.
func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	s, err := readSettings(a)
	if err != nil {
		return a.Fail(err.Error())
	}
	id := secSignID(a, s)
	if id == "" {
		return sdk.Unknown
	}
	if strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789@_-.") != "" {
		return a.Fail("SecSign IDs are of letters, digits and @ _ - . only; that of the user is not")
	}
	var api pushAPI = &legacy{a: a, s: s, id: id}
	if s.API == "rest" {
		api = &rest{a: a, s: s, id: id}
	}
	return push(a, s, id, api)
}

// secSignID is the user's ID: of the list, or what the first factor says, or by pattern.
func secSignID(a sdk.Attempt, s settings) string {
	id, ok := a.SettingEntry("users", a.User())
	if !ok {
		if said, err := a.Get("first.attribute." + s.Attribute); err == nil {
			id = said
		} else {
			id = strings.ReplaceAll(s.Pattern, "{username}", a.User())
		}
	}
	return strings.ToLower(strings.TrimSpace(id))
}

// state is how far a session is, as both APIs number it.
type state int

const (
	pending       state = 1
	expired       state = 2
	authenticated state = 3
	denied        state = 4
	suspended     state = 5
	cancelled     state = 6
	fetched       state = 7
)

// pushAPI is one of the two wires.
type pushAPI interface {
	// request begins a session, and sends the push with it.
	request() error
	// state asks how far it is. An error that says transient may be gone the next time.
	state() (state, error)
	// cancel takes the push back.
	cancel()
	// ref names the session.
	ref() string
}

// What an ID server says of a person.
var (
	errUnknownID = errors.New("the ID server does not know this SecSign ID")
	errFrozen    = errors.New("the SecSign ID is frozen: its owner must open the app and tap it")
)

// transient is an error of the way, not of the answer.
type transient struct{ error }

// maxTransient is how many polls in a row may get no answer.
const maxTransient = 3

// push asks the person, and waits. On every way out but an approval the session is cancelled, so that no phone
// shows a request that nobody waits for, and no ID is frozen for it.
func push(a sdk.Attempt, s settings, id string, api pushAPI) sdk.Verdict {
	if err := a.Claim(s.Server + " " + id); err != nil { // two requests at once would freeze the ID, whoever's they are
		return a.Fail(err.Error())
	}
	switch err := api.request(); {
	case errors.Is(err, sdk.ErrGivenUp):
		return sdk.Fail
	case errors.Is(err, errFrozen):
		a.Log(sdk.Warn, err.Error())
		_ = a.Approval("frozen", "", "")
		return a.Reject("approval_frozen")
	case err != nil:
		return a.Fail("request: " + err.Error())
	}
	_ = a.Approval("requested", api.ref(), "")
	open := true
	defer func() {
		if open {
			api.cancel()
		}
	}()
	for waited, failures := time.Duration(0), 0; waited < s.Wait; waited += s.Poll {
		if err := a.Sleep(min(s.Poll, s.Wait-waited)); err != nil {
			return sdk.Fail
		}
		now, err := api.state()
		var onTheWay transient
		if errors.As(err, &onTheWay) && failures < maxTransient-1 {
			failures++
			continue
		}
		if err != nil {
			return a.Fail("state: " + err.Error())
		}
		failures = 0
		switch now {
		case pending:
		case fetched:
			_ = a.Approval("delivered", api.ref(), "")
		case authenticated:
			open = false
			_ = a.Approval("approved", api.ref(), "")
			return sdk.Accept
		case denied:
			_ = a.Approval("denied", api.ref(), "")
			return a.Reject("approval_denied")
		case expired:
			_ = a.Approval("expired", api.ref(), "")
			return a.Reject("approval_expired")
		case suspended:
			_ = a.Approval("suspended", api.ref(), "")
			return a.Reject("approval_suspended")
		case cancelled:
			open = false
			return a.Reject("rejected")
		default:
			return a.Fail("the session is in a state that says nothing")
		}
	}
	_ = a.Approval("expired", api.ref(), "")
	return a.Reject("approval_expired")
}
