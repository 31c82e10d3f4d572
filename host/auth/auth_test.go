package auth_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// says is a method that always answers the same.
type says auth.Answer

func (s says) Authenticate(context.Context, auth.Attempt) auth.Answer { return auth.Answer(s) }

// method is a method made of a function.
type method func(context.Context, auth.Attempt) auth.Answer

func (m method) Authenticate(ctx context.Context, a auth.Attempt) auth.Answer { return m(ctx, a) }

// record keeps events in memory; fail makes Store refuse.
type record struct {
	mu     sync.Mutex
	stored []events.Payload
	noted  []events.Payload
	fail   error
}

func (r *record) Store(_ context.Context, e events.Payload) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.stored = append(r.stored, e)
	return nil
}

func (r *record) Note(e events.Payload) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noted = append(r.noted, e)
}

type homes struct{ err error }

func (h homes) Complete(g auth.Grant) (auth.Grant, error) {
	g.Home = "/home/" + g.User
	return g, h.err
}

func newAuthority(r *record, change ...func(*auth.Options)) *auth.Authority {
	o := auth.Options{
		Recorder: r,
		Attempts: policy.NewAttempts(policy.AttemptLimits{PerAccount: 3, PerSource: 50, Window: time.Minute, Lock: time.Minute}, time.Now),
		Homes:    homes{},
		Log:      slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&o)
	}
	return auth.New(o)
}

func attempt(chain ...auth.Step) auth.Attempt {
	return auth.Attempt{
		Service: "partners", Chain: auth.Fixed(chain...), Typed: "Alice", Password: secret.New("canary-4711"),
		Peer: netip.MustParseAddrPort("192.0.2.1:5000"), Timeout: time.Minute,
	}
}

func step(id string, m auth.Method, change ...func(*auth.Step)) auth.Step {
	s := auth.Step{ID: id, Method: m, Timeout: 10 * time.Second}
	for _, f := range change {
		f(&s)
	}
	return s
}

func onReject(s *auth.Step)  { s.NextOnReject = true }
func onFailure(s *auth.Step) { s.NextOnFailure = true }
func optional(s *auth.Step)  { s.FactorOptional = true }

func factor(steps ...auth.Step) func(*auth.Step) {
	return func(s *auth.Step) { s.SecondFactors = steps }
}

var (
	accept  = says{Verdict: auth.Accepted, Grant: auth.Grant{Groups: []string{"default"}}}
	reject  = says{Verdict: auth.Rejected, Reason: events.WrongPassword}
	unknown = says{Verdict: auth.Unknown}
	fail    = says{}
	panics  = method(func(context.Context, auth.Attempt) auth.Answer { panic("canary-4711") })
	hangs   = method(func(ctx context.Context, _ auth.Attempt) auth.Answer { <-ctx.Done(); return auth.Answer(accept) })
	odd     = says{Verdict: 42}
)

