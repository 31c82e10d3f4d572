package sandbox_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/plugins/secsign/idserver"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// sharedClock is one time for the plugin and the ID server, on which sleeping costs none.
type sharedClock struct {
	mu    sync.Mutex
	now   time.Time
	after time.Duration // of sleeping, until the attempt is given up; 0: never
	end   func()
}

func (c *sharedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *sharedClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	if c.after -= d; c.end != nil && c.after <= 0 {
		c.end()
	}
	return context.Cause(ctx)
}

// phone is a login whose second factor is the bundled SecSign method.
type phone struct {
	*testing.T
	runtime  *sandbox.Runtime
	plugin   *sandbox.Plugin
	clock    *sharedClock
	server   *idserver.Server
	web      *httptest.Server
	settings map[string]any
	fields   map[string]string
	fallback string
	timeout  time.Duration // of a call; 0: the usual one
	strange  bool          // the ID server's certificate is not trusted
	claims   []string
	states   []string
	log      syncBuffer
}

func newPhone(t *testing.T, r *sandbox.Runtime, p *sandbox.Plugin) *phone {
	f := &phone{T: t, runtime: r, plugin: p, clock: &sharedClock{now: time.Now()}}
	f.server = idserver.New(idserver.Options{Now: f.clock.Now, Account: "ftp", Password: "pin-4711"}, "alice-at-example", "bob@example.com", "carol")
	f.web = httptest.NewTLSServer(f.server.Handler())
	f.web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(f.web.Close)
	f.fields = map[string]string{"user": "alice", "server": "VP server"}
	f.settings = map[string]any{"server": f.web.URL, "service_name": "Partner FTP", "users": map[string]any{"alice": "Alice-at-Example "}}
	return f
}

func (f *phone) run() (sandbox.Result, error) {
	f.Helper()
	pool := x509.NewCertPool()
	if !f.strange {
		pool.AddCert(f.web.Certificate())
	}
	within := limits()
	if f.timeout > 0 {
		within.HTTP = f.timeout
	}
	var to []endpoint.Endpoint
	for _, url := range []string{f.web.URL, f.fallback} {
		if url != "" {
			e, err := endpoint.Parse(url, endpoint.HTTP())
			if err != nil {
				f.Fatal(err)
			}
			to = append(to, e)
		}
	}
	reach := f.runtime.NewReach(sandbox.Grants{HTTP: to, CA: pool, Secrets: map[string]sandbox.Secret{"pin": {Value: secret.New("pin-4711"), To: to}}}, within)
	defer reach.Close()
	ctx, cancel := context.WithCancelCause(f.Context())
	defer cancel(nil)
	f.clock.end = func() {}
	if f.clock.after > 0 {
		f.clock.end = func() { cancel(errors.New("the client left")) }
	}
	result, err := f.plugin.Run(ctx, sandbox.Call{
		Fields: f.fields, Settings: f.settings, Reach: reach, Clock: f.clock, Log: slog.New(slog.NewTextHandler(&f.log, nil)),
		Claim: func(_ context.Context, person string) error {
			f.claims = append(f.claims, person)
			return nil
		},
		Approval: func(a sandbox.Approval) { f.states = append(f.states, a.State) },
	})
	f.runtime.Wait()
	return result, err
}

func (f *phone) want(verdict sdk.Verdict, reason, states string) {
	f.Helper()
	got, err := f.run()
	if got.Verdict != verdict || (err != nil) != (verdict == sdk.Fail) || got.Fields["reason"] != reason {
		f.Errorf("got %v %q, %v; want %v %q\n%s", got.Verdict, got.Fields["reason"], err, verdict, reason, f.log.String())
	}
	if all := strings.Join(f.states, " "); all != states {
		f.Errorf("states %q; want %q", all, states)
	}
}

const (
	asks    = "ReqRequestAuthSession"
	polls   = "ReqGetAuthSessionState"
	cancels = "ReqCancelAuthSession"
)

func TestSecSign(t *testing.T) {
	wasm, err := buildGuest(t.TempDir(), "../../plugins/secsign")
	if err != nil {
		t.Fatal(err)
	}
	r := newRuntime(t)
	p := loadOn(t, r, wasm, patient)
	for _, api := range []string{"legacy", "rest"} {
		t.Run(api, func(t *testing.T) { secSign(t, r, p, api) })
	}
	t.Run("IDs", func(t *testing.T) { secSignIDs(t, r, p) })
	t.Run("faults", func(t *testing.T) { secSignFaults(t, r, p) })
}

