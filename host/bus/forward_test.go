package bus_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/bus"
)

// remote is a NATS of its own, in a process of its own.
type remote struct {
	t                  testing.TB
	binary, dir, addr  string
	process            *exec.Cmd
	user, password, id string
}

func newRemote(t testing.TB) *remote {
	t.Helper()
	r := &remote{t: t, binary: filepath.Join(t.TempDir(), "nats-server"), dir: t.TempDir(), user: "copier", password: "its secret", id: "0190a2f0-0000-7000-8000-000000000001"}
	if out, err := exec.Command("go", "build", "-o", r.binary, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	_ = l.Close()
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *remote) start() {
	r.t.Helper()
	host, port, _ := net.SplitHostPort(r.addr)
	r.process = exec.Command(r.binary, "-js", "-sd", r.dir, "-a", host, "-p", port, "--user", r.user, "--pass", r.password)
	if err := r.process.Start(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *remote) kill() {
	if r.process != nil {
		_ = r.process.Process.Kill()
		_ = r.process.Wait()
		r.process = nil
	}
}

func (r *remote) forward() *bus.Forward {
	return &bus.Forward{URL: "nats://" + r.addr, Option: nats.UserInfo(r.user, r.password), ID: r.id}
}

// received lists the users of the events that came, in order.
func (r *remote) received(t testing.TB, stream string) (names []string, ids map[string]int) {
	t.Helper()
	conn, err := nats.Connect("nats://"+r.addr, nats.UserInfo(r.user, r.password), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ids = map[string]int{}
	s, err := js.Stream(ctx, bus.ForwardStream)
	if err != nil {
		return nil, ids
	}
	consumer, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{bus.ForwardPrefix + r.id + "." + stream + ".>"}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := consumer.Next(jetstream.FetchMaxWait(300 * time.Millisecond))
		if err != nil {
			return names, ids
		}
		e, err := events.Decode(m.Headers(), m.Data())
		if err != nil {
			t.Fatal(err)
		}
		ids[e.ID]++
		if d, ok := e.Data.(*events.LoginRefused); ok {
			names = append(names, d.User)
		}
		if want := bus.ForwardPrefix + r.id + "." + stream + "." + strings.TrimPrefix(string(e.Data.EventType()), events.Root+"."); m.Subject() != want {
			t.Errorf("subject %s, want %s", m.Subject(), want)
		}
	}
}

// caughtUp waits until the other side has so many events, and checks that they are in order, none twice.
func (r *remote) caughtUp(t testing.TB, want int) {
	t.Helper()
	var names []string
	var ids map[string]int
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if names, ids = r.received(t, events.StreamRefusals); len(names) >= want {
			break
		}
	}
	if len(names) != want {
		t.Fatalf("%d of %d events came", len(names), want)
	}
	for i, name := range names {
		if name != fmt.Sprint("user", i) {
			t.Fatalf("event %d is of %s", i, name)
		}
	}
	for id, n := range ids {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

// The copy is whole, in order and without doubles, whoever is killed and restarted meanwhile.
func TestForward(t *testing.T) {
	r := newRemote(t)
	o := options(t)
	o.Forward = r.forward()
	b := open(t, o)
	n := 0
	store := func(count int) {
		t.Helper()
		for range count {
			if err := b.Store(t.Context(), refused(fmt.Sprint("user", n))); err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	store(3)
	r.caughtUp(t, n)
	r.kill()
	store(1200) // more than a batch, while nobody is there
	r.start()
	r.caughtUp(t, n)
	if lag := b.Lag(t.Context())[events.StreamRefusals]; lag != 0 {
		t.Errorf("the lag is %d", lag)
	}
	for range 3 { // in the middle of it
		go func() { time.Sleep(30 * time.Millisecond); r.kill(); r.start() }()
		store(400)
		time.Sleep(100 * time.Millisecond)
	}
	r.caughtUp(t, n)
	b.Close()
	b = open(t, o) // another run of ours, which knows nothing of the last one
	store(10)
	r.caughtUp(t, n)
	b.Close()
	o.Forward = nil
	b = open(t, o)
	store(700) // while nothing is forwarded
	b.Close()
	o.Forward = r.forward()
	b = open(t, o)
	r.caughtUp(t, n)
}

// What is wrong on the other side is said, and mended when it is right.
func TestForwardRefused(t *testing.T) {
	r := newRemote(t)
	conn, err := nats.Connect("nats://"+r.addr, nats.UserInfo(r.user, r.password), nats.RetryOnFailedConnect(true), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	own := jetstream.StreamConfig{Name: bus.ForwardStream, Subjects: []string{bus.ForwardPrefix + ">"}}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err = js.CreateStream(t.Context(), own); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	o := options(t)
	o.Forward = r.forward()
	log := &logged{}
	o.Log = log.logger()
	b := open(t, o)
	if err := b.Store(t.Context(), refused("user0")); err != nil {
		t.Fatal(err)
	}
	log.waitFor(t, "must have allow_atomic")
	own.AllowAtomicPublish = true
	if _, err := js.UpdateStream(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	r.caughtUp(t, 1)
}

// After a restore the local stream begins anew: all that the other side does not know is sent, and nothing twice.
func TestForwardAfterRestore(t *testing.T) {
	r := newRemote(t)
	o := options(t)
	o.Forward = r.forward()
	b := open(t, o)
	for i := range 30 {
		if err := b.Store(t.Context(), refused(fmt.Sprint("user", i))); err != nil {
			t.Fatal(err)
		}
	}
	r.caughtUp(t, 30)
	b.Close()
	if err := os.RemoveAll(o.Dir); err != nil {
		t.Fatal(err)
	}
	b = open(t, o)
	for i := range 20 { // fewer than before: no number is new
		if err := b.Store(t.Context(), refused(fmt.Sprint("user", 30+i))); err != nil {
			t.Fatal(err)
		}
	}
	r.caughtUp(t, 50)
	b.Close()
	b = open(t, o) // and from there it goes on as usual
	if err := b.Store(t.Context(), refused("user50")); err != nil {
		t.Fatal(err)
	}
	r.caughtUp(t, 51)
}

// Who is away for long is told of, once, and again when it is back.
func TestForwardIsTold(t *testing.T) {
	r := newRemote(t)
	o := options(t)
	o.Forward = r.forward()
	o.Forward.Patience = 100 * time.Millisecond
	r.kill()
	b := open(t, o)
	told := func() (degraded, restored int) {
		err := b.Follow(t.Context(), bus.FollowOptions{Since: time.Now().Add(-time.Hour)}, func(e events.Event) error {
			switch d := e.Data.(type) {
			case *events.ServerDegraded:
				if d.Reason == events.ForwardFailed && !d.Since.IsZero() {
					degraded++
				}
			case *events.ServerRestored:
				if d.Reason == events.ForwardFailed {
					restored++
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return degraded, restored
	}
	wait := func(degraded, restored int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
			d, r := told()
			if d == degraded && r == restored {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("degraded %d times, restored %d times", d, r)
			}
		}
	}
	wait(1, 0)
	if err := o.Forward.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "no servers available") {
		t.Errorf("%v", err)
	}
	r.start()
	wait(1, 1)
	if err := o.Forward.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

// The log says why it does not work, not only that no answer came.
func TestForwardReasons(t *testing.T) {
	r := newRemote(t)
	for name, c := range map[string]struct {
		change func(*bus.Forward)
		want   string
	}{
		"wrong password": {func(f *bus.Forward) { f.Option = nats.UserInfo("copier", "wrong") }, "Authorization Violation"},
		"nobody there":   {func(f *bus.Forward) { f.URL = "nats://" + deadAddr(t) }, "connection refused"},
		"no such host":   {func(f *bus.Forward) { f.URL = "nats://nowhere.invalid:4222" }, "no such host"},
		"no TLS there":   {func(f *bus.Forward) { f.URL = "tls://" + r.addr }, "secure connection"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.Forward = r.forward()
			c.change(o.Forward)
			log := &logged{}
			o.Log = log.logger()
			open(t, o)
			log.waitFor(t, c.want)
		})
	}
}

func deadAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