// The table of the design, row by row. S marks a step that the administrator stopped.
func TestChainRules(t *testing.T) {
	for name, c := range map[string]struct {
		chain  []auth.Step
		asked  string // id:verdict of each method, in order
		method string // who accepted; empty: refused
		reason events.Reason
	}{
		"accepts: no other is asked":      {[]auth.Step{step("a", accept), step("b", reject)}, "a:accepted", "a", ""},
		"rejects: no other is asked":      {[]auth.Step{step("a", reject), step("b", accept)}, "a:rejected", "", events.WrongPassword},
		"rejects, on_reject next":         {[]auth.Step{step("a", reject, onReject), step("b", accept)}, "a:rejected b:accepted", "b", ""},
		"rejects, next, nobody knows":     {[]auth.Step{step("a", reject, onReject), step("b", unknown)}, "a:rejected b:unknown", "", events.WrongPassword},
		"unknown: the next":               {[]auth.Step{step("a", unknown), step("b", accept)}, "a:unknown b:accepted", "b", ""},
		"unknown to all":                  {[]auth.Step{step("a", unknown), step("b", unknown)}, "a:unknown b:unknown", "", events.UnknownUser},
		"fails: no weaker one is asked":   {[]auth.Step{step("a", fail), step("b", accept)}, "a:failed", "", events.MethodFailed},
		"fails, on_failure next":          {[]auth.Step{step("a", fail, onFailure), step("b", accept)}, "a:failed b:accepted", "b", ""},
		"fails, next, nobody knows":       {[]auth.Step{step("a", fail, onFailure), step("b", unknown)}, "a:failed b:unknown", "", events.MethodFailed},
		"on_reject is not on_failure":     {[]auth.Step{step("a", fail, onReject), step("b", accept)}, "a:failed", "", events.MethodFailed},
		"on_failure is not on_reject":     {[]auth.Step{step("a", reject, onFailure), step("b", accept)}, "a:rejected", "", events.WrongPassword},
		"panics":                          {[]auth.Step{step("a", panics), step("b", accept)}, "a:failed", "", events.InternalError},
		"hangs, and accepts when it's up": {[]auth.Step{step("a", hangs), step("b", accept)}, "a:failed", "", events.TimedOut},
		"hangs, on_failure next":          {[]auth.Step{step("a", hangs, onFailure), step("b", accept)}, "a:failed b:accepted", "b", ""},
		"rejects for a made-up reason":    {[]auth.Step{step("a", says{Verdict: auth.Rejected, Reason: "event_not_stored"})}, "a:rejected", "", events.Rejected},
		"nonsense verdict":                {[]auth.Step{step("a", odd), step("b", accept)}, "a:failed", "", events.MethodFailed},
		"stopped: skipped":                {[]auth.Step{step("S", accept), step("b", accept)}, "S:skipped b:accepted", "b", ""},
		"all stopped":                     {[]auth.Step{step("S", accept)}, "S:skipped", "", events.NoMethod},
		"no method":                       {nil, "", "", events.NoMethod},

		"factor accepts":               {[]auth.Step{step("a", accept, factor(step("p", accept), step("q", reject)))}, "a:accepted p:accepted", "a", ""},
		"factor rejects":               {[]auth.Step{step("a", accept, factor(step("p", reject), step("q", accept)))}, "a:accepted p:rejected", "", events.WrongPassword},
		"factor rejects, on_reject":    {[]auth.Step{step("a", accept, factor(step("p", reject, onReject), step("q", accept)))}, "a:accepted p:rejected", "", events.WrongPassword},
		"factor fails":                 {[]auth.Step{step("a", accept, factor(step("p", fail), step("q", accept)))}, "a:accepted p:failed", "", events.MethodFailed},
		"factor fails, on_failure":     {[]auth.Step{step("a", accept, factor(step("p", fail, onFailure), step("q", accept)))}, "a:accepted p:failed q:accepted", "a", ""},
		"factor unknown: the next":     {[]auth.Step{step("a", accept, factor(step("p", unknown), step("q", accept)))}, "a:accepted p:unknown q:accepted", "a", ""},
		"factor unknown to all":        {[]auth.Step{step("a", accept, factor(step("p", unknown)))}, "a:accepted p:unknown", "", events.FactorMissing},
		"factor stopped":               {[]auth.Step{step("a", accept, factor(step("S", accept)))}, "a:accepted S:skipped", "", events.FactorMissing},
		"factor not required":          {[]auth.Step{step("a", accept, optional, factor(step("p", unknown)))}, "a:accepted p:unknown", "a", ""},
		"not required, but it failed":  {[]auth.Step{step("a", accept, optional, factor(step("p", fail, onFailure), step("q", unknown)))}, "a:accepted p:failed q:unknown", "", events.FactorMissing},
		"not required, but it rejects": {[]auth.Step{step("a", accept, optional, factor(step("p", reject)))}, "a:accepted p:rejected", "", events.WrongPassword},
		"factor refused: no other first factor": {
			[]auth.Step{step("a", accept, factor(step("p", unknown))), step("b", accept)}, "a:accepted p:unknown", "", events.FactorMissing,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &record{}
				authority := newAuthority(r)
				authority.SetStopped("S", true)
				out := authority.Login(t.Context(), attempt(c.chain...))
				var asked []string
				for _, tr := range out.Trace {
					asked = append(asked, tr.Method+":"+tr.Verdict)
				}
				if got := strings.Join(asked, " "); got != c.asked {
					t.Errorf("asked %q, want %q", got, c.asked)
				}
				if out.Accepted != (c.method != "") || out.Reason != c.reason || (out.Accepted && out.Grant.Method != c.method) {
					t.Errorf("got %+v, want method %q, reason %q", out, c.method, c.reason)
				}
				if len(r.noted) != len(out.Trace) || len(r.stored) != 1 {
					t.Errorf("%d method events and %d login events", len(r.noted), len(r.stored))
				}
			})
		})
	}
}

