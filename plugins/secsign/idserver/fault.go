package idserver

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
)

// Fault changes the answer to one call. Only is the call that it is for: of the legacy API by the name of its request, of
// the REST API as "GET /rest/v2/AuthSession/{id}"; empty: any.
type Fault struct {
	Only   string
	Change func(w http.ResponseWriter, r *http.Request, answer []byte)
}

// Inject lets the next calls go wrong, each once, in order.
func (s *Server) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// nextFault takes the first if it is for this call.
func (s *Server) nextFault(call string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == 0 || s.faults[0].Only != "" && s.faults[0].Only != call {
		return nil
	}
	f := s.faults[0]
	s.faults = s.faults[1:]
	return &f
}

func (s *Server) withFaults(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		call := r.Pattern
		if call == legacyPattern {
			_ = r.ParseForm() // f sees to what is wrong with it
			call = r.PostForm.Get("request")
		}
		fault := s.nextFault(call)
		if fault == nil {
			f(w, r)
			return
		}
		recorded := httptest.NewRecorder()
		f(recorded, r)
		fault.Change(w, r, recorded.Body.Bytes())
	}
}

// Faults are those that a client must take as "not authenticated", by name. They are for the answer to a state call of
// the legacy API.
func Faults() map[string]func(w http.ResponseWriter, r *http.Request, answer []byte) {
	say := func(body string) func(http.ResponseWriter, *http.Request, []byte) {
		return func(w http.ResponseWriter, _ *http.Request, _ []byte) { _, _ = w.Write([]byte(body)) }
	}
	change := func(f func(answer string) string) func(http.ResponseWriter, *http.Request, []byte) {
		return func(w http.ResponseWriter, _ *http.Request, answer []byte) { _, _ = w.Write([]byte(f(string(answer)))) }
	}
	state := func(value string) func(http.ResponseWriter, *http.Request, []byte) {
		return change(func(answer string) string { return replaceValue(answer, "authsessionstate", value) })
	}
	status := func(code int) func(http.ResponseWriter, *http.Request, []byte) {
		return func(w http.ResponseWriter, _ *http.Request, answer []byte) {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(code)
			_, _ = w.Write(answer)
		}
	}
	return map[string]func(http.ResponseWriter, *http.Request, []byte){
		"empty":         say(""),
		"HTML":          say("<html><body>Please log in to the network</body></html>"),
		"no state":      change(func(answer string) string { return strings.ReplaceAll(answer, "authsessionstate=", "other=") }),
		"state 0":       state("0"),
		"state 9":       state("9"),
		"state 03":      state("03"),
		"state 3 blank": state("3 "),
		"state -3":      state("-3"),
		"state empty":   state(""),
		"twice": change(func(answer string) string {
			return replaceValue(answer, "authsessionstate", "1") + "&authsessionstate=3"
		}),
		"error and 3":     change(func(answer string) string { return replaceValue(answer, "authsessionstate", "3") + "&error=500" }),
		"error, no value": change(func(answer string) string { return replaceValue(answer, "authsessionstate", "3") + "&error=" }),
		"percent-encoded": change(func(answer string) string {
			return strings.ReplaceAll(replaceValue(answer, "authsessionstate", "3"), "=", "%3D")
		}),
		"other ID": change(func(answer string) string {
			return replaceValue(replaceValue(answer, "authsessionstate", "3"), "secsignid", "mallory")
		}),
		"other session": change(func(answer string) string {
			return replaceValue(replaceValue(answer, "authsessionstate", "3"), "authsessionid", "7")
		}),
		"10 MB": func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			_, _ = w.Write(bytes.Repeat([]byte("a=b&"), 10<<18))
		},
		"500": status(500),
		"403": status(403),
	}
}

// RESTFaults are Faults for the REST API.
func RESTFaults() map[string]func(w http.ResponseWriter, r *http.Request, answer []byte) {
	say := func(status int, body string) func(http.ResponseWriter, *http.Request, []byte) {
		return func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	all := map[string]func(http.ResponseWriter, *http.Request, []byte){
		"10 MB": func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			_, _ = w.Write([]byte(`{"authsessionstate":3,"x":"` + strings.Repeat("x", 10<<20) + `"}`))
		},
	}
	for name, body := range map[string]string{
		"empty":            "",
		"HTML":             "<html><body>Please log in to the network</body></html>",
		"no state":         `{}`,
		"null":             `null`,
		"state 0":          `{"authsessionstate":0}`,
		"state 9":          `{"authsessionstate":9}`,
		"state 03":         `{"authsessionstate":"03"}`,
		"state 3 blank":    `{"authsessionstate":"3 "}`,
		"state -3":         `{"authsessionstate":-3}`,
		"state 3.0":        `{"authsessionstate":3.0}`,
		"state in a list":  `{"authsessionstate":[3]}`,
		"state twice":      `{"authsessionstate":1,"authsessionstate":3}`,
		"state twice, 3 1": `{"authsessionstate":3,"authsessionstate":1}`,
		"error and 3":      `{"authsessionstate":3,"error":500}`,
		"cut":              `{"authsessionstate":3`,
		"more behind":      `{"authsessionstate":3}{"authsessionstate":3}`,
		"pairs":            `authsessionstate=3`,
	} {
		all[name] = say(http.StatusOK, body)
	}
	for _, status := range []int{400, 401, 403, 404, 409, 500} {
		all[strconv.Itoa(status)] = say(status, `{"authsessionstate":3}`)
	}
	return all
}

// Hang never answers, until the client goes away.
func Hang(_ http.ResponseWriter, r *http.Request, _ []byte) { <-r.Context().Done() }

// Transient are faults of the way: the next call may get an answer.
func Transient() map[string]func(w http.ResponseWriter, r *http.Request, answer []byte) {
	return map[string]func(http.ResponseWriter, *http.Request, []byte){
		"429": func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusTooManyRequests) },
		"502": func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusBadGateway) },
		"cut": func(w http.ResponseWriter, _ *http.Request, answer []byte) {
			w.Header().Set("Content-Length", "10000")
			_, _ = w.Write(answer)
			panic(http.ErrAbortHandler)
		},
	}
}

// replaceValue changes one value of key=value pairs.
func replaceValue(answer, key, value string) string {
	parts := strings.Split(answer, "&")
	for i, part := range parts {
		if strings.HasPrefix(part, key+"=") {
			parts[i] = key + "=" + value
		}
	}
	return strings.Join(parts, "&")
}
