package idserver

import (
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Control is a page in place of a phone: it shows who is being asked, and takes the answer. Beside it, for programs:
//
//	GET  /sessions                 all sessions, as JSON
//	POST /sessions/{id}/{answer}   approve, deny, fetch, expire, suspend, invalidate, or approve-with-icon (icon=HASH)
//	GET  /journal                  all calls so far, as JSON
//	POST /ids/{id}/{change}        create, delete, freeze, unfreeze, or rule (answer=approve, after=5s, fetch=true; answer=never: a person)
//	GET  /ids/{id}/codes           codes that were mailed and not used
func (s *Server) Control() http.Handler {
	mux, shown := http.NewServeMux(), template.Must(template.New("page").Parse(page))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = shown.Execute(w, s.Open())
	})
	mux.HandleFunc("POST /answer", func(w http.ResponseWriter, r *http.Request) {
		if s.controlAnswer(w, r, r.PostFormValue("session"), r.PostFormValue("answer")) {
			http.Redirect(w, r, "/", http.StatusSeeOther)
		}
	})
	mux.HandleFunc("GET /sessions", func(w http.ResponseWriter, _ *http.Request) { writeAny(w, s.Sessions()) })
	mux.HandleFunc("GET /journal", func(w http.ResponseWriter, _ *http.Request) { writeAny(w, s.Journal()) })
	mux.HandleFunc("POST /sessions/{id}/{answer}", func(w http.ResponseWriter, r *http.Request) {
		if s.controlAnswer(w, r, r.PathValue("id"), r.PathValue("answer")) {
			writeAny(w, "done")
		}
	})
	mux.HandleFunc("POST /ids/{id}/{change}", s.controlID)
	mux.HandleFunc("GET /ids/{id}/codes", func(w http.ResponseWriter, r *http.Request) { writeAny(w, s.Codes(r.PathValue("id"))) })
	protect := http.NewCrossOriginProtection() // another page must not approve
	return protect.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host, _, _ := strings.Cut(r.Host, ":"); host != "127.0.0.1" && host != "localhost" { // nor one by a name that it made
			http.Error(w, "this page is for this machine", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	}))
}

// answers are what a person, or the server itself, may do to a session.
func answers(name string) State {
	return map[string]State{
		"approve": Authenticated, "deny": Denied, "fetch": Fetched, "expire": Expired, "suspend": Suspended, "invalidate": Invalid,
	}[name]
}

func (s *Server) controlAnswer(w http.ResponseWriter, r *http.Request, number, answer string) bool {
	session, err := strconv.ParseInt(number, 10, 64)
	state := answers(answer)
	switch {
	case err != nil:
	case answer == "approve-with-icon":
		state, err = Authenticated, s.AnswerWithIcon(session, r.PostFormValue("icon"))
	case state != 0:
		err = s.Answer(session, state)
	}
	if err != nil || state == 0 {
		http.Error(w, "that can't be answered any more", http.StatusConflict)
		return false
	}
	return true
}

func (s *Server) controlID(w http.ResponseWriter, r *http.Request) {
	id, change := strings.ToLower(r.PathValue("id")), r.PathValue("change")
	s.mu.Lock()
	known := s.ids[id] != nil
	s.mu.Unlock()
	after, err := time.ParseDuration("0" + r.PostFormValue("after"))
	switch {
	case change == "create" && validID(id):
		s.SetID(id, true)
	case !known || err != nil:
		http.Error(w, "there is no such ID, or after is no duration", http.StatusNotFound)
		return
	case change == "delete":
		s.SetID(id, false)
	case change == "freeze", change == "unfreeze":
		s.SetFrozen(id, change == "freeze")
	case change == "rule" && r.PostFormValue("answer") == "never":
		s.SetRule(id, nil)
	case change == "rule" && answers(r.PostFormValue("answer")) != 0:
		s.SetRule(id, &Rule{After: after, State: answers(r.PostFormValue("answer")), Fetched: r.PostFormValue("fetch") == "true"})
	default:
		http.Error(w, "create, delete, freeze, unfreeze and rule are allowed", http.StatusBadRequest)
		return
	}
	writeAny(w, "done")
}

func writeAny(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

const page = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>Phone</title>
<style>body { font: 18px sans-serif; max-width: 26em; margin: 3em auto } form { border: 1px solid #bbb; border-radius: 12px; padding: 1em; margin: 1em 0 }
button { font: inherit; padding: .4em 1.2em; margin-right: 1em; border-radius: 8px; border: 0; color: #fff; background: #a33 } button[value=approve] { background: #282 }</style></head>
<body><h1>Phone</h1>
{{range .}}<form method="post" action="/answer"><input type="hidden" name="session" value="{{.ID}}">
<p><b>{{.SecSignID}}</b>: is it you who logs in?</p><p>{{.Name}}<br>{{.Address}}</p>
<button name="answer" value="approve">Approve</button><button name="answer" value="deny">Deny</button></form>
{{else}}<p>Nobody is waiting.</p>{{end}}
</body></html>
`