func TestTheNameIsMadeCanonicalOnce(t *testing.T) {
	r := &record{}
	var seen auth.Attempt
	m := method(func(_ context.Context, a auth.Attempt) auth.Answer { seen = a; return auth.Answer(accept) })
	out := newAuthority(r).Login(t.Context(), attempt(step("a", m)))
	if seen.User != "alice" || seen.Typed != "Alice" || out.Grant.User != "alice" || out.Grant.Home != "/home/alice" || out.Grant.LoginID == "" {
		t.Errorf("method saw %+v, grant %+v", seen, out.Grant)
	}
}

func TestRefusedBeforeAnyMethodIsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*auth.Attempt)
		want   events.Reason
	}{
		"empty password": {func(a *auth.Attempt) { a.Password = secret.New("") }, events.EmptyPassword},
		"long password":  {func(a *auth.Attempt) { a.Password = secret.New(strings.Repeat("x", 1025)) }, events.InputTooLong},
		"long name":      {func(a *auth.Attempt) { a.Typed = strings.Repeat("x", 129) }, events.InputTooLong},
		"no name":        {func(a *auth.Attempt) { a.Typed = "" }, events.BadName},
		"bad name":       {func(a *auth.Attempt) { a.Typed = "two words" }, events.BadName},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &record{}
				a := attempt(step("a", panics))
				c.change(&a)
				out := newAuthority(r).Login(t.Context(), a)
				if out.Accepted || out.Reason != c.want || len(out.Trace) != 0 || len(r.stored) != 1 {
					t.Errorf("got %+v, %d events", out, len(r.stored))
				}
			})
		})
	}
}

// No 230 without its event on disk, whatever keeps it from there.
func TestAcceptedOnlyWithItsEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{fail: errors.New("disk full")}
		out := newAuthority(r).Login(t.Context(), attempt(step("a", accept)))
		if out.Accepted || out.Reason != events.EventNotStored {
			t.Errorf("got %+v", out)
		}
	})
}

func TestAcceptedOnlyWithAHome(t *testing.T) {
	for name, change := range map[string]func(*auth.Options, *auth.Attempt){
		"no home": func(o *auth.Options, _ *auth.Attempt) { o.Homes = homes{errors.New("none")} },
		"not opened": func(_ *auth.Options, a *auth.Attempt) {
			a.Prepare = func(auth.Grant) error { return errors.New("permission denied") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &record{}
				a := attempt(step("a", accept))
				out := newAuthority(r, func(o *auth.Options) { change(o, &a) }).Login(t.Context(), a)
				if out.Accepted || out.Reason != events.HomeUnavailable || r.stored[0].EventType() != events.LoginRefusedType {
					t.Errorf("got %+v, %v", out, r.stored)
				}
			})
		})
	}
}

