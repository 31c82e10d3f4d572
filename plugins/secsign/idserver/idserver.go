// Package idserver is a SecSign ID server for tests and demonstrations: both wires, the legacy HTTP API and the
// REST API (without FIDO and access tokens), with strict parameters, states, suspension and freezing, faults to inject, and a
// control plane in place of a phone. What the vendor does not say is marked "invented".
//
// [New] makes one; [Server.Handler] is what a client talks to, [Server.Control] a page on which one approves.
package idserver

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
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
	Retention   time.Duration // of a session that is over: later it is unknown; 0: 60 s (invented)
	// ErrorStatus is the HTTP status of errors of the legacy API; 0: 200. The vendor does not say.
	ErrorStatus int
	// CancelApproved lets a service cancel a session that is approved. The vendor does not say.
	CancelApproved bool
	// Random is where IDs, pictures and the order of pairs come from; nil: crypto/rand.
	Random io.Reader
	// Account and Password are the pin account of the REST API; CreatesIDs is a right that it may have.
	Account, Password string
	CreatesIDs        bool
	Version           [3]int // of the server; zero: 10.7.5
}

// Session is a request for approval.
type Session struct {
	ID         int64
	SecSignID  string
	Name       string
	Address    string
	Plugin     string
	Icon       string // hash of the access pass, if the app shows some
	State      State
	Begun      time.Time
	requestID  string
	picture    string
	concurrent int
	over       time.Time
	cancelled  bool // by the service: nobody can ask for it any more
}

// Call is an entry of the journal.
type Call struct {
	Time   time.Time
	Name   string // such as ReqRequestAuthSession, or "DELETE /rest/v2/AuthSession/1"
	Params map[string]string
	// Referer is the header of that name: the client's name of itself.
	Referer string
}

// Rule answers a request without a person: after a while the session gets the state, and before, if Fetched, the
// phone has it after half of the time.
type Rule struct {
	After   time.Duration
	State   State
	Fetched bool
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
	frozen   bool
	rule     *Rule
	priority string // the ID that a priority code stands for
	email    string
	seed     string // of one-time codes
	codes    []string
	used     int64
	devices  int
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
	if o.Retention == 0 {
		o.Retention = 60 * time.Second
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Version == [3]int{} {
		o.Version = [3]int{10, 7, 5}
	}
	s := &Server{options: o, ids: map[string]*identity{}, sessions: map[int64]*Session{}}
	for _, id := range ids {
		s.ids[strings.ToLower(id)] = &identity{devices: 1}
	}
	return s
}

// SetID makes an ID known, or unknown.
func (s *Server) SetID(id string, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id = strings.ToLower(id); !known {
		delete(s.ids, id)
	} else if s.ids[id] == nil {
		s.ids[id] = &identity{devices: 1}
	}
}

// SetPriority makes an ID a priority code: whoever answers its sessions is another one, as the legacy API then says.
func (s *Server) SetPriority(code, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[code].priority = id
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
	s.setState(one, state)
	return nil
}

// AnswerWithIcon approves by choosing an access pass; a wrong one denies.
func (s *Server) AnswerWithIcon(session int64, icon string) error {
	s.mu.Lock()
	right := s.sessions[session] != nil && s.sessions[session].Icon == icon && icon != ""
	s.mu.Unlock()
	if right {
		return s.Answer(session, Authenticated)
	}
	return s.Answer(session, Denied)
}

func (s *Server) setState(one *Session, state State) {
	if one.State = state; state != Pending && state != Fetched {
		one.over = s.options.Now()
	}
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
	errRights     = &failure{http.StatusForbidden, 403, 902, "the account has not the right"}
	errNoCall     = &failure{http.StatusNotFound, 404, 903, "there is no such call"}
	errFrozen     = &failure{http.StatusConflict, 500, 20006, "The SecSign ID is frozen because of concurrent login requests."}
)

// begin makes a session. One that waits already is suspended; too many at once freeze the ID.
func (s *Server) begin(id, name, address, plugin string, withIcon bool) (*Session, error) {
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
			s.setState(other, Suspended)
			concurrent = max(concurrent, other.concurrent+1)
		}
	}
	if concurrent >= s.options.FreezeAfter {
		who.frozen = true
		return nil, errFrozen
	}
	one := &Session{ID: s.newSessionID(), SecSignID: id, Name: name, Address: address, Plugin: plugin, State: Pending, Begun: s.options.Now(), requestID: s.newRequestID(), concurrent: concurrent}
	if withIcon {
		one.picture = s.accessPass()
		sum := sha256.Sum256([]byte(one.picture))
		one.Icon = hex.EncodeToString(sum[:8])
	}
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
		s.setState(one, who.rule.State)
	case passed >= s.options.Lifetime:
		s.setState(one, Expired)
	case who != nil && who.rule != nil && who.rule.Fetched && passed >= who.rule.After/2:
		one.State = Fetched
	}
}

