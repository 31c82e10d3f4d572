package policy_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

// keeper keeps in memory.
type keeper struct {
	mu     sync.Mutex
	kept   map[string]policy.Counted
	events []string
	fails  int
	calls  int
}

func (k *keeper) Load(context.Context) (all []policy.Counted, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, one := range k.kept {
		all = append(all, one)
	}
	return all, nil
}

func (k *keeper) Keep(_ context.Context, one policy.Counted) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.calls++; k.fails > 0 && k.calls%2 == 0 { // some go through: their events are told once
		k.fails--
		return errors.New("no room")
	}
	key := one.Kind + " " + one.Key
	if one.Change != policy.Unchanged {
		k.events = append(k.events, fmt.Sprintf("%s %d", key, one.Change))
	}
	one.Change = policy.Unchanged
	if k.kept[key] = one; one.Empty() {
		delete(k.kept, key)
	}
	return nil
}

func (k *keeper) told() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	slices.Sort(k.events)
	return strings.Join(k.events, ", ")
}

// Locks, bans, counts and familiar sources outlive a restart, also if they could not be kept at first.
func TestCountersOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{kept: map[string]policy.Counted{}, fails: 3}
		start := func() (*policy.Attempts, func()) {
			a := policy.NewAttempts(limits, time.Now)
			if err := a.Restore(t.Context(), k); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var done sync.WaitGroup
			done.Go(func() { a.Run(ctx, k, func(error) {}) })
			return a, func() { cancel(); done.Wait() }
		}
		a, stop := start()
		for i := range 3 {
			settle(t, a, try("alice", fmt.Sprintf("192.0.2.%d", i), fmt.Sprint(i)), policy.Failed)
			settle(t, a, try(fmt.Sprint("nobody", i), "198.51.100.1", "x"), policy.FailedUnknown)
		}
		settle(t, a, try("bob", "203.0.113.1", "right"), policy.Succeeded)
		settle(t, a, try("carol", "203.0.113.1", "wrong"), policy.Failed)
		a.BanSource(netip.MustParseAddr("203.0.113.9"), time.Hour)
		time.Sleep(10 * time.Second)
		if got := k.told(); got != "account alice 1, source 203.0.113.9 1" {
			t.Errorf("events %s", got)
		}
		settle(t, a, try("carol", "203.0.113.1", "wrong2"), policy.Failed) // just before the end
		stop()
		for key := range k.kept {
			if text := fmt.Sprint(key, k.kept[key]); strings.Contains(text, "nobody") {
				t.Errorf("a name that nobody knows is kept: %s", text)
			}
		}

		a, stop = start()
		defer func() { stop() }()
		wantRefused(t, a, try("alice", "192.0.2.77", "right"), events.AccountLocked)
		wantRefused(t, a, try("bob", "203.0.113.9", "right"), events.SourceBanned)
		settle(t, a, try("carol", "203.0.113.1", "wrong3"), policy.Failed)
		wantRefused(t, a, try("carol", "203.0.113.2", "right"), events.AccountLocked)
		for i := range 3 {
			settle(t, a, try("bob", "198.51.100.20", fmt.Sprint(i)), policy.Failed)
		}
		settle(t, a, try("bob", "203.0.113.1", "right"), policy.Succeeded) // from where bob always comes
		var names []string
		for _, b := range a.Bans() {
			names = append(names, b.Kind+" "+b.Name)
		}
		slices.Sort(names)
		if got := strings.Join(names, ", "); got != "account alice, account bob, account carol, source 203.0.113.9" {
			t.Errorf("bans %s", got)
		}
		if !a.LiftSource(netip.MustParseAddr("203.0.113.9")) || a.LiftSource(netip.MustParseAddr("203.0.113.9")) {
			t.Error("lifting a ban")
		}
		settle(t, a, try("dave", "203.0.113.9", "right"), policy.NotCounted)
		time.Sleep(2 * time.Second)
		if got := k.told(); !strings.Contains(got, "source 203.0.113.9 2") {
			t.Errorf("events %s", got)
		}
	})
}

