package auth_test

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

// lenient lets wrong logins go on: what is counted here are their events.
func lenient(o *auth.Options) {
	o.Attempts = policy.NewAttempts(policy.AttemptLimits{PerAccount: 1e6, PerSource: 1e6, Window: time.Minute, Lock: time.Minute}, time.Now)
}

// tally counts what is told: single refusals by source, and those in sums.
func (r *record) tally() (single map[string]int, summed map[string]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	single, summed = map[string]int{}, map[string]int{}
	for _, e := range r.stored {
		switch d := e.(type) {
		case *events.LoginRefused:
			single[netip.MustParseAddrPort(d.Peer).Addr().String()]++
		case *events.Refusals:
			total := 0
			for _, n := range d.Reasons {
				total += n
			}
			if total != d.Count || d.From.IsZero() || d.Until.Before(d.From) {
				panic(fmt.Sprintf("%+v", d))
			}
			summed[d.Source] += d.Count
		}
	}
	return single, summed
}

func TestRefusalsAreSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{}
		a := newAuthority(r, lenient)
		flood := func(n int, source string) {
			var trying sync.WaitGroup
			for i := range n {
				trying.Go(func() {
					one := attempt(step("one", reject))
					one.Typed = fmt.Sprint("user", i)
					one.Peer = netip.MustParseAddrPort(source)
					a.Login(t.Context(), one)
				})
			}
			trying.Wait()
		}
		flood(300, "192.0.2.1:5000")
		flood(3, "192.0.2.2:5000")
		single, summed := r.tally()
		if single["192.0.2.1"] != 20 || single["192.0.2.2"] != 3 || len(summed) != 0 {
			t.Errorf("%v, %v", single, summed)
		}
		time.Sleep(2 * time.Minute)
		if single, summed = r.tally(); summed["192.0.2.1"] != 280 || len(summed) != 1 {
			t.Errorf("%v, %v", single, summed)
		}
		flood(1, "192.0.2.1:5000") // a new minute
		if single, _ = r.tally(); single["192.0.2.1"] != 21 {
			t.Errorf("%v", single)
		}
		r.mu.Lock()
		for _, e := range r.stored {
			if sum, ok := e.(*events.Refusals); ok && (len(sum.Accounts) != 10 || sum.MoreAccounts != 270 || sum.Reasons[events.WrongPassword] != 280) {
				t.Errorf("%+v", sum)
			}
		}
		r.mu.Unlock()
	})
}

// Many sources together have a bound too, and what is not told yet is told at the end.
func TestRefusalsOfManySources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{}
		a := newAuthority(r, lenient)
		var trying sync.WaitGroup
		for i := range 2000 {
			trying.Go(func() {
				one := attempt(step("one", unknown))
				one.Typed = fmt.Sprint("user", i)
				one.Peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i / 250), byte(i % 250)}), 1)
				a.Login(t.Context(), one)
			})
		}
		trying.Wait()
		a.Finish(t.Context())
		// A guess at a known account is seen whatever the others do.
		one := attempt(step("one", reject))
		one.Typed, one.Peer = "root", netip.MustParseAddrPort("198.51.100.1:1")
		a.Login(t.Context(), one)
		a.Finish(t.Context())
		single, summed := r.tally()
		total := 0
		for _, n := range summed {
			total += n
		}
		if len(single) != 601 || single["198.51.100.1"] != 1 || total != 1400 || summed[""] != 976 {
			t.Errorf("%d single, %d in %d sums, %d of the others", len(single), total, len(summed), summed[""])
		}
		a.Finish(t.Context())
		time.Sleep(2 * time.Minute)
		if _, again := r.tally(); again[""] != 976 {
			t.Errorf("told twice: %d", again[""])
		}
	})
}

// Whether an event that can't be stored refuses the login is the administrator's choice; refused is the default.
func TestUnrecorded(t *testing.T) {
	for unrecorded, want := range map[bool]events.Reason{false: events.EventNotStored, true: ""} {
		synctest.Test(t, func(t *testing.T) {
			r := &record{fail: errors.New("disk full")}
			a := newAuthority(r, func(o *auth.Options) { o.Unrecorded = unrecorded })
			if out := a.Login(t.Context(), attempt(step("one", accept))); out.Accepted != unrecorded || out.Reason != want {
				t.Errorf("%v: %+v", unrecorded, out)
			}
		})
	}
}

// An account's own second factors take the place of those of its method; one that is not there refuses.
func TestOwnSecondFactors(t *testing.T) {
	for name, c := range map[string]struct {
		own      []string
		accepted bool
		factor   string
	}{
		"those of the method":  {nil, true, "phone"},
		"another":              {[]string{"token"}, true, "token"},
		"another that says no": {[]string{"strict"}, false, "strict"},
		"gone":                 {[]string{"gone"}, false, "gone"},
		"gone, and another":    {[]string{"gone", "token"}, false, "gone"},
		"who does not know":    {[]string{"stranger"}, false, "stranger"},
		"none":                 {[]string{policy.NoFactor}, true, ""},
		"none and another":     {[]string{policy.NoFactor, "token"}, false, policy.NoFactor},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				others := map[string]auth.Step{"token": step("token", accept), "strict": step("strict", reject), "stranger": step("stranger", unknown)}
				first := step("one", says{Verdict: auth.Accepted, Grant: auth.Grant{Groups: []string{"default"}, SecondFactors: c.own}}, factor(step("phone", accept)), optional)
				first.Factor = func(id string) (auth.Step, bool) { s, ok := others[id]; return s, ok }
				out := newAuthority(&record{}).Login(t.Context(), attempt(first))
				last := out.Trace[len(out.Trace)-1]
				if out.Accepted != c.accepted || (c.factor != "" && (last.Method != c.factor || !last.Factor)) || (c.factor == "" && last.Factor) {
					t.Errorf("%+v", out)
				}
			})
		})
	}
}