// Refusals come on whole seconds, whatever the reason and however long it took.
func TestRefusalsComeOnTheGrid(t *testing.T) {
	takes := func(d time.Duration, answer says) auth.Method {
		return method(func(ctx context.Context, _ auth.Attempt) auth.Answer {
			select {
			case <-time.After(d):
			case <-ctx.Done():
			}
			return auth.Answer(answer)
		})
	}
	for name, m := range map[string]auth.Method{
		"at once": unknown, "after a hash": takes(37*time.Millisecond, reject), "late": takes(1999*time.Millisecond, reject), "exact": takes(time.Second, unknown),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				newAuthority(&record{}).Login(t.Context(), attempt(step("a", m)))
				if took := time.Since(start); took%time.Second != 0 || took == 0 {
					t.Errorf("answered after %v", took)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // a trial and an acceptance are not delayed
		start := time.Now()
		trial := attempt(step("a", reject))
		trial.Trial = true
		newAuthority(&record{}).Login(t.Context(), trial)
		newAuthority(&record{}).Login(t.Context(), attempt(step("a", accept)))
		if time.Since(start) != 0 {
			t.Errorf("took %v", time.Since(start))
		}
	})
}

func TestLockOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{}
		authority := newAuthority(r)
		guess := func(i int, m auth.Method) auth.Outcome {
			a := attempt(step("a", m))
			a.Password = secret.New(fmt.Sprint("guess", i))
			return authority.Login(t.Context(), a)
		}
		guess(0, fail) // an outage does not count
		for i := range 3 {
			if out := guess(i, reject); out.Reason != events.WrongPassword {
				t.Fatalf("guess %d: %+v", i, out)
			}
		}
		if out := guess(9, accept); out.Accepted || out.Reason != events.AccountLocked {
			t.Errorf("locked: got %+v", out)
		}
		if e := r.stored[len(r.stored)-1].(*events.LoginRefused); e.User != "alice" {
			t.Errorf("the lock of a known user is without a name: %+v", e)
		}
		trial := attempt(step("a", accept))
		trial.Trial = true
		if out := authority.Login(t.Context(), trial); out.Reason != events.AccountLocked || !strings.Contains(out.Detail, "until") {
			t.Errorf("trial: got %+v", out)
		}
		time.Sleep(time.Minute)
		if out := guess(9, accept); !out.Accepted {
			t.Errorf("after the lock: got %+v", out)
		}
	})
}

// A rejection counts although a method after it failed.
func TestAFailureDoesNotHideARejection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authority := newAuthority(&record{})
		for i := range 4 {
			a := attempt(step("a", reject, onReject), step("b", fail))
			a.Password = secret.New(fmt.Sprint("guess", i))
			out := authority.Login(t.Context(), a)
			if locked := out.Reason == events.AccountLocked; locked != (i == 3) {
				t.Errorf("guess %d: %+v", i, out)
			}
		}
	})
}

// A panic while the session is prepared takes no place in the budgets for good.
func TestAPanicGivesItsPlaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authority := newAuthority(&record{})
		for i := range 10 {
			a := attempt(step("a", accept))
			a.Password = secret.New(fmt.Sprint(i))
			a.Prepare = func(auth.Grant) error { panic("in the driver") }
			func() {
				defer func() { _ = recover() }()
				authority.Login(t.Context(), a)
			}()
		}
		if out := authority.Login(t.Context(), attempt(step("a", accept))); !out.Accepted {
			t.Errorf("got %+v", out)
		}
	})
}

func TestNonsenseBansItsSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authority := newAuthority(&record{})
		for i := range 50 {
			a := attempt(step("a", accept))
			a.Typed, a.Password = "two words", secret.New(fmt.Sprint(i))
			authority.Login(t.Context(), a)
		}
		if out := authority.Login(t.Context(), attempt(step("a", accept))); out.Reason != events.SourceBanned {
			t.Errorf("got %+v", out)
		}
	})
}

