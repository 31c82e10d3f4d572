package approval

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a desk with its events, on the clock of a synctest bubble.
type fixture struct {
	*testing.T
	*Desk[string]
	mu     sync.Mutex
	events []string
	asked  int
}

func newFixture(t *testing.T, limits Limits) *fixture {
	f := &fixture{T: t}
	f.Desk = New[string](Options{Limits: limits, Log: slog.New(slog.DiscardHandler), Now: time.Now, Store: func(_ context.Context, e events.Payload) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		a := e.(*events.Approval)
		f.events = append(f.events, strings.TrimPrefix(string(a.State), "sallyport.v1.approval."))
		return nil
	}})
	return f
}

func (f *fixture) want(events string) {
	f.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := strings.Join(f.events, " "); got != events {
		f.Errorf("events %q; want %q", got, events)
	}
}

func question(change ...func(*Question)) Question {
	q := Question{
		Login: events.Login{LoginID: "l", User: "alice"}, Factor: "phone", First: "local", Source: netip.MustParseAddr("192.0.2.1"), Password: secret.New("x"),
		Remember: time.Minute, Linger: 45 * time.Second,
	}
	for _, f := range change {
		f(&q)
	}
	return q
}

// phone is a factor that asks somebody who answers after a while.
func (f *fixture) phone(after time.Duration, d Decision) Run[string] {
	return func(ctx context.Context, r Request) (string, Decision) {
		f.mu.Lock()
		f.asked++
		f.mu.Unlock()
		r.Tell(Requested)
		select {
		case <-time.After(after):
			return "answered", d
		case <-ctx.Done():
			return "given up", Failed
		}
	}
}

func (f *fixture) ask(q Question, run Run[string]) chan Answer[string] {
	return f.askFor(f.Context(), q, run)
}

func (f *fixture) askFor(ctx context.Context, q Question, run Run[string]) chan Answer[string] {
	got := make(chan Answer[string], 1)
	go func() { got <- f.Ask(ctx, q, run) }()
	synctest.Wait()
	return got
}

func TestLives(t *testing.T) {
	for name, c := range map[string]struct {
		tells    []State
		decision Decision
		events   string
		reason   events.Reason
	}{
		"approved":                      {[]State{Requested, Delivered, Approved}, Accepted, "requested delivered approved", ""},
		"approved by the verdict only":  {[]State{Requested}, Accepted, "requested approved", ""},
		"denied":                        {[]State{Requested, Denied}, Rejected, "requested denied", ""},
		"denied by the verdict only":    {[]State{Requested}, Rejected, "requested denied", ""},
		"expired":                       {[]State{Requested}, Expire, "requested expired", ""},
		"failed":                        {[]State{Requested}, Failed, "requested cancelled", ""},
		"suspended":                     {[]State{Requested, Suspended}, Rejected, "requested suspended", ""},
		"frozen at once":                {[]State{Frozen}, Rejected, "frozen", ""},
		"a code has no life":            {nil, Accepted, "", ""},
		"no approval without a request": {[]State{Approved}, Rejected, "", ""},
		"never two answers":             {[]State{Requested, Denied, Approved}, Accepted, "requested denied", events.Rejected},
		"each change once":              {[]State{Requested, Requested, Delivered, Requested}, Rejected, "requested delivered denied", ""},
		"frozen, and accepted":          {[]State{Frozen}, Accepted, "frozen", events.Rejected},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, Limits{})
				got := f.Ask(t.Context(), question(), func(_ context.Context, r Request) (string, Decision) {
					for _, s := range c.tells {
						r.Tell(s)
					}
					return "x", c.decision
				})
				if got.Reason != c.reason || got.Asked != (c.reason == "") {
					t.Errorf("got %+v", got)
				}
				f.want(c.events)
			})
		})
	}
}

func TestOnePushForParallelLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Limits{PerPerson: 1, Window: time.Hour})
		var all []chan Answer[string]
		for range 10 {
			all = append(all, f.ask(question(), f.phone(5*time.Second, Accepted)))
		}
		if list := f.List(); len(list) != 1 || list[0].Waiting != 10 || list[0].State != "requested" {
			t.Errorf("got %+v", list)
		}
		for _, got := range all {
			if a := <-got; !a.Asked || a.Value != "answered" {
				t.Errorf("got %+v", a)
			}
		}
		f.want("requested approved")
		time.Sleep(59 * time.Second)
		if a := f.Ask(t.Context(), question(), f.phone(0, Accepted)); !a.Remembered {
			t.Errorf("after 59 s: %+v", a)
		}
		time.Sleep(2 * time.Second)
		if a := f.Ask(t.Context(), question(), f.phone(0, Accepted)); a.Reason != events.TooManyApprovals {
			t.Errorf("after 61 s: %+v", a)
		}
		f.want("requested approved remembered")
	})
}

