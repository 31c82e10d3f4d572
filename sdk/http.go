package sdk

import (
	"strconv"
	"time"
)

// Request is one HTTP request. The host sends it, to the URLs that the administrator granted.
//
// A key in Header, Query, Form or JSON that ends in @ takes the name of a field in place of a
// value: {"pw@": "password"} sends the password, and {"Authorization@": "secret.token"} a secret of
// the configuration, where they may go, without the plugin ever seeing them.
type Request struct {
	Method string // empty: GET, or POST if there is something to send
	URL    string
	Header map[string]string
	Query  map[string]string
	Form   map[string]string // sent as application/x-www-form-urlencoded
	JSON   map[string]string // strings by JSON pointer, such as "/user/name": sent as application/json
	Values map[string]string // other JSON values beside them, such as {"/port": "21"}; no references
	Body   string
	// Timeout is for this request, in whole milliseconds; 0, or more than the administrator's limit: that limit.
	Timeout time.Duration
	// Username and Password are for Basic authentication; PasswordField is the name of a field in
	// place of Password.
	Username, Password, PasswordField string
	// Withdraw marks a request that takes something back: it is sent although the attempt was given up.
	Withdraw bool
}

// Response is an answer. It is read from the host as far as it is asked for; the next request
// replaces it.
type Response struct {
	Status int
	host   Host
}

// HTTP sends a request and waits for the answer. The error is ErrNotGranted, ErrOverLimit, ErrGivenUp,
// ErrUnknownKey for a request that can't be sent, or ErrFailed; the host's log says more. Redirects
// are not followed.
func (a Attempt) HTTP(r Request) (Response, error) {
	answer := Response{host: a.host}
	if err := a.setRequest(r); err != nil {
		return answer, err
	}
	status, err := a.host.HTTP()
	answer.Status = int(status)
	return answer, err
}

func (a Attempt) setRequest(r Request) error {
	withdraw := ""
	if r.Withdraw {
		withdraw = "true"
	}
	timeout := ""
	if r.Timeout > 0 {
		timeout = strconv.FormatInt(max(1, r.Timeout.Milliseconds()), 10)
	}
	for _, f := range []struct{ name, value string }{
		{"withdraw", withdraw},
		{"timeout", timeout},
		{"method", r.Method},
		{"url", r.URL},
		{"body", r.Body},
		{"basic.username", r.Username},
		{"basic.password", r.Password},
		{"basic.password@", r.PasswordField},
	} {
		if f.value == "" {
			continue
		}
		if err := a.host.Set("http.request."+f.name, f.value); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		prefix string
		values map[string]string
	}{{"header.", r.Header}, {"query.", r.Query}, {"form.", r.Form}, {"json:", r.JSON}, {"value:", r.Values}} {
		for _, key := range sortedKeys(m.values) {
			if err := a.host.Set("http.request."+m.prefix+key, m.values[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

// sortedKeys lists the keys always in the same order: a run must repeat the one before.
func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	for i := range keys { // few: the package sort would make every plugin larger
		for j := i; j > 0 && keys[j] < keys[j-1]; j-- {
			keys[j], keys[j-1] = keys[j-1], keys[j]
		}
	}
	return keys
}

// Body is the body, at most 64 KiB; of a longer one, JSON reads parts.
func (r Response) Body() (string, error) { return r.host.Get("http.response.body") }

// Header is a header, several of the same name joined by ", "; empty if there is none.
func (r Response) Header(name string) string {
	value, err := r.host.Get("http.response.header." + name)
	if err != nil {
		return ""
	}
	return value
}

// JSON is one value of a JSON body by its pointer (RFC 6901), such as "/user/groups/0": a string as it
// is, anything else as JSON. False: it is not there.
func (r Response) JSON(pointer string) (string, bool) {
	value, err := r.host.Get("http.response.json:" + pointer)
	return value, err == nil
}

// JSONInt is JSON for a whole number, or a string that holds one.
func (r Response) JSONInt(pointer string) (int64, bool) {
	text, ok := r.JSON(pointer)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}
