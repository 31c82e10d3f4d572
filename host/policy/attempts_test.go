package policy_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

var limits = policy.AttemptLimits{PerAccount: 3, PerSource: 5, Window: 10 * time.Minute, Lock: 15 * time.Minute}

func try(account, source, password string) policy.Try {
	return policy.Try{Account: account, Source: netip.MustParseAddr(source), Password: secret.New(password)}
}

func settle(t *testing.T, a *policy.Attempts, tr policy.Try, o policy.Outcome) {
	t.Helper()
	r, err := a.Reserve(t.Context(), tr)
	if err != nil {
		t.Fatalf("reserve: %v", err)
	}
	r.Settle(o)
}

func wantRefused(t *testing.T, a *policy.Attempts, tr policy.Try, reason events.Reason) {
	t.Helper()
	var refused *policy.Refused
	if _, err := a.Reserve(t.Context(), tr); !errors.As(err, &refused) || refused.Reason != reason {
		t.Errorf("got %v, want %s", err, reason)
	}
}

func TestAccountIsLockedAndUnlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := policy.NewAttempts(limits, time.Now)
		for i := range 3 {
			settle(t, a, try("alice", fmt.Sprintf("192.0.2.%d", i), fmt.Sprint(i)), policy.Failed)
		}
		wantRefused(t, a, try("alice", "192.0.2.9", "right"), events.AccountLocked)
		if _, locked := a.Until("alice"); !locked {
			t.Error("Until does not see the lock")
		}
		settle(t, a, try("bob", "192.0.2.9", "right"), policy.Succeeded) // nobody else is
		time.Sleep(limits.Lock)
		settle(t, a, try("alice", "192.0.2.9", "right"), policy.Succeeded)
	})
}

// Who goes on to guess at a locked account is banned in the end; others from elsewhere are not.
func TestGuessesAtALockedAccountCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := policy.NewAttempts(limits, time.Now)
		for i := range limits.PerAccount {
			settle(t, a, try("alice", "192.0.2.1", fmt.Sprint(i)), policy.Failed)
		}
		for i := range limits.PerSource - limits.PerAccount {
			wantRefused(t, a, try("alice", "192.0.2.1", fmt.Sprint("more", i)), events.AccountLocked)
		}
		wantRefused(t, a, try("alice", "192.0.2.1", "again"), events.SourceBanned)
		wantRefused(t, a, try("alice", "192.0.2.2", "again"), events.AccountLocked)
		settle(t, a, try("bob", "192.0.2.2", "right"), policy.Succeeded)
	})
}

func TestSourceIsBanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := policy.NewAttempts(limits, time.Now)
		for i := range 5 { // one host owns a whole /64
			settle(t, a, try(fmt.Sprint("user", i), fmt.Sprintf("2001:db8::%x", i+1), "x"), policy.FailedUnknown)
		}
		wantRefused(t, a, try("alice", "2001:db8::ffff", "right"), events.SourceBanned)
		settle(t, a, try("alice", "2001:db8:0:1::1", "right"), policy.Succeeded)
	})
}

func TestOldFailuresDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := policy.NewAttempts(limits, time.Now)
		for i := range 10 {
			settle(t, a, try("alice", "192.0.2.1", fmt.Sprint(i)), policy.Failed)
			time.Sleep(limits.Window/2 + time.Second)
		}
	})
}

func TestOnlyAWholeLoginClears(t *testing.T) {
	a := policy.NewAttempts(limits, time.Now)
	settle(t, a, try("alice", "192.0.2.1", "1"), policy.Failed)
	settle(t, a, try("alice", "192.0.2.1", "2"), policy.Failed)
	settle(t, a, try("alice", "192.0.2.1", "3"), policy.NotCounted) // an outage bans nobody, and forgives nothing
	settle(t, a, try("alice", "192.0.2.1", "4"), policy.Succeeded)
	settle(t, a, try("alice", "192.0.2.1", "5"), policy.Failed)
	settle(t, a, try("alice", "192.0.2.1", "6"), policy.Failed)
	settle(t, a, try("alice", "192.0.2.1", "7"), policy.Failed)
	wantRefused(t, a, try("alice", "192.0.2.1", "8"), events.AccountLocked)
}

