package idserver

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
)

// Fault changes the answer to one call. Only is the legacy call that it is for; empty: any.
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
		_ = r.ParseForm() // f sees to what is wrong with it
		fault := s.nextFault(r.PostForm.Get("request"))
		if fault == nil {
			f(w, r)
			return
		}
		recorded := httptest.NewRecorder()
		f(recorded, r)
		fault.Change(w, r, recorded.Body.Bytes())
	}
}

// Faults are those that a client must take as "not authenticated", by name. They are for the answer to a state call.
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
