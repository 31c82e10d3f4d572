// Package idserver is a SecSign ID server for tests and demonstrations: both wires, the legacy HTTP API and the
// AuthSession calls of the REST API, with strict parameters, states, suspension and freezing, faults to inject, and a
// control plane in place of a phone. What the vendor does not say is marked "invented".
//
// [New] makes one; [Server.Handler] is what a client talks to, [Server.Control] a page on which one approves.
package idserver

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/png"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// State is how far a session is.
type State int

// The states, with the numbers of the wire.
const (
	Pending       State = 1
	Expired       State = 2
	Authenticated State = 3
	Denied        State = 4
	Suspended     State = 5
	Cancelled     State = 6
	Fetched       State = 7
	Invalid       State = 8
)

// Options are what a Server needs. The zero value works.
type Options struct {
	Now         func() time.Time
	Lifetime    time.Duration // of a session; 0: 120 s
	FreezeAfter int           // requests at once that freeze an ID; 0: 3 (invented)
	// Account and Password are the pin account of the REST API.
	Account, Password string
}

// Session is a request for approval.
type Session struct {
	ID         int64
	SecSignID  string
	Name       string
	Address    string
	State      State
	Begun      time.Time
	requestID  string
	concurrent int
}

// Call is an entry of the journal.
type Call struct {
	Time   time.Time
	Name   string // such as ReqRequestAuthSession, or "DELETE /rest/v2/AuthSession/1"
	Params map[string]string
}

// Rule answers a request without a person: after a while the session gets the state.
type Rule struct {
	After time.Duration
	State State
}

// Server keeps IDs and their sessions.
type Server struct {
	options Options

	mu       sync.Mutex
	ids      map[string]*identity
	sessions map[int64]*Session
	journal  []Call
	faults   []Fault
}

type identity struct {
	frozen bool
	rule   *Rule
}

// New makes a server that knows these SecSign IDs.
func New(o Options, ids ...string) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Lifetime == 0 {
		o.Lifetime = 120 * time.Second
	}
	if o.FreezeAfter == 0 {
		o.FreezeAfter = 3
	}
	s := &Server{options: o, ids: map[string]*identity{}, sessions: map[int64]*Session{}}
	for _, id := range ids {
		s.ids[strings.ToLower(id)] = &identity{}
	}
	return s
}

// SetRule answers for an ID; nil: a person does.
func (s *Server) SetRule(id string, rule *Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[id].rule = rule
}

// SetFrozen freezes an ID, or does what tapping it in the app does.
func (s *Server) SetFrozen(id string, frozen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[id].frozen = frozen
}

// Frozen reports whether an ID is frozen.
func (s *Server) Frozen(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[id] != nil && s.ids[id].frozen
}

// Sessions lists all sessions, the oldest first.
func (s *Server) Sessions() (all []Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.sessions {
		s.age(one)
		all = append(all, *one)
	}
	slices.SortFunc(all, func(a, b Session) int { return a.Begun.Compare(b.Begun) })
	return all
}

// Open lists the sessions that wait for a person.
func (s *Server) Open() []Session {
	return slices.DeleteFunc(s.Sessions(), func(one Session) bool { return one.State != Pending && one.State != Fetched })
}

// Answer is what the person does on the phone.
func (s *Server) Answer(session int64, state State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.sessions[session]
	if one == nil {
		return errors.New("no such session")
	}
	if s.age(one); one.State != Pending && one.State != Fetched {
		return fmt.Errorf("the session is over: state %d", one.State)
	}
	one.State = state
	return nil
}

// Journal lists the calls so far.
func (s *Server) Journal() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.journal)
}

// Count is how often a call was made.
func (s *Server) Count(name string) (n int) {
	for _, c := range s.Journal() {
		if c.Name == name {
			n++
		}
	}
	return n
}

// failure is an error on the wire.
type failure struct {
	status int // of the REST API
	number int
	code   int
	text   string
}

func (f *failure) Error() string { return f.text }

var (
	errParameters = &failure{http.StatusBadRequest, 400, 900, "parameters are missing, unknown or malformed"} // the code is invented
	errSession    = &failure{http.StatusBadRequest, 400, 901, "no such session"}
	errUnknown    = &failure{http.StatusNotFound, 500, 20000, "A SecSign ID with that name does not exist."}
	errFrozen     = &failure{http.StatusConflict, 500, 20006, "The SecSign ID is frozen because of concurrent login requests."}
)

// begin makes a session. One that waits already is suspended; too many at once freeze the ID.
func (s *Server) begin(id, name, address string) (*Session, error) {
	who := s.ids[id]
	switch {
	case who == nil:
		return nil, errUnknown
	case who.frozen:
		return nil, errFrozen
	}
	concurrent := 1
	for _, other := range s.sessions {
		if s.age(other); other.SecSignID == id && (other.State == Pending || other.State == Fetched) {
			other.State = Suspended
			concurrent = max(concurrent, other.concurrent+1)
		}
	}
	if concurrent >= s.options.FreezeAfter {
		who.frozen = true
		return nil, errFrozen
	}
	one := &Session{ID: newSessionID(), SecSignID: id, Name: name, Address: address, State: Pending, Begun: s.options.Now(), requestID: newRequestID(), concurrent: concurrent}
	s.sessions[one.ID] = one
	return one, nil
}

// age does what time does to a session.
func (s *Server) age(one *Session) {
	if one.State != Pending && one.State != Fetched {
		return
	}
	passed := s.options.Now().Sub(one.Begun)
	switch who := s.ids[one.SecSignID]; {
	case who != nil && who.rule != nil && passed >= who.rule.After:
		one.State = who.rule.State
	case passed >= s.options.Lifetime:
		one.State = Expired
	}
}