// Nobody elsewhere can lock an account where its user comes from, but there, too, guesses are counted; and who logs in
// from there does not forgive the others.
func TestFamiliarSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := policy.NewAttempts(limits, time.Now)
		settle(t, a, try("alice", "192.0.2.1", "right"), policy.Succeeded)
		for i := range 2 {
			settle(t, a, try("alice", fmt.Sprintf("198.51.100.%d", i), fmt.Sprint(i)), policy.Failed)
		}
		settle(t, a, try("alice", "192.0.2.1", "right"), policy.Succeeded)
		settle(t, a, try("alice", "198.51.100.7", "last"), policy.Failed)
		wantRefused(t, a, try("alice", "198.51.100.8", "right"), events.AccountLocked)
		settle(t, a, try("alice", "192.0.2.1", "right"), policy.Succeeded)
		for i := range 3 {
			settle(t, a, try("alice", "192.0.2.1", fmt.Sprint(i)), policy.Failed)
		}
		wantRefused(t, a, try("alice", "192.0.2.1", "right"), events.AccountLocked)
		a.Clear("alice")
		settle(t, a, try("alice", "192.0.2.1", "right"), policy.Succeeded)
		settle(t, a, try("alice", "198.51.100.9", "right"), policy.Succeeded)
		// It is forgotten.
		time.Sleep(31 * 24 * time.Hour)
		for i := range 3 {
			settle(t, a, try("alice", fmt.Sprintf("198.51.100.%d", 20+i), fmt.Sprint(i)), policy.Failed)
		}
		wantRefused(t, a, try("alice", "192.0.2.1", "right"), events.AccountLocked)
	})
}

func TestLocksGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := policy.NewAttempts(limits, time.Now)
		for n, want := range []time.Duration{15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
			for i := range 3 {
				settle(t, a, try("alice", fmt.Sprintf("192.0.2.%d", 3*n+i), fmt.Sprint(n, i)), policy.Failed)
			}
			until, _ := a.Until("alice")
			if got := time.Until(until); got != want {
				t.Errorf("lock %d: %v, want %v", n, got, want)
			}
			time.Sleep(want)
		}
		settle(t, a, try("alice", "192.0.2.200", "right"), policy.Succeeded)
		for i := range 3 {
			settle(t, a, try("alice", fmt.Sprintf("198.51.100.%d", i), fmt.Sprint(i)), policy.Failed)
		}
		if until, _ := a.Until("alice"); time.Until(until) != 15*time.Minute {
			t.Errorf("after a login: %v", time.Until(until))
		}
	})
}

func TestSourceRules(t *testing.T) {
	rules := limits
	for _, text := range []string{"allow 192.0.2.1", "deny 192.0.2.0/24", "allow 2001:db8::/48", "deny ::/0"} {
		rule, err := policy.ParseSourceRule(text)
		if err != nil {
			t.Fatal(err)
		}
		rules.Sources = append(rules.Sources, rule)
	}
	a := policy.NewAttempts(rules, time.Now)
	wantRefused(t, a, try("alice", "192.0.2.2", "right"), events.SourceNotAllowed)
	wantRefused(t, a, try("alice", "::ffff:192.0.2.2", "right"), events.SourceNotAllowed)
	wantRefused(t, a, try("alice", "2001:db9::1", "right"), events.SourceNotAllowed)
	for i := range 10 { // more than a source may
		settle(t, a, try(fmt.Sprint("user", i), "192.0.2.1", "wrong"), policy.Failed)
		settle(t, a, try(fmt.Sprint("user", i), "2001:db8::1", "wrong2"), policy.Failed)
	}
	settle(t, a, try("alice", "203.0.113.1", "right"), policy.Succeeded)
	settle(t, a, try("bob", "192.0.2.1", "right"), policy.Succeeded) // allowed, and familiar as well
	for i := range 3 {
		settle(t, a, try("bob", "203.0.113.9", fmt.Sprint(i)), policy.Failed)
	}
	settle(t, a, try("bob", "192.0.2.1", "right"), policy.Succeeded)
	for _, bad := range []string{"", "allow", "permit 192.0.2.1", "deny 192.0.2.0/33", "deny here", "allow 192.0.2.1 192.0.2.2"} {
		if _, err := policy.ParseSourceRule(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// What does not count any more is kept nowhere, and a flood of names and addresses is bounded.
func TestNothingIsKeptForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{kept: map[string]policy.Counted{}}
		a := policy.NewAttempts(limits, time.Now)
		a.SetMost(1000)
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { a.Run(ctx, k, func(error) {}) })
		for i := range 5000 {
			settle(t, a, try(fmt.Sprint("junk", i), fmt.Sprintf("10.1.%d.%d", i/250, i%250), "x"), policy.FailedUnknown)
			if i == 4000 && a.Waiting() > 1000 {
				t.Errorf("%d changes wait", a.Waiting())
			}
		}
		settle(t, a, try("alice", "192.0.2.1", "right"), policy.Succeeded)
		for i := range 3 {
			settle(t, a, try("alice", "192.0.2.1", fmt.Sprint(i)), policy.Failed)
		}
		time.Sleep(10 * time.Second)
		all, err := k.Load(ctx)
		if err != nil || len(all) < 2 || len(all) > 1100 {
			t.Errorf("%d are kept, %v", len(all), err)
		}
		time.Sleep(31 * 24 * time.Hour)
		if all, _ = k.Load(ctx); len(all) != 0 || a.Size() != 0 {
			t.Errorf("%d are kept: %+v; %d in memory", len(all), all[:min(len(all), 3)], a.Size())
		}
		cancel()
		done.Wait()
	})
}