func TestWhoIsRemembered(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(*Question)
		remembered bool
	}{
		"the same":         {func(*Question) {}, true},
		"another login":    {func(q *Question) { q.Login.LoginID = "m" }, true},
		"another password": {func(q *Question) { q.Password = secret.New("y") }, false},
		"another address":  {func(q *Question) { q.Source = netip.MustParseAddr("192.0.2.2") }, false},
		"another user":     {func(q *Question) { q.Login.User = "bob" }, false},
		"another factor":   {func(q *Question) { q.Factor = "code" }, false},
		"another method":   {func(q *Question) { q.First = "ldap" }, false},
		"not any more":     {func(q *Question) { q.Remember = 0 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, Limits{})
				f.Ask(t.Context(), question(), f.phone(0, Accepted))
				if got := f.Ask(t.Context(), question(c.change), f.phone(0, Rejected)); got.Remembered != c.remembered {
					t.Errorf("got %+v", got)
				}
			})
		})
	}
}

func TestRememberedAsLongAsASessionIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Limits{})
		q := question()
		f.Ask(t.Context(), q, f.phone(0, Accepted))
		end := f.Session(q.First, q.Login.User, q.Source)
		other := f.Session(q.First, q.Login.User, netip.MustParseAddr("192.0.2.2"))
		time.Sleep(time.Hour)
		if a := f.Ask(t.Context(), q, f.phone(0, Rejected)); !a.Remembered {
			t.Errorf("with a session: %+v", a)
		}
		end()
		if a := f.Ask(t.Context(), q, f.phone(0, Rejected)); a.Remembered {
			t.Error("without one")
		}
		other()
	})
}

// A client that gives up after 20 s and comes back gets the answer of the request that it left.
func TestClientThatGivesUpAndReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Limits{})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		first := f.askFor(ctx, question(), f.phone(30*time.Second, Accepted))
		if a := <-first; a.Reason != events.ClientLeft {
			t.Errorf("got %+v", a)
		}
		time.Sleep(5 * time.Second) // FileZilla's pause
		if a := f.Ask(t.Context(), question(), f.phone(0, Rejected)); !a.Asked || a.Value != "answered" {
			t.Errorf("got %+v", a)
		}
		if f.count() != 1 {
			t.Errorf("asked %d times", f.count())
		}
		f.want("requested approved")
	})
}

// An approval that comes while nobody waits is remembered for who comes back.
func TestApprovedWhileNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Limits{})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		<-f.askFor(ctx, question(), f.phone(30*time.Second, Accepted))
		time.Sleep(15 * time.Second)
		if a := f.Ask(t.Context(), question(), f.phone(0, Rejected)); !a.Remembered {
			t.Errorf("got %+v", a)
		}
	})
}

func TestGivenUpIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Limits{})
		ctx, cancel := context.WithCancel(t.Context())
		cause := make(chan error, 1)
		got := f.askFor(ctx, question(), func(ctx context.Context, r Request) (string, Decision) {
			r.Tell(Requested)
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return "", Failed
		})
		cancel()
		<-got
		time.Sleep(44 * time.Second)
		f.want("requested")
		time.Sleep(2 * time.Second)
		if err := <-cause; !errors.Is(err, errNobodyWaits) {
			t.Errorf("got %v", err)
		}
		f.want("requested cancelled")
	})
}

// A request that is made only after nobody waits any more, is told and taken back.
func TestRequestedTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Limits{})
		var tellLate func(State)
		got := f.Ask(t.Context(), question(), func(_ context.Context, r Request) (string, Decision) {
			tellLate = r.Tell
			return "", Failed
		})
		if !got.Asked {
			t.Errorf("got %+v", got)
		}
		for _, s := range []State{Delivered, Requested, Approved, Cancelled} {
			tellLate(s)
		}
		f.want("requested cancelled")
	})
}

func TestShutdownTakesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Limits{})
		got := f.ask(question(), f.phone(time.Hour, Accepted))
		f.Close()
		if a := <-got; a.Value != "given up" {
			t.Errorf("got %+v", a)
		}
		f.want("requested cancelled")
		if a := f.Ask(t.Context(), question(), f.phone(0, Accepted)); a.Reason != events.ShuttingDown {
			t.Errorf("got %+v", a)
		}
	})
}

func TestFromElsewhere(t *testing.T) {
	elsewhere := func(q *Question) { q.Source = netip.MustParseAddr("198.51.100.1") }
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Limits{})
		first := f.ask(question(), f.phone(10*time.Second, Accepted))
		if a := f.Ask(t.Context(), question(elsewhere), f.phone(0, Accepted)); a.Reason != events.ApproverBusy {
			t.Errorf("refuse: got %+v", a)
		}
		waiting := f.ask(question(elsewhere, func(q *Question) { q.Queue = true }), f.phone(time.Second, Accepted))
		if f.count() != 1 {
			t.Errorf("two requests at once")
		}
		<-first
		if a := <-waiting; !a.Asked || f.count() != 2 {
			t.Errorf("queue: got %+v", a)
		}
		f.want("requested approved requested approved")
	})
}

