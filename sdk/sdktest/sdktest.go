// Package sdktest runs an [sdk.Method] in an ordinary go test, with a fake host that
// follows the same rules as the real one.
//
//	host := sdktest.Host{Fields: map[string]string{"user": "alice"}, Accounts: map[string]sdktest.Account{"alice": {Password: "x"}}, Password: "x"}
//	verdict := host.Run(method{})
//
// HTTP answers are scripted, and sleeping costs no time. What the real host does beyond that, such as
// running the method again after each answer, "sallyport plugin test" shows with the built plugin.
package sdktest

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// Account is an account of the fake host.
type Account struct {
	Password string
	Disabled bool
	Groups   []string
	Fields   map[string]string // such as "email"
}

// Answer is a scripted answer to one HTTP request.
type Answer struct {
	Status int // negative: the request fails with this code, such as sdk.CodeFailed
	Header map[string]string
	Body   string
}

// Host is a fake host and what it is asked with. Run fills the fields after the blank line.
type Host struct {
	Fields       map[string]string   // what Get returns, such as "user" or "client.ip"
	Settings     map[string]string   // settings.NAME
	Lists        map[string][]string // settings that are lists
	Maps         map[string]map[string]string
	Password     string            // what the client sent
	SeesPassword bool              // grant { password = true }
	Secrets      map[string]string // secret "NAME" {}: by reference only
	Accounts     map[string]Account
	Codes        map[string]string // the one-time code of each user who has one
	HTTP         []Answer          // in the order of the requests
	Now          time.Time         // when the attempt begins
	GiveUp       time.Duration     // of sleeping, after which the attempt is given up; 0: never
	Ask          func(prompt string) (bool, error)
	Dial         func(address string) (net.Conn, error)

	Result    map[string]string   // what the method set, such as "reason"
	Requests  []map[string]string // http.request.* of each request, without that prefix, references resolved
	Approvals []string            // the states that the method set
	Slept     time.Duration
	Logs      []string
	checks    *Account // after a right password
	reason    string
	answer    *Answer
	toldAt    int // requests made when the method heard that it was given up, plus one
}

// Run asks the method once.
func (h *Host) Run(m sdk.Method) sdk.Verdict {
	h.Result, h.Requests, h.Approvals, h.Slept, h.Logs = map[string]string{}, nil, nil, 0, nil
	h.checks, h.reason, h.answer, h.toldAt = nil, "", nil, 0
	return m.Authenticate(sdk.NewAttempt(fake{h}))
}

// CheckSettings asks the method whether its settings are right.
func (h *Host) CheckSettings(m sdk.SettingsChecker) error {
	h.Result = map[string]string{}
	return m.CheckSettings(sdk.NewAttempt(fake{h}))
}

// fake is the Host as the method sees it.
type fake struct{ *Host }

var _ sdk.Host = fake{}

func (h fake) Get(key string) (string, error) {
	switch {
	case key == "password":
		if !h.SeesPassword {
			return "", sdk.ErrNotGranted
		}
		return h.Password, nil
	case key == "now":
		return strconv.FormatInt(h.Now.Add(h.Slept).UnixMilli(), 10), nil
	case strings.HasPrefix(key, "random:"):
		n, err := strconv.Atoi(strings.TrimPrefix(key, "random:"))
		if err != nil || n < 1 {
			return "", sdk.ErrUnknownKey
		}
		return strings.Repeat("r", n), nil
	case strings.HasPrefix(key, "secret."):
		return "", sdk.ErrNotGranted
	case key == "verify.reason" && h.reason != "":
		return h.reason, nil
	case strings.HasPrefix(key, "settings."):
		name := strings.TrimPrefix(key, "settings.")
		if entries, ok := h.Maps[name]; ok {
			text, err := json.Marshal(entries)
			return string(text), err
		}
		return lookup(h.Settings, name)
	case strings.HasPrefix(key, "settings:/"):
		name, index, _ := strings.Cut(strings.TrimPrefix(key, "settings:/"), "/")
		if entries, ok := h.Maps[name]; ok {
			return lookup(entries, strings.NewReplacer("~1", "/", "~0", "~").Replace(index))
		}
		return element(h.Lists[name], index)
	case strings.HasPrefix(key, "account."):
		return h.account(strings.TrimPrefix(key, "account."))
	case strings.HasPrefix(key, "http.response."):
		return h.response(strings.TrimPrefix(key, "http.response."))
	}
	return lookup(h.Fields, key)
}

func (h fake) response(name string) (string, error) {
	if h.answer == nil {
		return "", sdk.ErrAbsent
	}
	switch {
	case name == "status":
		return strconv.Itoa(h.answer.Status), nil
	case name == "body":
		return h.answer.Body, nil
	case strings.HasPrefix(name, "header."):
		return lookup(h.answer.Header, strings.TrimPrefix(name, "header."))
	case strings.HasPrefix(name, "json:"):
		return jsonValue(h.answer.Body, strings.TrimPrefix(name, "json:"))
	}
	return "", sdk.ErrAbsent
}

