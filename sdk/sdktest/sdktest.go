// Package sdktest runs an [sdk.Method] in an ordinary go test, with a fake host that
// follows the same rules as the real one.
//
//	host := sdktest.Host{Fields: map[string]string{"user": "alice"}, Accounts: map[string]sdktest.Account{"alice": {Password: "x"}}, Password: "x"}
//	verdict := host.Run(method{})
package sdktest

import (
	"strconv"
	"strings"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// Account is an account of the fake host.
type Account struct {
	Password string
	Disabled bool
	Groups   []string
	Fields   map[string]string // such as "email"
}

// Host is a fake host and what it is asked with. Run fills the fields after the blank line.
type Host struct {
	Fields       map[string]string   // what Get returns, such as "user" or "client.ip"
	Settings     map[string]string   // settings.NAME
	Lists        map[string][]string // settings that are lists
	Password     string              // what the client sent
	SeesPassword bool                // grant { password = true }
	Accounts     map[string]Account

	Result map[string]string // what the method set, such as "reason"
	Logs   []string
	checks *Account // after a right password
	reason string
}

// Run asks the method once.
func (h *Host) Run(m sdk.Method) sdk.Verdict {
	h.Result, h.Logs, h.checks, h.reason = map[string]string{}, nil, nil, ""
	return m.Authenticate(sdk.NewAttempt((*fake)(h)))
}

type fake Host

var _ sdk.Host = (*fake)(nil)

func (h *fake) Get(key string) (string, error) {
	switch {
	case key == "password":
		if !h.SeesPassword {
			return "", sdk.ErrNotGranted
		}
		return h.Password, nil
	case key == "verify.reason" && h.reason != "":
		return h.reason, nil
	case strings.HasPrefix(key, "settings."):
		return lookup(h.Settings, strings.TrimPrefix(key, "settings."))
	case strings.HasPrefix(key, "settings:/"):
		name, index, _ := strings.Cut(strings.TrimPrefix(key, "settings:/"), "/")
		return element(h.Lists[name], index)
	case strings.HasPrefix(key, "account."):
		return h.account(strings.TrimPrefix(key, "account."))
	}
	return lookup(h.Fields, key)
}

func (h *fake) account(name string) (string, error) {
	if h.checks == nil {
		return "", sdk.ErrAbsent
	}
	if index, ok := strings.CutPrefix(name, "groups:/"); ok {
		return element(h.checks.Groups, index)
	}
	return lookup(h.checks.Fields, name)
}

func (h *fake) Set(key, value string) error {
	h.Result[key] = value
	return nil
}

func (h *fake) Log(_ sdk.Level, message string) { h.Logs = append(h.Logs, message) }

func (h *fake) Verify(what string) (int32, error) {
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
