package idserver

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// account wants the pin account, and writes what f says as JSON: never an empty body.
func (s *Server) account(f func(r *http.Request) (map[string]any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		same := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
		if s.options.Account == "" || !same(user, s.options.Account) || !same(password, s.options.Password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="ID server"`)
			writeJSON(w, http.StatusUnauthorized, map[string]any{"error": 401, "errormsg": "account or password is wrong"})
			return
		}
		s.mu.Lock()
		s.note(r.Method+" "+r.URL.Path, nil)
		answer, err := f(r)
		s.mu.Unlock()
		var failed *failure
		if errors.As(err, &failed) {
			writeJSON(w, failed.status, map[string]any{"error": failed.number, "errormsg": failed.text})
			return
		}
		writeJSON(w, http.StatusOK, answer)
	}
}

func writeJSON(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// restBegin is called with the lock, as the others are.
func (s *Server) restBegin(r *http.Request) (map[string]any, error) {
	q := r.URL.Query()
	id := strings.ToLower(q.Get("secsignid"))
	if !validID(id) || q.Get("servicename") == "" || q.Get("serviceaddress") == "" {
		return nil, errParameters
	}
	one, err := s.begin(id, q.Get("servicename"), q.Get("serviceaddress"))
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"authsessionid": one.ID, "secsignid": one.SecSignID}
	if q.Get("showaccesspassicons") == "true" {
		answer["authsessionicondata"] = accessPass()
	}
	return answer, nil
}

func (s *Server) restSession(r *http.Request) (*Session, error) {
	number, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || s.sessions[number] == nil {
		return nil, errSession
	}
	return s.sessions[number], nil
}

func (s *Server) restState(r *http.Request) (map[string]any, error) {
	one, err := s.restSession(r)
	if err != nil || one.State == Cancelled {
		return nil, errSession
	}
	s.age(one)
	return map[string]any{"authsessionstate": int(one.State)}, nil
}

func (s *Server) restCancel(r *http.Request) (map[string]any, error) {
	one, err := s.restSession(r)
	if err != nil {
		return nil, err
	}
	if err := s.cancel(one); err != nil {
		return nil, err
	}
	return map[string]any{"authsessionstate": int(Cancelled)}, nil
}

func (s *Server) restExists(r *http.Request) (map[string]any, error) {
	if !r.URL.Query().Has("exist") {
		return nil, errParameters
	}
	return map[string]any{"exist": s.ids[strings.ToLower(r.PathValue("name"))] != nil}, nil
}
