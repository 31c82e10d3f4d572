package idserver

import (
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

// Control is a page in place of a phone: it shows who is being asked, and takes the answer.
func (s *Server) Control() http.Handler {
	mux, shown := http.NewServeMux(), template.Must(template.New("page").Parse(page))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = shown.Execute(w, s.Open())
	})
	mux.HandleFunc("POST /answer", func(w http.ResponseWriter, r *http.Request) {
		session, err := strconv.ParseInt(r.PostFormValue("session"), 10, 64)
		state := map[string]State{"approve": Authenticated, "deny": Denied, "fetch": Fetched}[r.PostFormValue("answer")]
		if err == nil && state != 0 {
			err = s.Answer(session, state)
		}
		if err != nil || state == 0 {
			http.Error(w, "that can't be answered any more", http.StatusConflict)
			return
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	protect := http.NewCrossOriginProtection() // another page must not approve
	return protect.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host, _, _ := strings.Cut(r.Host, ":"); host != "127.0.0.1" && host != "localhost" { // nor one by a name that it made
			http.Error(w, "this page is for this machine", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	}))
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