// Many guesses at the same moment: no more may be checked than the limit allows.
func TestParallelGuessesWaitAndCanNotExceedTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := policy.NewAttempts(limits, time.Now)
		var mu sync.Mutex
		checked, refused := 0, 0
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				r, err := a.Reserve(t.Context(), try("alice", fmt.Sprintf("192.0.2.%d", i), fmt.Sprint("guess", i)))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					refused++
					return
				}
				checked++
				go func() {
					time.Sleep(time.Second) // the hash
					r.Settle(policy.Failed)
				}()
			})
		}
		wg.Wait()
		if checked != limits.PerAccount || refused != 100-limits.PerAccount {
			t.Errorf("%d checked and %d refused, want %d and %d", checked, refused, limits.PerAccount, 100-limits.PerAccount)
		}
	})
}

// Ten connections of one honest client are one try, right or wrong.
func TestEqualTriesShareOnePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := policy.NewAttempts(limits, time.Now)
		var held []*policy.Reservation
		for range 10 {
			r, err := a.Reserve(t.Context(), try("alice", "192.0.2.1", "stale password"))
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, r)
		}
		for _, r := range held {
			r.Settle(policy.Failed)
		}
		settle(t, a, try("alice", "192.0.2.1", "right"), policy.Succeeded)
	})
}

// Overlapping equal tries are counted all the same, once for each wave.
func TestOverlappingEqualTriesAreCounted(t *testing.T) {
	a := policy.NewAttempts(limits, time.Now)
	reserve := func() *policy.Reservation {
		t.Helper()
		r, err := a.Reserve(t.Context(), try("alice", "192.0.2.1", "wrong"))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for range limits.PerAccount - 1 {
		first, second := reserve(), reserve()
		first.Settle(policy.Failed)
		if third := reserve(); third == second { // comes while the second is still under way
			t.Error("it joined what is settled already")
		} else {
			third.Settle(policy.NotCounted)
		}
		second.Settle(policy.Failed)
	}
	reserve().Settle(policy.Failed)
	wantRefused(t, a, try("alice", "192.0.2.1", "wrong"), events.AccountLocked)
}

// Whoever has one account can't guess at others for ever by logging in in between.
func TestAnOwnLoginForgivesOnlyItsOwn(t *testing.T) {
	a := policy.NewAttempts(limits, time.Now)
	for i := range limits.PerSource - 1 {
		settle(t, a, try(fmt.Sprint("user", i), "192.0.2.1", "spray"), policy.Failed)
	}
	settle(t, a, try("mallory", "192.0.2.1", "right"), policy.Succeeded)
	settle(t, a, try("userX", "192.0.2.1", "spray"), policy.Failed)
	wantRefused(t, a, try("mallory", "192.0.2.1", "right"), events.SourceBanned)
}

// What is no name counts for its source.
func TestNoNameCountsForTheSource(t *testing.T) {
	a := policy.NewAttempts(limits, time.Now)
	for i := range limits.PerSource {
		settle(t, a, try("", "192.0.2.1", fmt.Sprint(i)), policy.FailedUnknown)
	}
	wantRefused(t, a, try("alice", "192.0.2.1", "right"), events.SourceBanned)
	settle(t, a, try("", "192.0.2.2", "x"), policy.FailedUnknown)
}

func TestClear(t *testing.T) {
	a := policy.NewAttempts(limits, time.Now)
	for i := range limits.PerAccount {
		settle(t, a, try("alice", "192.0.2.1", fmt.Sprint(i)), policy.Failed)
	}
	a.Clear("alice")
	settle(t, a, try("alice", "192.0.2.1", "right"), policy.Succeeded)
}

func TestWaitingEndsWithTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := policy.NewAttempts(limits, time.Now)
		for i := range limits.PerAccount {
			if _, err := a.Reserve(t.Context(), try("alice", "192.0.2.1", fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Reserve(ctx, try("alice", "192.0.2.1", "one more")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
	})
}

// Junk names neither grow the table without bound nor push a lock out.
func TestJunkNamesAreBounded(t *testing.T) {
	a := policy.NewAttempts(limits, time.Now)
	a.SetMost(1000)
	for i := range limits.PerAccount {
		settle(t, a, try("alice", "192.0.2.1", fmt.Sprint(i)), policy.Failed)
	}
	for i := range 10_000 {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		settle(t, a, policy.Try{Account: fmt.Sprint("junk", i), Source: addr}, policy.FailedUnknown)
	}
	wantRefused(t, a, try("alice", "192.0.2.200", "x"), events.AccountLocked)
	if n := a.Size(); n > 2000 {
		t.Errorf("%d counters", n)
	}
}