func TestFatigue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Limits{PerPerson: 2, Window: 10 * time.Minute, Pause: time.Minute})
		if a := f.Ask(t.Context(), question(), f.phone(0, Rejected)); a.Value != "answered" {
			t.Errorf("got %+v", a)
		}
		if a := f.Ask(t.Context(), question(), f.phone(0, Accepted)); a.Reason != events.ApprovalsPaused {
			t.Errorf("after a denial: %+v", a)
		}
		time.Sleep(time.Minute)
		if a := f.Ask(t.Context(), question(), f.phone(0, Expire)); !a.Asked {
			t.Errorf("after the pause: %+v", a)
		}
		if a := f.Ask(t.Context(), question(), f.phone(0, Accepted)); a.Reason != events.TooManyApprovals {
			t.Errorf("the third: %+v", a)
		}
		if a := f.Ask(t.Context(), question(func(q *Question) { q.Login.User = "bob" }), f.phone(0, Accepted)); !a.Asked {
			t.Errorf("somebody else: %+v", a)
		}
		time.Sleep(10 * time.Minute)
		if a := f.Ask(t.Context(), question(), f.phone(0, Accepted)); !a.Asked {
			t.Errorf("after the window: %+v", a)
		}
	})
}

func TestRevoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Limits{})
		f.Ask(t.Context(), question(), f.phone(0, Accepted))
		list := f.List()
		if len(list) != 1 || list[0].State != "remembered" || f.Revoke(list[0].ID) != 1 || len(f.List()) != 0 {
			t.Errorf("got %+v", list)
		}
		got := f.ask(question(), f.phone(time.Hour, Accepted))
		if f.Revoke("bob") != 0 || f.Revoke("alice") != 1 {
			t.Error("by user")
		}
		if a := <-got; a.Value != "given up" {
			t.Errorf("got %+v", a)
		}
		f.want("requested approved requested cancelled")
	})
}

// Whatever comes together, each person has at most one request at a time.
func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Limits{})
		var mu sync.Mutex
		open, worst := 0, 0
		run := func(ctx context.Context, r Request) (string, Decision) {
			mu.Lock()
			open++
			worst = max(worst, open)
			mu.Unlock()
			r.Tell(Requested)
			time.Sleep(time.Second)
			mu.Lock()
			open--
			mu.Unlock()
			return "", Rejected
		}
		var all []chan Answer[string]
		for i := range 200 {
			source := netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 5)})
			all = append(all, f.ask(question(func(q *Question) { q.Source, q.Queue = source, true }), run))
		}
		for _, got := range all {
			<-got
		}
		if worst != 1 {
			t.Errorf("%d requests at once", worst)
		}
		f.want(strings.Join(slices.Repeat([]string{"requested denied"}, f.denials()), " "))
	})
}

func (f *fixture) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *fixture) denials() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e == "denied" {
			n++
		}
	}
	return n
}

// Two users may be one person elsewhere.
func TestClaim(t *testing.T) {
	user := func(name string) func(*Question) {
		return func(q *Question) { q.Login.User = name }
	}
	asOne := func(run Run[string]) Run[string] {
		return func(ctx context.Context, r Request) (string, Decision) {
			for range 2 { // again by the same request is no other
				if err := r.Claim(ctx, "one phone"); err != nil {
					return err.Error(), Rejected
				}
			}
			return run(ctx, r)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Limits{Pause: time.Minute, PerPerson: 2, Window: time.Hour})
		first := f.ask(question(user("alice")), asOne(f.phone(10*time.Second, Accepted)))
		if got := f.Ask(t.Context(), question(user("bob")), asOne(f.phone(0, Accepted))); got.Value != (&BusyError{events.ApproverBusy}).Error() {
			t.Errorf("while alice is asked: %+v", got)
		}
		waits := f.ask(question(user("bob"), func(q *Question) { q.Queue = true }), asOne(f.phone(time.Second, Rejected)))
		leaves, leave := context.WithCancel(t.Context())
		left := f.askFor(leaves, question(user("carol"), func(q *Question) { q.Queue, q.Linger = true, 0 }), asOne(f.phone(time.Second, Accepted)))
		if f.asked != 1 {
			t.Errorf("%d asked at once", f.asked)
		}
		leave()
		if got := <-left; got.Reason != events.ClientLeft {
			t.Errorf("who left: %+v", got)
		}
		if got := <-first; got.Value != "answered" {
			t.Errorf("the first: %+v", got)
		}
		if got := <-waits; got.Value != "answered" || f.asked != 2 {
			t.Errorf("who waited: %+v, %d asked", got, f.asked)
		}
		for _, why := range []events.Reason{events.ApprovalsPaused, events.TooManyApprovals} { // both were asked, and one denied
			if got := f.Ask(t.Context(), question(user("dave")), asOne(f.phone(0, Accepted))); got.Value != (&BusyError{why}).Error() {
				t.Errorf("got %+v, want %v", got, why)
			}
			time.Sleep(2 * time.Minute)
		}
	})
}