// secSign is what both wires do.
func secSign(t *testing.T, r *sandbox.Runtime, p *sandbox.Plugin, api string) {
	ask, poll, cancel := asks, polls, cancels
	newPhone := func(t *testing.T) *phone {
		f := newPhone(t, r, p)
		f.settings["api"], f.settings["account"] = api, "ftp"
		return f
	}
	count := func(f *phone, call string) (n int) {
		if api == "legacy" {
			return f.server.Count(call)
		}
		for _, c := range f.server.Journal() {
			switch {
			case call == cancels && strings.HasPrefix(c.Name, "DELETE "), call == asks && c.Name == "GET /rest/v2/AuthSession", call == polls && strings.HasPrefix(c.Name, "GET /rest/v2/AuthSession/"):
				n++
			}
		}
		return n
	}
	for name, c := range map[string]struct {
		rule    idserver.Rule
		verdict sdk.Verdict
		reason  string
		states  string
		polls   int
		cancels int
	}{
		"approved":       {idserver.Rule{After: 7 * time.Second, State: idserver.Authenticated}, sdk.Accept, "", "requested approved", 3, 0},
		"denied":         {idserver.Rule{After: 4 * time.Second, State: idserver.Denied}, sdk.Reject, "approval_denied", "requested denied", 2, 1},
		"expired":        {idserver.Rule{After: 30 * time.Second, State: idserver.Expired}, sdk.Reject, "approval_expired", "requested expired", 10, 1},
		"suspended":      {idserver.Rule{After: 1 * time.Second, State: idserver.Suspended}, sdk.Reject, "approval_suspended", "requested suspended", 1, 1},
		"cancelled":      {idserver.Rule{After: 1 * time.Second, State: idserver.Cancelled}, sdk.Reject, "rejected", "requested", 1, 0},
		"invalid":        {idserver.Rule{After: 1 * time.Second, State: idserver.Invalid}, sdk.Fail, "", "requested", 1, 1},
		"nobody answers": {idserver.Rule{After: time.Hour}, sdk.Reject, "approval_expired", "requested expired", 37, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newPhone(t)
			f.server.SetRule("alice-at-example", &c.rule)
			f.want(c.verdict, c.reason, c.states)
			if count(f, ask) != 1 || count(f, poll) != c.polls || count(f, cancel) != c.cancels {
				t.Errorf("%d requests, %d polls, %d cancels; want 1, %d, %d", count(f, ask), count(f, poll), count(f, cancel), c.polls, c.cancels)
			}
			if open := f.server.Open(); len(open) != 0 {
				t.Errorf("left open: %+v", open)
			}
		})
	}
	t.Run("fetched first", func(t *testing.T) {
		f := newPhone(t)
		f.server.SetRule("alice-at-example", &idserver.Rule{After: 4 * time.Second, State: idserver.Fetched})
		f.clock.after = 20 * time.Second
		if got, err := f.run(); err == nil || got.Verdict != sdk.Fail {
			t.Errorf("got %v, %v", got.Verdict, err)
		}
		if got := strings.Join(f.states, " "); got != "requested delivered" {
			t.Errorf("states %q", got)
		}
	})
	t.Run("the client leaves", func(t *testing.T) {
		f := newPhone(t)
		f.clock.after = 10 * time.Second
		if got, err := f.run(); err == nil || got.Verdict != sdk.Fail {
			t.Errorf("got %v, %v", got.Verdict, err)
		}
		if count(f, cancel) != 1 || len(f.server.Open()) != 0 {
			t.Errorf("%d cancels, open: %+v", count(f, cancel), f.server.Open())
		}
	})
	t.Run("frozen", func(t *testing.T) {
		f := newPhone(t)
		f.server.SetFrozen("alice-at-example", true)
		f.want(sdk.Reject, "approval_frozen", "frozen")
		if !strings.Contains(f.log.String(), "is frozen") {
			t.Error("the administrator is not told")
		}
	})
	t.Run("unknown ID", func(t *testing.T) {
		f := newPhone(t)
		f.settings["users"] = map[string]any{"alice": "nobody"}
		f.want(sdk.Fail, "", "")
		if !strings.Contains(f.log.String(), "does not know this SecSign ID") {
			t.Error("the administrator is not told")
		}
	})
}

