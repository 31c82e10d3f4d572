//go:build bench

package bus_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/events/subscriber"
	"github.com/sallyport-ftps/sallyport/host/bus"
)

func row(what, format string, args ...any) {
	fmt.Printf("events  %-52s %s\n", what, fmt.Sprintf(format, args...))
}

func quiet(t testing.TB) bus.Options {
	o := options(t)
	o.Log = slog.New(slog.DiscardHandler)
	return o
}

func accepted() events.Payload {
	return &events.LoginAccepted{Login: events.Login{LoginID: "01a21c37-08a1-7711-bd59-fe2cec95f744", Service: "partners", User: "alice", Peer: "192.0.2.7:50312"}, Method: "accounts", Groups: []string{"default"}, TLS: "TLS 1.3", DurationMS: 31}
}

// storing measures Store from so many at once: how long each waits, and how many there are a second.
func storing(t *testing.T, b *bus.Bus, workers, each int) (p50, p99 time.Duration, rate float64) {
	t.Helper()
	var mu sync.Mutex
	var took []time.Duration
	var working sync.WaitGroup
	start := time.Now()
	for range workers {
		working.Go(func() {
			for range each {
				begin := time.Now()
				if err := b.Store(t.Context(), accepted()); err != nil {
					t.Error(err)
				}
				mu.Lock()
				took = append(took, time.Since(begin))
				mu.Unlock()
			}
		})
	}
	working.Wait()
	rate = float64(len(took)) / time.Since(start).Seconds()
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100], rate
}

// TestBenchStore prints what the event of a login costs, each on disk with an fsync.
func TestBenchStore(t *testing.T) {
	b := open(t, quiet(t))
	for _, workers := range []int{1, 8, 64} {
		p50, p99, rate := storing(t, b, workers, 4000/workers)
		row(fmt.Sprintf("stored with fsync, %d at once", workers), "p50 %v, p99 %v, %.0f a second", p50.Round(time.Microsecond), p99.Round(time.Microsecond), rate)
	}
}

// TestBenchSlowSubscriber prints what a subscriber that does not read costs the others: a ratio within one run.
func TestBenchSlowSubscriber(t *testing.T) {
	o := quiet(t)
	b := open(t, o)
	storing(t, b, 8, 500) // warm
	_, _, alone := storing(t, b, 8, 1500)
	release := make(chan struct{})
	defer close(release)
	key, err := nats.NkeyOptionFromSeed(o.SeedFile)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect("nats://"+b.Addr(), key, nats.SetCustomDialer(stalled{release}), nats.NoReconnect(), nats.Timeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Subscribe(events.Root+".>", func(*nats.Msg) { <-release }); err != nil {
		t.Fatal(err)
	}
	_ = conn.Flush()
	_, _, slow := storing(t, b, 8, 1500) // more than it may lag behind
	row("a second while a subscriber does not read", "%.0f, %.2f of %.0f without it", slow, slow/alone, alone)
}

// stalled dials with a small receive buffer, and reads nothing once it was told so.
type stalled struct{ release chan struct{} }

func (s stalled) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	if err == nil {
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
	}
	return &lazy{Conn: c, start: time.Now(), release: s.release}, err
}

type lazy struct {
	net.Conn
	start   time.Time
	release chan struct{}
}

func (l *lazy) Read(p []byte) (int, error) {
	if time.Since(l.start) > 500*time.Millisecond {
		<-l.release
	}
	return l.Conn.Read(p)
}

// TestBenchCatchUp prints how fast a million stored events are read: by a subscriber, by "events stats", and by another NATS.
func TestBenchCatchUp(t *testing.T) {
	const count = 1_000_000
	o := quiet(t)
	o.Size = 16 << 30 // a quarter for activity
	b := open(t, o)
	start := time.Now()
	var noting sync.WaitGroup
	for range 64 { // Store, and not Note, which would drop what is too much
		noting.Go(func() {
			for range count / 64 {
				if err := b.Store(t.Context(), session("alice")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	noting.Wait()
	row("stored without fsync (activity), 64 at once", "%.0f a second", count/time.Since(start).Seconds())

	ctx, stop := context.WithCancel(t.Context())
	start = time.Now()
	got := 0
	conn := connectAs(t, b, "subscriber", o.SeedFile)
	err := subscriber.Subscribe(ctx, conn, subscriber.Filter{Types: []string{"session"}}, func(context.Context, events.Event) error {
		if got++; got == count/10 {
			stop()
		}
		return nil
	})
	stop()
	if err != nil {
		t.Fatal(err)
	}
	row("a subscriber catches up, one at a time (of 100,000)", "%.0f a second", float64(got)/time.Since(start).Seconds())

	start = time.Now()
	got = 0
	if err := b.Follow(t.Context(), bus.FollowOptions{Since: time.Unix(0, 0)}, func(events.Event) error { got++; return nil }); err != nil {
		t.Fatal(err)
	}
	row("events stats and verify read (of a million)", "%.0f a second", float64(got)/time.Since(start).Seconds())
	b.Close()

	r := newRemote(t)
	o.Forward = r.forward()
	start = time.Now()
	b = open(t, o)
	for time.Sleep(time.Second); b.Lag(t.Context())[events.StreamActivity] > 0; time.Sleep(100 * time.Millisecond) {
		if time.Since(start) > 10*time.Minute {
			t.Fatal("it does not catch up")
		}
	}
	row("another NATS catches up (of a million)", "%.0f a second", count/time.Since(start).Seconds())
}

// TestBenchSubscribers prints what a hundred users cost in memory.
func TestBenchSubscribers(t *testing.T) {
	o := quiet(t)
	seeds := make([]string, 100)
	for i := range seeds {
		var u bus.User
		u, seeds[i] = user(t, fmt.Sprint("user", i), events.Root+".>")
		if !nkeys.IsValidPublicUserKey(u.Key) {
			t.Fatal(u.Key)
		}
		o.Users = append(o.Users, u)
	}
	before := heap()
	b := open(t, o)
	opened := heap()
	ctx, stop := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	var mu sync.Mutex
	got := 0
	for i, seed := range seeds {
		conn := connectAs(t, b, fmt.Sprint("user", i), seed)
		reading.Go(func() {
			_ = subscriber.Subscribe(ctx, conn, subscriber.Filter{User: fmt.Sprint("user", i)}, func(context.Context, events.Event) error {
				mu.Lock()
				got++
				mu.Unlock()
				return nil
			})
		})
	}
	time.Sleep(2 * time.Second)
	p50, p99, rate := storing(t, b, 8, 50)
	for range 300 {
		mu.Lock()
		all := got
		mu.Unlock()
		if all >= 100*400 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	mu.Lock()
	row("100 subscribers, both ends in this process", "heap +%d MiB (bus %d MiB), stored p50 %v, p99 %v, %.0f a second, %d of 40000 delivered", (heap()-opened)>>20, (opened-before)>>20,
		p50.Round(time.Microsecond), p99.Round(time.Microsecond), rate, got)
	mu.Unlock()
	stop()
	reading.Wait()
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}
