package account

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

func newTestHasher(t testing.TB, workers int) *Hasher {
	t.Helper()
	h := NewHasher(workers)
	return h
}

func print(i int) (p [32]byte) {
	copy(p[:], fmt.Sprintf("%032d", i))
	return p
}

func TestHashesVerify(t *testing.T) {
	h := newTestHasher(t, 1)
	for name, encoded := range map[string]string{
		"bcrypt":  "$2b$12$LJ3m4ys3Lzf0UK6yb8sV4uYpxvDqNOBUjbTJPOJUUYe5XD8lBfM4S",
		"garbage": "hello", "empty": "", "plain": "$plaintext$x",
	} {
		if ok, err := h.Match(t.Context(), netip.Addr{}, "", encoded, secret.New("x")); ok {
			t.Errorf("%s: matched, %v", name, err)
		}
	}
	encoded, err := h.Hash(t.Context(), policy.Hashing{}, secret.New("right"))
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{"right": true, "wrong": false, "": false} {
		if got, err := h.Match(t.Context(), netip.Addr{}, "", encoded, secret.New(password)); err != nil || got != want {
			t.Errorf("%q: got %v, %v", password, got, err)
		}
	}
}

// No more than the workers run at once, and one busy source does not hold up another.
func TestSourcesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHasher(t, 2)
		busy, quiet := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		var mu sync.Mutex
		var order []string
		var running, most atomic.Int32
		check := func(name string) func() (bool, error) {
			return func() (bool, error) {
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(time.Second)
				running.Add(-1)
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
				return true, nil
			}
		}
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() { _, _ = h.wait(t.Context(), busy, print(i), check("busy")) })
		}
		synctest.Wait()
		wg.Go(func() { _, _ = h.wait(t.Context(), quiet, print(100), check("quiet")) })
		wg.Wait()
		if at := slices.Index(order, "quiet"); at > 5 {
			t.Errorf("the quiet source waited for %d of the busy one", at)
		}
		if most.Load() != 2 {
			t.Errorf("%d ran at once, want 2", most.Load())
		}
	})
}

func TestEqualChecksShareOneHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHasher(t, 2)
		var runs atomic.Int32
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				ok, err := h.wait(t.Context(), netip.Addr{}, print(1), func() (bool, error) {
					runs.Add(1)
					time.Sleep(time.Second)
					return true, nil
				})
				if !ok || err != nil {
					t.Errorf("got %v, %v", ok, err)
				}
			})
		}
		wg.Wait()
		if runs.Load() != 1 {
			t.Errorf("%d runs, want 1", runs.Load())
		}
	})
}

func TestWhoeverLeavesIsNotComputedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHasher(t, 1)
		go func() { _, _ = h.wait(t.Context(), netip.Addr{}, print(1), slow) }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		var ran atomic.Bool
		left := make(chan error, 1)
		go func() {
			_, err := h.wait(ctx, netip.Addr{}, print(2), func() (bool, error) { ran.Store(true); return true, nil })
			left <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Minute)
		h.mu.Lock()
		defer h.mu.Unlock()
		if ran.Load() || len(h.shared) != 0 || h.waiting != 0 || h.running != 0 {
			t.Errorf("ran %v, left behind: %d shared, %d waiting, %d running", ran.Load(), len(h.shared), h.waiting, h.running)
		}
	})
}

func TestTheQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHasher(t, 1)
		var overloaded atomic.Int32
		var wg sync.WaitGroup
		for i := range maxWaitingSource + 11 { // one runs
			wg.Go(func() {
				if _, err := h.wait(t.Context(), netip.Addr{}, print(i), slow); errors.Is(err, ErrOverloaded) {
					overloaded.Add(1)
				}
			})
		}
		wg.Wait()
		if overloaded.Load() == 0 || overloaded.Load() > 11 {
			t.Errorf("%d refused, want 10 or 11", overloaded.Load())
		}
	})
}

// Many sources that fill the queue do not keep an honest one out.
func TestAFloodFromManySourcesLoses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHasher(t, 1)
		var wg sync.WaitGroup
		for i := range 2 * maxWaiting {
			source := netip.AddrFrom4([4]byte{10, 0, byte(i % 60), 1})
			wg.Go(func() { _, _ = h.wait(t.Context(), source, print(i), slow) })
		}
		synctest.Wait()
		start := time.Now()
		if _, err := h.wait(t.Context(), netip.MustParseAddr("192.0.2.1"), print(-1), slow); err != nil {
			t.Errorf("the honest one: %v", err)
		}
		if took := time.Since(start); took > 70*time.Second { // a turn of each source, a second each
			t.Errorf("it waited for %v", took)
		}
		wg.Wait()
		if h.waiting != 0 || len(h.queues) != 0 || len(h.shared) != 0 || len(h.turns) != 0 {
			t.Errorf("left behind: %d waiting, %d queues, %d shared, %d turns", h.waiting, len(h.queues), len(h.shared), len(h.turns))
		}
	})
}

func slow() (bool, error) {
	time.Sleep(time.Second)
	return true, nil
}

func BenchmarkMatch(b *testing.B) {
	h := newTestHasher(b, 1)
	encoded, err := h.Hash(b.Context(), policy.Hashing{}, secret.New("right"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if ok, err := h.Match(b.Context(), netip.Addr{}, "", encoded, secret.New("right")); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