// jsonValue follows a JSON pointer.
func jsonValue(body, pointer string) (string, error) {
	var at any
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.UseNumber()
	if decoder.Decode(&at) != nil {
		return "", sdk.ErrAbsent
	}
	for _, part := range strings.Split(strings.Trim(pointer, "/"), "/") {
		switch v := at.(type) {
		case map[string]any:
			at = v[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v) {
				return "", sdk.ErrAbsent
			}
			at = v[i]
		default:
			return "", sdk.ErrAbsent
		}
	}
	switch v := at.(type) {
	case nil:
		return "", sdk.ErrAbsent
	case string:
		return v, nil
	}
	text, err := json.Marshal(at)
	return string(text), err
}

func (h fake) Set(key, value string) error {
	if key == "approval" {
		if !slices.Contains(sdk.ApprovalStates(), value) {
			return sdk.ErrUnknownKey
		}
		h.Approvals = append(h.Approvals, value)
	}
	h.Result[key] = value
	return nil
}

// HTTP takes the next scripted answer.
func (h fake) HTTP() (int32, error) {
	request := map[string]string{}
	for key, value := range h.Result {
		name, ok := strings.CutPrefix(key, "http.request.")
		if !ok {
			continue
		}
		delete(h.Result, key)
		if plain, isReference := strings.CutSuffix(name, "@"); isReference {
			resolved, err := h.reference(value)
			if err != nil {
				return 0, err
			}
			name, value = plain, resolved
		}
		request[name] = value
	}
	h.answer = nil
	if h.givenUp() && request["withdraw"] != "true" {
		return 0, sdk.ErrGivenUp
	}
	h.Requests = append(h.Requests, request)
	if len(h.Requests) > len(h.Host.HTTP) {
		h.Log(sdk.Error, fmt.Sprintf("sdktest: there is no answer for request %d: %s", len(h.Requests), request["url"]))
		return sdk.CodeFailed, sdk.ErrFailed
	}
	answer := h.Host.HTTP[len(h.Requests)-1]
	if answer.Status < 0 {
		return int32(answer.Status), sdk.CodeError(int32(answer.Status))
	}
	h.answer = &answer
	return int32(answer.Status), nil
}

func (h fake) reference(field string) (string, error) {
	if name, ok := strings.CutPrefix(field, "secret."); ok {
		return lookup(h.Secrets, name)
	}
	if field == "password" {
		return h.Password, nil
	}
	return h.Get(field)
}

// givenUp tells the method at the first call after the time, and then lets two requests through.
func (h fake) givenUp() bool {
	if h.GiveUp == 0 || h.Slept < h.GiveUp {
		return false
	}
	if h.toldAt == 0 {
		h.toldAt = len(h.Requests) + 1
		return true
	}
	return len(h.Requests) >= h.toldAt+1
}

func (h fake) Sleep(milliseconds uint32) error {
	if h.givenUp() || h.toldAt != 0 {
		return sdk.ErrGivenUp
	}
	h.Slept += time.Duration(milliseconds) * time.Millisecond
	return nil
}

func (h fake) Ask() (int32, error) {
	if h.givenUp() || h.toldAt != 0 {
		return 0, sdk.ErrGivenUp
	}
	if h.Host.Ask == nil {
		return 0, sdk.ErrNotGranted
	}
	yes, err := h.Host.Ask(h.Result["ask.prompt"])
	if yes {
		return sdk.AskYes, err
	}
	return sdk.AskNo, err
}

func (fake) Dial(string) (int32, error) { return 0, sdk.ErrBadState }

// DialConn is what package sdknet uses in a test.
func (h fake) DialConn(address string) (net.Conn, error) {
	if h.Host.Dial == nil {
		return nil, sdk.ErrNotGranted
	}
	return h.Host.Dial(address)
}

func (fake) StartTLS(int32, string) error { return sdk.ErrBadState }

func (h fake) account(name string) (string, error) {
	if h.checks == nil {
		return "", sdk.ErrAbsent
	}
	if index, ok := strings.CutPrefix(name, "groups:/"); ok {
		return element(h.checks.Groups, index)
	}
	return lookup(h.checks.Fields, name)
}

func (h fake) Log(_ sdk.Level, message string) { h.Logs = append(h.Logs, message) }

func (h fake) Verify(what string) (int32, error) {
	if what == "code" {
		return h.verifyCode()
	}
	if what != "password" {
		return 0, sdk.ErrUnknownKey
	}
	account, ok := h.Accounts[h.Fields["user"]]
	switch {
	case !ok:
		h.reason = "unknown_user"
		return sdk.VerifyNotEnrolled, nil
	case account.Password != h.Password:
		h.reason = "wrong_password"
		return sdk.VerifyWrong, nil
	case account.Disabled:
		h.reason = "account_disabled"
		return sdk.VerifyWrong, nil
	}
	h.checks = &account
	return sdk.VerifyRight, nil
}

func (h fake) verifyCode() (int32, error) {
	code, ok := h.Codes[h.Fields["user"]]
	switch {
	case !ok:
		h.reason = "unknown_user"
		return sdk.VerifyNotEnrolled, nil
	case code != h.Fields["code"]:
		h.reason = "wrong_code"
		return sdk.VerifyWrong, nil
	}
	return sdk.VerifyRight, nil
}

func lookup(m map[string]string, key string) (string, error) {
	value, ok := m[key]
	if !ok {
		return "", sdk.ErrAbsent
	}
	return value, nil
}

func element(list []string, index string) (string, error) {
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 || i >= len(list) {
		return "", sdk.ErrAbsent
	}
	return list[i], nil
}