// Equal attempts at the same time are asked once; each has its own event and its own grant.
func TestEqualAttemptsShareOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{}
		authority := newAuthority(r)
		var asked atomic.Int32
		slow := method(func(ctx context.Context, _ auth.Attempt) auth.Answer {
			asked.Add(1)
			select {
			case <-time.After(time.Second):
				return auth.Answer(accept)
			case <-ctx.Done():
				return auth.Answer{}
			}
		})
		var wg sync.WaitGroup
		ids := make(chan string, 20)
		leaving, leave := context.WithCancel(t.Context())
		wg.Go(func() { // the first, which is asked for, leaves; the others stay
			if out := authority.Login(leaving, attempt(step("a", slow))); out.Reason != events.ClientLeft {
				t.Errorf("who left: %+v", out)
			}
		})
		synctest.Wait()
		for range 10 {
			wg.Go(func() {
				if out := authority.Login(t.Context(), attempt(step("a", slow))); out.Accepted {
					ids <- out.Grant.LoginID
				}
			})
		}
		synctest.Wait()
		leave()
		wg.Wait()
		close(ids)
		distinct := map[string]bool{}
		for id := range ids {
			distinct[id] = true
		}
		if asked.Load() != 1 || len(distinct) != 10 || len(r.stored) != 11 || len(r.noted) != 1 {
			t.Errorf("asked %d times, %d logins, %d and %d events", asked.Load(), len(distinct), len(r.stored), len(r.noted))
		}
	})
}

func TestTrialsAreNotCounted(t *testing.T) {
	authority := newAuthority(&record{})
	for i := range 10 {
		trial := attempt(step("a", reject))
		trial.Trial, trial.Peer, trial.Password = true, netip.AddrPort{}, secret.New(fmt.Sprint(i))
		if out := authority.Login(t.Context(), trial); out.Reason != events.WrongPassword {
			t.Fatalf("trial %d: %+v", i, out)
		}
	}
}

func TestHangingUpCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authority := newAuthority(&record{})
		for i := range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			a := attempt(step("a", hangs))
			a.Password = secret.New(fmt.Sprint(i))
			if out := authority.Login(ctx, a); out.Reason != events.ClientLeft {
				t.Fatalf("got %+v", out)
			}
		}
		if out := authority.Login(t.Context(), attempt(step("a", accept))); out.Reason != events.AccountLocked {
			t.Errorf("got %+v", out)
		}
	})
}

func TestTheWholeLoginHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := attempt(step("a", hangs, onFailure), step("b", accept))
		a.Timeout = 5 * time.Second // less than the method's own
		if out := newAuthority(&record{}).Login(t.Context(), a); out.Accepted || out.Reason != events.TimedOut {
			t.Errorf("got %+v", out)
		}
	})
}

func TestNamesOfUnknownUsersStayOut(t *testing.T) {
	for _, named := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := &record{}
			authority := newAuthority(r, func(o *auth.Options) { o.NameUnknown = named })
			authority.Login(t.Context(), attempt(step("a", unknown)))
			for _, e := range append(slices.Clone(r.stored), r.noted...) {
				if text := fmt.Sprintf("%+v", e); strings.Contains(text, "alice") != named {
					t.Errorf("named %v: %s", named, text)
				}
			}
		})
	}
}

func TestClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authority := newAuthority(&record{})
		authority.Close()
		if out := authority.Login(t.Context(), attempt(step("a", accept))); out.Accepted || out.Reason != events.ShuttingDown {
			t.Errorf("got %+v", out)
		}
	})
}

func TestNoPasswordInOutcomesEventsOrLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		r := &record{}
		authority := newAuthority(r, func(o *auth.Options) {
			o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			o.NameUnknown = true
		})
		var all strings.Builder
		for _, m := range []auth.Method{accept, reject, unknown, fail, panics, odd, hangs} {
			a := attempt(step("a", m))
			fmt.Fprintf(&all, "%+v %#v\n", authority.Login(t.Context(), a), a)
		}
		for _, e := range append(r.stored, r.noted...) {
			fmt.Fprintf(&all, "%+v\n", e)
		}
		if strings.Contains(all.String()+log.String(), "canary") {
			t.Error("the password got out")
		}
	})
}