// cancel takes a session back. After it nobody can ask for the session any more.
func (s *Server) cancel(one *Session) error {
	if s.age(one); one.State == Authenticated && !s.options.CancelApproved {
		return errSession
	}
	s.setState(one, Cancelled)
	one.cancelled = true
	return nil
}

// session finds one that a service may still ask for.
func (s *Server) session(number string) (*Session, error) {
	id, err := strconv.ParseInt(number, 10, 64)
	one := s.sessions[id]
	if err != nil || one == nil || one.cancelled {
		return nil, errSession
	}
	if s.age(one); !one.over.IsZero() && s.options.Now().Sub(one.over) >= s.options.Retention {
		return nil, errSession
	}
	return one, nil
}

func (s *Server) note(r *http.Request, name string, params map[string]string) {
	s.journal = append(s.journal, Call{s.options.Now(), name, params, r.Referer()})
}

// newSessionID is a signed 64-bit number, of either sign, and not -1.
func (s *Server) newSessionID() int64 {
	var b [8]byte
	_, _ = io.ReadFull(s.options.Random, b[:])
	if id := int64(binary.BigEndian.Uint64(b[:])); id != -1 && id != 0 {
		return id
	}
	return 1
}

func (s *Server) newRequestID() string {
	var b [32]byte
	_, _ = io.ReadFull(s.options.Random, b[:])
	return strings.ToUpper(hex.EncodeToString(b[:]))
}

// accessPass is a picture of 88 by 88, of one colour.
func (s *Server) accessPass() string {
	var c [3]byte
	_, _ = io.ReadFull(s.options.Random, c[:])
	picture := image.NewRGBA(image.Rect(0, 0, 88, 88))
	draw.Draw(picture, picture.Bounds(), image.NewUniform(color.RGBA{c[0], c[1], c[2], 255}), image.Point{}, draw.Src)
	var b bytes.Buffer
	_ = png.Encode(&b, picture)
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

const legacyPattern = "POST /{$}"

// Handler serves both wires. Two servers with it are a primary and its fallback.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(legacyPattern, s.withFaults(s.legacy))
	for pattern, call := range s.restCalls() {
		mux.HandleFunc(pattern, s.withFaults(s.account(call)))
	}
	return mux
}

// pairs is an answer of the legacy API: raw key=value, in any order.
type pairs [][2]string

func (p pairs) shuffled(random io.Reader) string {
	var seed [32]byte
	_, _ = io.ReadFull(random, seed[:])
	parts := make([]string, len(p))
	for i, n := range mathrand.New(mathrand.NewChaCha8(seed)).Perm(len(p)) {
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
	if f != nil && s.options.ErrorStatus != 0 {
		w.WriteHeader(s.options.ErrorStatus)
	}
	s.mu.Lock() // of the source of randomness
	defer s.mu.Unlock()
	_, _ = w.Write([]byte(answer.shuffled(s.options.Random)))
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
	s.note(r, r.PostForm.Get("request"), values)
	if err != nil {
		return nil, err
	}
	if values["request"] == "ReqRequestAuthSession" {
		one, err := s.begin(values["secsignid"], values["servicename"], values["serviceaddress"], values["pluginname"], values["showaccesspass"] != "false")
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
		if one.picture != "" {
			answer = append(answer, [2]string{"authsessionicondata", one.picture})
		}
		return answer, nil
	}
	one, err := s.session(values["authsessionid"])
	if err != nil || one.requestID != values["requestid"] || one.SecSignID != values["secsignid"] {
		return nil, errSession
	}
	if values["request"] == "ReqCancelAuthSession" {
		if err := s.cancel(one); err != nil {
			return nil, err
		}
		return pairs{{"authsessionid", values["authsessionid"]}, {"authsessionstate", "6"}}, nil
	}
	who := one.SecSignID
	if known := s.ids[who]; known != nil && known.priority != "" {
		who = known.priority
	}
	return pairs{{"authsessionid", values["authsessionid"]}, {"secsignid", who}, {"authsessionstate", strconv.Itoa(int(one.State))}}, nil
}
