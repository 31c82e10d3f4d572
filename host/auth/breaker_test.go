package auth_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

// crashing crashes until it is mended, and counts how often it is asked.
type crashing struct {
	mended bool
	asked  int
}

func (c *crashing) Authenticate(context.Context, auth.Attempt) auth.Answer {
	c.asked++
	if c.mended {
		return auth.Answer(accept)
	}
	return auth.Answer{Reason: events.MethodFailed, Crashed: true}
}

// tryFrom logs in from an address, each time with another name: nothing is shared, and no budget is full.
func tryFrom(t *testing.T, a *auth.Authority, m auth.Method, address string, n int) auth.Outcome {
	t.Helper()
	at := attempt(step("one", m))
	at.Typed = fmt.Sprintf("user%d", n)
	at.Peer = netip.AddrPortFrom(netip.MustParseAddr(address), 5000)
	return a.Login(t.Context(), at)
}

func generous(o *auth.Options) {
	o.Attempts = policy.NewAttempts(policy.AttemptLimits{PerAccount: 1000, PerSource: 1000, Window: time.Minute, Lock: time.Minute}, time.Now)
}

// A method that crashes for one source is not asked by that one for a while, and by all others as before:
// else whoever finds an input that crashes it locks everybody out.
func TestOneSourceCantBreakAMethodForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := &record{}, &crashing{}
		a := newAuthority(r, generous)
		for i := range 10 {
			tryFrom(t, a, m, "192.0.2.1", i)
		}
		if m.asked != 5 {
			t.Errorf("asked %d times", m.asked)
		}
		if out := tryFrom(t, a, m, "192.0.2.1", 99); out.Reason != events.MethodBroken {
			t.Errorf("got %v", out.Reason)
		}
		m.mended = true
		if out := tryFrom(t, a, m, "192.0.2.2", 1); !out.Accepted {
			t.Errorf("another source: got %v", out.Reason)
		}
		if broken := a.Failing("one"); broken {
			t.Error("it is called failing for all")
		}
		d := one[*events.ServerDegraded](t, r)
		if d.Method != "one" || d.Source != "192.0.2.1" || d.Reason != events.MethodBroken || !d.Until.After(time.Now()) {
			t.Errorf("got %+v", d)
		}
	})
}

// It is tried again later, by one at a time; if it crashes still, it is left alone for longer.
func TestACrashedMethodIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := &record{}, &crashing{}
		a := newAuthority(r, generous)
		for i := range 5 {
			tryFrom(t, a, m, "192.0.2.1", i)
		}
		time.Sleep(11 * time.Second)
		tryFrom(t, a, m, "192.0.2.1", 5) // the one that is let through
		tryFrom(t, a, m, "192.0.2.1", 6)
		if m.asked != 6 {
			t.Errorf("asked %d times", m.asked)
		}
		time.Sleep(11 * time.Second)
		tryFrom(t, a, m, "192.0.2.1", 7) // twice as long now
		if m.asked != 6 {
			t.Errorf("asked %d times after a second crash", m.asked)
		}
		time.Sleep(11 * time.Second)
		m.mended = true
		if out := tryFrom(t, a, m, "192.0.2.1", 8); !out.Accepted {
			t.Errorf("got %v", out.Reason)
		}
		if out := tryFrom(t, a, m, "192.0.2.1", 9); !out.Accepted {
			t.Errorf("got %v", out.Reason)
		}
		if restored := one[*events.ServerRestored](t, r); restored.Method != "one" || restored.Source != "192.0.2.1" {
			t.Errorf("got %+v", restored)
		}
	})
}

// What crashes for several sources, and for nobody not, is called failing. Still a new source may try.
func TestAMethodThatCrashesForAllIsCalledFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := &record{}, &crashing{}
		a := newAuthority(r, generous)
		for i, address := range []string{"192.0.2.1", "2001:db8::1", "2001:db8::2"} { // the last two count as one
			tryFrom(t, a, m, address, i)
		}
		if a.Failing("one") {
			t.Error("it is called failing after two sources")
		}
		tryFrom(t, a, m, "192.0.2.3", 3)
		if !a.Failing("one") {
			t.Error("it is not called failing")
		}
		if d := one[*events.ServerDegraded](t, r); d.Method != "one" || d.Source != "" {
			t.Errorf("got %+v", d)
		}
		m.mended = true
		if out := tryFrom(t, a, m, "198.51.100.1", 4); !out.Accepted || a.Failing("one") {
			t.Errorf("got %v, failing %v", out.Reason, a.Failing("one"))
		}
		if restored := one[*events.ServerRestored](t, r); restored.Method != "one" || restored.Source != "" {
			t.Errorf("got %+v", restored)
		}
	})
}

// Another plugin in a method's place begins anew.
func TestForgivenCrashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &crashing{}
		a := newAuthority(&record{}, generous)
		for i := range 6 {
			tryFrom(t, a, m, "192.0.2.1", i)
		}
		a.Forgive("one")
		m.mended = true
		if out := tryFrom(t, a, m, "192.0.2.1", 7); !out.Accepted {
			t.Errorf("got %v", out.Reason)
		}
	})
}

// A backend that is down is no crash: it is asked each time.
func TestAFailureIsNoCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		m := method(func(context.Context, auth.Attempt) auth.Answer { asked++; return auth.Answer{} })
		a := newAuthority(&record{}, generous)
		for i := range 20 {
			tryFrom(t, a, m, "192.0.2.1", i)
		}
		if asked != 20 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// one returns the event of a type that was stored last.
func one[T events.Payload](t *testing.T, r *record) T {
	t.Helper()
	var found T
	ok := false
	for _, e := range r.stored {
		if match, is := e.(T); is {
			found, ok = match, true
		}
	}
	if !ok {
		t.Fatalf("no %T", found)
	}
	return found
}