func secSignIDs(t *testing.T, r *sandbox.Runtime, p *sandbox.Plugin) {
	for name, c := range map[string]struct {
		user, attribute, pattern, id string // no ID: not known here
	}{
		"of the list, whatever the first factor says": {"alice", "carol", "{username}@example.com", "alice-at-example"},
		"of the first factor":                         {"dave", "Carol", "{username}@example.com", "carol"},
		"by pattern":                                  {"bob", "", "{username}@example.com", "bob@example.com"},
		"none":                                        {"bob", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newPhone(t, r, p)
			f.fields["user"] = c.user
			if c.attribute != "" {
				f.fields["first.attribute.secsign_id"] = c.attribute
			}
			f.settings["pattern"] = c.pattern
			if c.id == "" {
				f.want(sdk.Unknown, "", "")
				return
			}
			f.server.SetRule(c.id, &idserver.Rule{State: idserver.Authenticated})
			f.want(sdk.Accept, "", "requested approved")
			request := f.server.Journal()[0].Params
			if request["secsignid"] != c.id || request["servicename"] != "Partner FTP" || request["serviceaddress"] != "VP server" || request["showaccesspass"] != "false" {
				t.Errorf("got %q", request)
			}
		})
	}
	for name, change := range map[string]func(f *phone){
		"an ID that is none":  func(f *phone) { f.settings["users"] = map[string]any{"alice": "a&b=c"} },
		"an & in the name":    func(f *phone) { f.settings["service_name"] = "A&B" },
		"another API":         func(f *phone) { f.settings["api"] = "soap" },
		"REST, no account":    func(f *phone) { f.settings["api"] = "rest" },
		"polls without pause": func(f *phone) { f.settings["poll"] = "0s" },
	} {
		t.Run(name, func(t *testing.T) {
			f := newPhone(t, r, p)
			change(f)
			f.want(sdk.Fail, "", "")
			if n := len(f.server.Journal()); n != 0 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// secSignFaults answers a poll with nonsense while the person approves: it must not let anybody in.
func secSignFaults(t *testing.T, r *sandbox.Runtime, p *sandbox.Plugin) {
	approved := &idserver.Rule{State: idserver.Authenticated}
	for _, call := range []string{asks, polls} {
		for _, name := range slices.Sorted(maps.Keys(idserver.Faults())) {
			if call == asks && (strings.Contains(name, "state") || strings.Contains(name, "other session")) {
				continue // a request's answer is not looked at for them
			}
			t.Run(call+" "+name, func(t *testing.T) {
				f := newPhone(t, r, p)
				f.server.SetRule("alice-at-example", approved)
				f.server.Inject(idserver.Fault{Only: call, Change: idserver.Faults()[name]})
				got, err := f.run()
				if got.Verdict == sdk.Accept || err == nil {
					t.Errorf("got %v, %v", got.Verdict, err)
				}
				if slices.Contains(f.states, "approved") {
					t.Errorf("states %q", f.states)
				}
			})
		}
	}
	for _, call := range []string{"GET /rest/v2/AuthSession", "GET /rest/v2/AuthSession/{id}"} {
		for _, name := range slices.Sorted(maps.Keys(idserver.RESTFaults())) {
			t.Run(call+" "+name, func(t *testing.T) {
				f := newPhone(t, r, p)
				f.settings["api"], f.settings["account"] = "rest", "ftp"
				f.server.SetRule("alice-at-example", approved)
				f.server.Inject(idserver.Fault{Only: call, Change: idserver.RESTFaults()[name]})
				got, err := f.run()
				if got.Verdict == sdk.Accept || err == nil && !(got.Verdict == sdk.Reject && name == "409") {
					t.Errorf("got %v, %v", got.Verdict, err)
				}
				if slices.Contains(f.states, "approved") {
					t.Errorf("states %q", f.states)
				}
			})
		}
	}
	for name, change := range map[string]func(f *phone){
		"refused connect": func(f *phone) {
			f.settings["server"] = "https://" + closedAddress(f.T)
			f.fallback = f.settings["server"].(string)
		},
		"another name in the certificate": func(f *phone) {
			f.fallback = strings.Replace(f.web.URL, "127.0.0.1", "localhost", 1)
			f.settings["server"] = f.fallback
		},
		"untrusted certificate": func(f *phone) { f.strange = true },
		"hang": func(f *phone) {
			f.timeout = 300 * time.Millisecond
			f.server.Inject(slices.Repeat([]idserver.Fault{{Change: idserver.Hang}}, 3)...)
		},
	} {
		for _, api := range []string{"legacy", "rest"} {
			t.Run(name+" "+api, func(t *testing.T) {
				f := newPhone(t, r, p)
				f.settings["api"], f.settings["account"] = api, "ftp"
				f.server.SetRule("alice-at-example", approved)
				change(f)
				f.want(sdk.Fail, "", "")
			})
		}
	}
	t.Run("polls hang", func(t *testing.T) {
		f := newPhone(t, r, p)
		f.timeout = 300 * time.Millisecond
		f.server.SetRule("alice-at-example", &idserver.Rule{After: time.Hour})
		f.server.Inject(slices.Repeat([]idserver.Fault{{Only: polls, Change: idserver.Hang}}, 3)...)
		f.want(sdk.Fail, "", "requested")
		if n := f.server.Count(cancels); n != 1 || len(f.server.Open()) != 0 {
			t.Errorf("%d cancels, open: %v", n, f.server.Open())
		}
	})
	t.Run("priority code", func(t *testing.T) {
		f := newPhone(t, r, p)
		f.server.SetRule("alice-at-example", approved)
		f.server.SetPriority("alice-at-example", "carol")
		f.want(sdk.Fail, "", "requested")
	})
	t.Run("whom it asks is claimed first", func(t *testing.T) {
		f := newPhone(t, r, p)
		f.server.SetRule("alice-at-example", approved)
		f.want(sdk.Accept, "", "requested approved")
		if want := f.web.URL + " alice-at-example"; len(f.claims) != 1 || f.claims[0] != want {
			t.Errorf("claims %q, want %q", f.claims, want)
		}
	})
	for name, change := range idserver.Transient() {
		for api, calls := range map[string][2]string{"legacy": {asks, polls}, "rest": {"GET /rest/v2/AuthSession", "GET /rest/v2/AuthSession/{id}"}} {
			for _, call := range calls {
				t.Run("transient "+name+" "+call, func(t *testing.T) {
					f := newPhone(t, r, p)
					f.settings["api"], f.settings["account"] = api, "ftp"
					f.server.SetRule("alice-at-example", approved)
					f.server.Inject(slices.Repeat([]idserver.Fault{{Only: call, Change: change}}, 20)...) // net/http asks again by itself when a GET is cut
					if got, err := f.run(); got.Verdict == sdk.Accept || err == nil || slices.Contains(f.states, "approved") {
						t.Errorf("got %v, %v, states %q", got.Verdict, err, f.states)
					}
				})
			}
		}
		t.Run("transient "+name, func(t *testing.T) {
			f := newPhone(t, r, p)
			f.server.SetRule("alice-at-example", approved)
			f.server.Inject(idserver.Fault{Only: polls, Change: change}, idserver.Fault{Only: polls, Change: change})
			f.want(sdk.Accept, "", "requested approved")
			f = newPhone(t, r, p)
			f.server.SetRule("alice-at-example", approved)
			f.server.Inject(slices.Repeat([]idserver.Fault{{Only: polls, Change: change}}, 3)...)
			f.want(sdk.Fail, "", "requested")
			if f.server.Count(cancels) != 0 { // it was approved: there is nothing to cancel any more
				t.Logf("%d cancels", f.server.Count(cancels))
			}
		})
	}
	t.Run("fallback", func(t *testing.T) {
		f := newPhone(t, r, p)
		f.server.SetRule("alice-at-example", approved)
		f.fallback, f.settings["fallback"] = f.web.URL, f.web.URL
		f.settings["server"] = "https://" + closedAddress(t)
		f.want(sdk.Fail, "", "") // it is not granted, and so not asked: that is no fault of the way
	})
	t.Run("fallback, granted", func(t *testing.T) {
		f := newPhone(t, r, p)
		f.server.SetRule("alice-at-example", approved)
		f.fallback = "https://" + closedAddress(t)
		f.settings["server"], f.settings["fallback"] = f.fallback, f.web.URL
		f.want(sdk.Accept, "", "requested approved")
	})
	t.Run("the fallback is not asked twice", func(t *testing.T) {
		f := newPhone(t, r, p)
		f.server.Inject(idserver.Fault{Only: asks, Change: func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			_, _ = w.Write([]byte("error=500&errorcode=1"))
		}})
		f.fallback, f.settings["fallback"] = f.web.URL, f.web.URL
		f.want(sdk.Fail, "", "")
		if f.server.Count(asks) != 1 {
			t.Errorf("%d requests", f.server.Count(asks))
		}
	})
	t.Run("no secret in the log", func(t *testing.T) {
		f := newPhone(t, r, p)
		f.server.SetRule("alice-at-example", &idserver.Rule{State: idserver.Denied})
		f.want(sdk.Reject, "approval_denied", "requested denied")
		for _, s := range f.server.Journal() {
			if id := s.Params["requestid"]; id != "" && bytes.Contains([]byte(f.log.String()), []byte(id)) {
				t.Errorf("the request ID is in the log")
			}
		}
	})
}
