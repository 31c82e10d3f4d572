package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/bus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(t testing.TB) bus.Options {
	dir := t.TempDir()
	return bus.Options{
		Dir: filepath.Join(dir, "events"), SeedFile: filepath.Join(dir, "subscriber.nk"), Listen: "127.0.0.1:0",
		ServerName: "test", Retention: time.Hour, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func open(t testing.TB, o bus.Options) *bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// plain connects as a user's program does: plain nats.go and the seed file.
func plain(t testing.TB, b *bus.Bus, o bus.Options) *nats.Conn {
	t.Helper()
	key, err := nats.NkeyOptionFromSeed(o.SeedFile)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect("nats://"+b.Addr(), key, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func refused(user string) events.Payload {
	return &events.LoginRefused{Login: events.Login{LoginID: user, User: user}, Reason: events.WrongPassword}
}

func session(user string) events.Payload {
	return &events.SessionOpened{Login: events.Login{LoginID: user, User: user}}
}

func collect(t testing.TB, b *bus.Bus, since time.Time) (names []string) {
	t.Helper()
	err := b.Follow(t.Context(), bus.FollowOptions{Since: since}, func(e events.Event) error {
		switch d := e.Data.(type) {
		case *events.LoginRefused:
			names = append(names, d.User)
		case *events.SessionOpened:
			names = append(names, d.User)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestASubscriberSeesEventsAndNothingElse(t *testing.T) {
	o := options(t)
	b := open(t, o)
	conn := plain(t, b, o)
	messages := make(chan *nats.Msg, 10)
	if _, err := conn.ChanSubscribe(events.Root+".>", messages); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.Store(t.Context(), refused("alice")); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-messages:
		e, err := events.Decode(m.Header, m.Data)
		if err != nil || m.Subject != "sallyport.v1.login.refused" || e.ID != m.Header.Get("Nats-Msg-Id") || e.Source != "/sallyport/test" {
			t.Errorf("got %s %v %+v, %v", m.Subject, m.Header, e, err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}

	// Everything else is refused.
	forged := nats.NewMsg("sallyport.v1.login.accepted")
	if err := conn.PublishMsg(forged); err != nil {
		t.Fatal(err)
	}
	if err := conn.Publish("ingest.sallyport.v1.login.accepted", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Request("$JS.API.INFO", nil, time.Second); err == nil {
		t.Error("the JetStream API answered")
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := js.CreateConsumer(ctx, "audit", jetstream.ConsumerConfig{}); err == nil {
		t.Error("a consumer was made")
	}
	for _, subject := range []string{">", "ingest.>", "$JS.>", "_INBOX.>", "sallyport.>"} {
		sub, err := conn.SubscribeSync(subject)
		if err == nil {
			_ = conn.Flush()
			if _, err = sub.NextMsg(100 * time.Millisecond); errors.Is(err, nats.ErrTimeout) && sub.IsValid() && conn.LastError() == nil {
				t.Errorf("%s: subscribed", subject)
			}
		}
	}
	if got := collect(t, b, time.Now().Add(-time.Hour)); len(got) != 1 {
		t.Errorf("stored: %v", got)
	}
	select {
	case m := <-messages:
		t.Errorf("a forged event came through: %s", m.Subject)
	default:
	}
}

func TestWithoutTheSeedNobodyConnects(t *testing.T) {
	o := options(t)
	b := open(t, o)
	for name, option := range map[string]nats.Option{"nothing": nats.Name("x"), "guess": nats.UserInfo("sallyport", ""), "token": nats.Token("x")} {
		if conn, err := nats.Connect("nats://"+b.Addr(), option); err == nil {
			conn.Close()
			t.Errorf("%s: connected", name)
		}
	}
	info, err := os.Stat(o.SeedFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("seed file: %v, %v", info.Mode(), err)
	}
}

func TestStoredEventsSurviveARestart(t *testing.T) {
	o := options(t)
	b := open(t, o)
	since := time.Now()
	for i := range 10 {
		if err := b.Store(t.Context(), refused(fmt.Sprint("user", i))); err != nil {
			t.Fatal(err)
		}
		b.Note(session(fmt.Sprint("session", i)))
	}
	b.Close()
	got := collect(t, open(t, o), since)
	if len(got) != 20 || got[0] != "user0" || got[1] != "session0" || got[19] != "session9" {
		t.Errorf("got %v", got)
	}
}

func TestFollow(t *testing.T) {
	b := open(t, options(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := b.Store(ctx, refused("before")); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	ended := make(chan error, 1)
	go func() {
		ended <- b.Follow(ctx, bus.FollowOptions{Since: time.Now().Add(-time.Hour), Live: true}, func(e events.Event) error {
			got <- e.Data.(*events.LoginRefused).User
			return nil
		})
	}()
	if name := <-got; name != "before" {
		t.Errorf("got %s", name)
	}
	if err := b.Store(ctx, refused("after")); err != nil {
		t.Fatal(err)
	}
	if name := <-got; name != "after" {
		t.Errorf("got %s", name)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	stop := errors.New("enough")
	if err := b.Follow(t.Context(), bus.FollowOptions{Since: time.Now().Add(-time.Hour)}, func(events.Event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func TestStoreFailsWhenItCanNotBeStored(t *testing.T) {
	b := open(t, options(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Store(ctx, refused("alice")); err == nil {
		t.Error("a cancelled Store succeeded")
	}
	b.Close()
	if err := b.Store(t.Context(), refused("alice")); err == nil {
		t.Error("Store after Close succeeded")
	}
	b.Note(session("late")) // no panic
}

func TestBadInput(t *testing.T) {
	damaged := options(t)
	if err := os.WriteFile(damaged.SeedFile, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Open(t.Context(), damaged); err == nil || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("damaged seed: %v", err)
	}
	wrong := options(t)
	wrong.Listen = "127.0.0.1"
	if _, err := bus.Open(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("listen without a port: %v", err)
	}
}

func BenchmarkStore(b *testing.B) {
	bus := open(b, options(b))
	for b.Loop() {
		if err := bus.Store(b.Context(), refused("alice")); err != nil {
			b.Fatal(err)
		}
	}
}

// logged keeps what is logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logged) waitFor(t testing.TB, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		l.mu.Lock()
		found := strings.Contains(l.text.String(), text)
		l.mu.Unlock()
		if found {
			return
		}
	}
	t.Fatalf("the log never said %q:\n%s", text, l.text.String())
}

// The events of each stream have numbers without gaps, whoever stores how many at a time; what is not stored has none.
func TestSequence(t *testing.T) {
	o := options(t)
	b := open(t, o)
	since := time.Now().Add(-time.Second)
	var storing sync.WaitGroup
	for i := range 8 {
		storing.Go(func() {
			for range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				if i == 0 {
					cancel() // these are not stored
				}
				_ = b.Store(ctx, refused("x"))
				b.Note(session("y"))
				cancel()
			}
		})
	}
	again := events.Event{ID: "0190a2f0-0000-7000-8000-00000000000a", Time: time.Now(), Source: "/sallyport/test", Data: refused("outbox")}
	for range 20 { // one event of the outbox, again and again
		if err := b.Publish(t.Context(), again); err != nil {
			t.Fatal(err)
		}
	}
	storing.Wait()
	if err := b.Store(t.Context(), refused("last")); err != nil {
		t.Fatal(err)
	}
	known, err := b.Stored(t.Context(), since, []string{again.ID, "other"})
	if err != nil || !known[again.ID] || known["other"] {
		t.Errorf("%v, %v", known, err)
	}
	b.Close()
	b = open(t, o)
	if err := b.Store(t.Context(), refused("next boot")); err != nil {
		t.Fatal(err)
	}
	next := map[string]uint64{}
	count := 0
	err = b.Follow(t.Context(), bus.FollowOptions{Since: since}, func(e events.Event) error {
		count++
		if e.Stream != e.Data.EventType().Stream() || e.Boot == "" {
			t.Errorf("%+v", e)
		}
		key := e.Boot + e.Stream
		if next[key]++; e.Sequence != next[key] {
			t.Errorf("%s: number %d, want %d", e.Stream, e.Sequence, next[key])
			next[key] = e.Sequence
		}
		return nil
	})
	if err != nil || len(next) != 3 || count < 752 {
		t.Errorf("%d events in %v: %v", count, next, err)
	}
}

// Notes that were dropped, because too many waited, are seen to be missing.
func TestDroppedNotesLeaveAGap(t *testing.T) {
	o := options(t)
	o.Log = slog.New(slog.DiscardHandler)
	b := open(t, o)
	const count = 100_000
	for range count {
		b.Note(session("x"))
	}
	b.Close()
	b = open(t, o)
	var stored, last uint64
	boot := ""
	err := b.Follow(t.Context(), bus.FollowOptions{Since: time.Now().Add(-time.Hour)}, func(e events.Event) error {
		if boot == "" || e.Boot == boot {
			boot, last = e.Boot, e.Sequence
			stored++
		}
		return nil
	})
	if err != nil || last != count || stored >= count {
		t.Errorf("%d stored, the last number is %d: %v", stored, last, err)
	}
}

// A stored event that was damaged is passed over: who reads goes on, and sees the gap.
func TestADamagedEvent(t *testing.T) {
	o := options(t)
	o.Log = slog.New(slog.DiscardHandler)
	for name, damaged := range map[string]string{"in the middle": "user5", "the last": "user9"} {
		o.Dir = filepath.Join(t.TempDir(), "events")
		b := open(t, o)
		since := time.Now().Add(-time.Minute)
		for i := range 10 {
			if err := b.Store(t.Context(), refused(fmt.Sprint("user", i))); err != nil {
				t.Fatal(err)
			}
		}
		b.Close()
		block := filepath.Join(o.Dir, "jetstream/$G/streams/refusals/msgs/1.blk")
		raw, err := os.ReadFile(filepath.Clean(block))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(block, bytes.ReplaceAll(raw, []byte(damaged), []byte("flipp")), 0o600); err != nil {
			t.Fatal(err)
		}
		b = open(t, o)
		done := make(chan []string, 1)
		go func() { done <- collect(t, b, since) }()
		select {
		case got := <-done:
			if len(got) > 9 || slices.Contains(got, damaged) {
				t.Errorf("%s: %v", name, got)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: who reads waits for ever", name)
		}
		b.Close()
	}
}