// cancel takes a session back. After it nobody can ask for the session any more.
func (s *Server) cancel(one *Session) error {
	if s.age(one); one.State == Authenticated || one.State == Cancelled { // the first is invented
		return errSession
	}
	one.State = Cancelled
	return nil
}

func (s *Server) note(name string, params map[string]string) {
	s.journal = append(s.journal, Call{s.options.Now(), name, params})
}

// newSessionID is a signed 64-bit number, of either sign, and not -1.
func newSessionID() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	if id := int64(binary.BigEndian.Uint64(b[:])); id != -1 && id != 0 {
		return id
	}
	return 1
}

func newRequestID() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return strings.ToUpper(hex.EncodeToString(b[:]))
}

// accessPass is a picture of 88 by 88.
func accessPass() string {
	var b bytes.Buffer
	_ = png.Encode(&b, image.NewRGBA(image.Rect(0, 0, 88, 88)))
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// Handler serves both wires.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", s.withFaults(s.legacy))
	mux.HandleFunc("GET /rest/v2/AuthSession", s.withFaults(s.account(s.restBegin)))
	mux.HandleFunc("GET /rest/v2/AuthSession/{id}", s.withFaults(s.account(s.restState)))
	mux.HandleFunc("DELETE /rest/v2/AuthSession/{id}", s.withFaults(s.account(s.restCancel)))
	mux.HandleFunc("GET /rest/v2/SecSignId/{name}", s.withFaults(s.account(s.restExists)))
	mux.HandleFunc("GET /rest/v2/PluginRegistration/ServerInfo", s.account(func(*http.Request) (map[string]any, error) {
		return map[string]any{"majorVersion": 10, "minorVersion": 7, "patchVersion": 5}, nil
	}))
	return mux
}

// pairs is an answer of the legacy API: raw key=value, in any order.
type pairs [][2]string

func (p pairs) String() string {
	parts := make([]string, len(p))
	for i, n := range mathrand.Perm(len(p)) {
		parts[i] = p[n][0] + "=" + p[n][1]
	}
	return strings.Join(parts, "&")
}

// legacy is the only call of the HTTP API.
func (s *Server) legacy(w http.ResponseWriter, r *http.Request) {
	answer, err := s.legacyAnswer(r)
	var f *failure
	if errors.As(err, &f) {
		answer = pairs{{"error", strconv.Itoa(f.number)}, {"errormsg", f.text}, {"errorcode", strconv.Itoa(f.code)}}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(answer.String())) // 200 also for errors: the vendor does not say
}

// parameters of each call: required, and then optional ones.
func parameters(request string) (required, optional []string) {
	session := []string{"request", "apimethod", "secsignid", "authsessionid", "requestid"}
	switch request {
	case "ReqRequestAuthSession":
		return []string{"request", "apimethod", "secsignid", "servicename", "serviceaddress"}, []string{"pluginname", "showaccesspass", "timezone"}
	case "ReqGetAuthSessionState", "ReqCancelAuthSession":
		return session, nil
	}
	return nil, nil
}

// form reads the parameters as strictly as the vendor's web application firewall.
func form(r *http.Request) (map[string]string, error) {
	if err := r.ParseForm(); err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") || r.URL.RawQuery != "" {
		return nil, errParameters
	}
	required, optional := parameters(r.PostForm.Get("request"))
	values := map[string]string{}
	for name, all := range r.PostForm {
		if len(all) != 1 || all[0] == "" || !slices.Contains(required, name) && !slices.Contains(optional, name) {
			return nil, errParameters
		}
		values[name] = all[0]
	}
	for _, name := range required {
		if values[name] == "" {
			return nil, errParameters
		}
	}
	if show, ok := values["showaccesspass"]; ok && show != "true" && show != "false" {
		return nil, errParameters
	}
	id := strings.ToLower(strings.TrimSpace(values["secsignid"]))
	if required == nil || !validID(id) || len(values["servicename"]) > 255 || len(values["serviceaddress"]) > 255 || strings.Contains(values["servicename"]+values["serviceaddress"], "&") {
		return nil, errParameters
	}
	values["secsignid"] = id
	return values, nil
}

func validID(id string) bool {
	return id != "" && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789@_-.") == ""
}

func (s *Server) legacyAnswer(r *http.Request) (pairs, error) {
	values, err := form(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(r.PostForm.Get("request"), values)
	if err != nil {
		return nil, err
	}
	if values["request"] == "ReqRequestAuthSession" {
		one, err := s.begin(values["secsignid"], values["servicename"], values["serviceaddress"])
		if err != nil {
			return nil, err
		}
		answer := pairs{
			{"authsessionid", strconv.FormatInt(one.ID, 10)},
			{"requestid", one.requestID},
			{"secsignid", one.SecSignID},
			{"servicename", one.Name},
			{"serviceaddress", one.Address},
			{"authsessionstate", strconv.Itoa(int(one.State))},
		}
		if values["showaccesspass"] != "false" {
			answer = append(answer, [2]string{"authsessionicondata", accessPass()})
		}
		return answer, nil
	}
	number, _ := strconv.ParseInt(values["authsessionid"], 10, 64)
	one := s.sessions[number]
	if one == nil || one.requestID != values["requestid"] || one.SecSignID != values["secsignid"] || one.State == Cancelled {
		return nil, errSession
	}
	if values["request"] == "ReqCancelAuthSession" {
		if err := s.cancel(one); err != nil {
			return nil, err
		}
		return pairs{{"authsessionid", values["authsessionid"]}, {"authsessionstate", "6"}}, nil
	}
	s.age(one)
	return pairs{{"authsessionid", values["authsessionid"]}, {"secsignid", one.SecSignID}, {"authsessionstate", strconv.Itoa(int(one.State))}}, nil
}
