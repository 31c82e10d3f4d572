package bus_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/events/subscriber"
	"github.com/sallyport-ftps/sallyport/host/bus"
	"github.com/sallyport-ftps/sallyport/plugins/ldap/slapdtest"
)

// user makes a user with a key of its own.
func user(t testing.TB, name string, subjects ...string) (u bus.User, seedFile string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := pair.Seed()
	key, _ := pair.PublicKey()
	seedFile = filepath.Join(t.TempDir(), name+".nk")
	if err := os.WriteFile(seedFile, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	return bus.User{Name: name, Key: key, Subjects: subjects}, seedFile
}

func connectAs(t testing.TB, b *bus.Bus, name, seed string, options ...nats.Option) *nats.Conn {
	t.Helper()
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	conn, err := subscriber.Connect("nats://"+b.Addr(), name, seed, append(options, quiet, nats.PermissionErrOnSubscribe(true))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// listen collects what Subscribe gives, until enough came or nothing does any more.
func listen(t testing.TB, conn *nats.Conn, f subscriber.Filter, enough int) (all []events.Event) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	var mu sync.Mutex
	err := subscriber.Subscribe(ctx, conn, f, func(_ context.Context, e events.Event) error {
		mu.Lock()
		defer mu.Unlock()
		if all = append(all, e); len(all) == enough {
			time.AfterFunc(200*time.Millisecond, stop) // what is too much comes too
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSubscribe(t *testing.T) {
	o := options(t)
	siem, seed := user(t, "siem", events.Root+".login.>")
	o.Users = []bus.User{siem}
	b := open(t, o)
	for i := range 5 {
		if err := b.Store(t.Context(), refused(fmt.Sprint("user", i))); err != nil {
			t.Fatal(err)
		}
		if err := b.Store(t.Context(), &events.ServerStopped{Name: "x"}); err != nil {
			t.Fatal(err)
		}
		b.Note(session("s"))
	}
	names := func(all []events.Event) (names []string) {
		for _, e := range all {
			if d, ok := e.Data.(*events.LoginRefused); ok {
				names = append(names, d.User)
			}
		}
		return names
	}
	conn := connectAs(t, b, "siem", seed)
	only := subscriber.Filter{User: "siem", Types: []string{"login"}}
	got := listen(t, conn, only, 5)
	if len(got) != 5 || !slices.Equal(names(got), []string{"user0", "user1", "user2", "user3", "user4"}) {
		t.Fatalf("%d events, of %v", len(got), names(got))
	}
	// It goes on where it stopped, also after a restart, and with what was stored meanwhile.
	for _, name := range []string{"user5", "user6"} {
		if err := b.Store(t.Context(), refused(name)); err != nil {
			t.Fatal(err)
		}
	}
	conn.Close()
	b.Close()
	b = open(t, o)
	conn = connectAs(t, b, "siem", seed)
	if got = listen(t, conn, only, 2); !slices.Equal(names(got), []string{"user5", "user6"}) {
		t.Errorf("%v", names(got))
	}
	// Replay, from a number and from a time.
	if err := subscriber.Replay(t.Context(), conn, "siem", events.StreamRefusals, 1); err != nil {
		t.Fatal(err)
	}
	if got = listen(t, conn, only, 7); len(names(got)) != 7 {
		t.Errorf("%v", names(got))
	}
	if err := b.Replay(t.Context(), "siem", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if got = listen(t, conn, only, 7); len(names(got)) != 7 {
		t.Errorf("%v", names(got))
	}
	if err := b.Replay(t.Context(), "siem", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := b.Store(t.Context(), refused("user7")); err != nil {
		t.Fatal(err)
	}
	if got = listen(t, conn, only, 1); !slices.Equal(names(got), []string{"user7"}) {
		t.Errorf("%v", names(got))
	}
	if err := b.Replay(t.Context(), "nobody", time.Now()); err == nil || !strings.Contains(err.Error(), `"subscriber" "siem"`) {
		t.Errorf("%v", err)
	}
	// All streams, for the user that is always there.
	if got = listen(t, connectAs(t, b, "subscriber", o.SeedFile), subscriber.Filter{}, 18); len(got) != 18 {
		t.Errorf("%d", len(got))
	}
}

// What the handler does not take comes again.
func TestSubscribeAgain(t *testing.T) {
	o := options(t)
	b := open(t, o)
	if err := b.Store(t.Context(), refused("alice")); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	tries := map[string]int{}
	err := subscriber.Subscribe(ctx, connectAs(t, b, "subscriber", o.SeedFile), subscriber.Filter{Types: []string{"login.refused"}}, func(_ context.Context, e events.Event) error {
		if tries[e.ID]++; tries[e.ID] == 1 {
			return errors.New("not now")
		}
		stop()
		return nil
	})
	if err != nil || len(tries) != 1 {
		t.Errorf("%v, %v", tries, err)
	}
}

// A user reads what it was granted, and can do nothing else: each thing is tried.
func TestUsersAreApart(t *testing.T) {
	o := options(t)
	siem, siemSeed := user(t, "siem", events.Root+".login.>")
	ops, opsSeed := user(t, "ops", events.Root+".server.*", events.Root+".method.failed")
	o.Users = []bus.User{siem, ops}
	b := open(t, o)
	conn, other := connectAs(t, b, "siem", siemSeed), connectAs(t, b, "ops", opsSeed)
	for _, e := range []events.Payload{refused("alice"), &events.ServerStopped{Name: "x"}} {
		if err := b.Store(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	// Live subjects.
	for subject, may := range map[string]bool{
		events.Root + ".login.>": true, events.Root + ".login.refused": true, events.Root + ".>": false, ">": false, events.Root + ".server.stopped": false, "ingest.>": false,
		"$JS.>": false, "_INBOX.>": false, events.Inbox("ops") + ".>": false, events.Inbox("subscriber") + ".>": false, events.AskPrefix + ">": false, "$SYS.>": false,
	} {
		sub, err := conn.SubscribeSync(subject)
		if err == nil {
			err = conn.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = sub.NextMsg(150 * time.Millisecond)
		if refused := errors.Is(err, nats.ErrPermissionViolation); refused == may {
			t.Errorf("%s: %v, may %v", subject, err, may)
		}
		_ = sub.Unsubscribe()
	}
	// Requests: each is refused, so none is answered.
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(300*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	api := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: allowed", what)
		}
	}
	ctx := t.Context()
	_, err = js.AccountInfo(ctx)
	api("account info", err)
	_, err = js.Stream(ctx, events.StreamAudit)
	api("stream info", err)
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "mine", Subjects: []string{"mine"}})
	api("make a stream", err)
	_, err = js.CreateConsumer(ctx, events.StreamAudit, jetstream.ConsumerConfig{})
	api("make a consumer", err)
	_, err = js.CreateOrUpdateConsumer(ctx, events.StreamAudit, jetstream.ConsumerConfig{Durable: events.Consumer("siem"), FilterSubject: events.Root + ".>", AckPolicy: jetstream.AckExplicitPolicy})
	api("widen its consumer", err)
	_, err = js.Consumer(ctx, events.StreamAudit, events.Consumer("ops"))
	api("another's consumer", err)
	api("delete its consumer", js.DeleteConsumer(ctx, events.StreamAudit, events.Consumer("siem")))
	api("delete the stream", js.DeleteStream(ctx, events.StreamAudit))
	api("another's replay", subscriber.Replay(ctxOf(t, 300*time.Millisecond), conn, "ops", events.StreamAudit, 1))
	_, err = conn.Request("$JS.API.STREAM.MSG.GET.audit", []byte(`{"seq":1}`), 300*time.Millisecond)
	api("get a message", err)
	_, err = conn.Request("$JS.API.DIRECT.GET.audit", []byte(`{"seq":1}`), 300*time.Millisecond)
	api("get a message directly", err)
	_, err = js.Publish(ctx, "ingest."+string(events.LoginAcceptedType), []byte("{}"))
	api("publish", err)
	// A reply that goes to somebody else's inbox does not arrive there.
	there, err := other.SubscribeSync(events.Inbox("ops") + ".x")
	if err != nil {
		t.Fatal(err)
	}
	_ = other.Flush()
	_ = conn.PublishRequest("$JS.API.CONSUMER.INFO.audit."+events.Consumer("siem"), events.Inbox("ops")+".x", nil)
	_ = conn.Publish(events.Inbox("ops")+".x", []byte("forged"))
	_ = conn.Flush()
	if m, err := there.NextMsg(300 * time.Millisecond); err == nil && string(m.Data) == "forged" {
		t.Error("a forged reply arrived")
	}
	// And what it may.
	if got := listen(t, conn, subscriber.Filter{User: "siem", Types: []string{"login"}}, 1); len(got) != 1 || got[0].Data.EventType() != events.LoginRefusedType {
		t.Errorf("%v", got)
	}
	if got := listen(t, other, subscriber.Filter{User: "ops", Types: []string{"server"}}, 1); len(got) != 1 || got[0].Data.EventType() != events.ServerStoppedType {
		t.Errorf("%v", got)
	}
	// Who wants all gets what it was granted; what no event is, is refused; whose key it is not, hears that.
	if err := b.Replay(ctx, "siem", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if got := listen(t, conn, subscriber.Filter{User: "siem"}, 1); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if err := subscriber.Subscribe(ctx, conn, subscriber.Filter{User: "siem", Types: []string{"logn"}}, nil); err == nil || !strings.Contains(err.Error(), `"logn"`) {
		t.Errorf("%v", err)
	}
	if err := subscriber.Subscribe(ctxOf(t, time.Second), conn, subscriber.Filter{User: "ops"}, nil); err == nil || !strings.Contains(err.Error(), "is that the user of this key?") {
		t.Errorf("%v", err)
	}
	// Another user is let in, and one taken out, while the server runs.
	late, lateSeed := user(t, "late", events.Root+".login.>")
	if err := b.SetUsers(ctx, []bus.User{siem, late}); err != nil {
		t.Fatal(err)
	}
	if got := listen(t, connectAs(t, b, "late", lateSeed), subscriber.Filter{User: "late"}, 1); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if again, err := subscriber.Connect("nats://"+b.Addr(), "ops", opsSeed); err == nil {
		again.Close()
		t.Error("a user that was taken out is let in")
	}
}

func ctxOf(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// With a certificate nobody connects without TLS.
func TestListenerWithTLS(t *testing.T) {
	o := options(t)
	certificate, key := slapdtest.KeyPair(t, time.Now().Add(time.Hour), "127.0.0.1", "localhost")
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	o.TLS = &pair
	b := open(t, o)
	if err := b.Store(t.Context(), refused("alice")); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	conn := connectAs(t, b, "subscriber", o.SeedFile, nats.Secure(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}))
	if got := listen(t, conn, subscriber.Filter{Types: []string{"login"}}, 1); len(got) != 1 {
		t.Errorf("%v", got)
	}
	option, err := nats.NkeyOptionFromSeed(o.SeedFile)
	if err != nil {
		t.Fatal(err)
	}
	if conn, err := nats.Connect("nats://"+b.Addr(), option); err == nil { // its certificate is not trusted
		conn.Close()
		t.Error("connected without trust")
	}
	old := nats.Secure(&tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	if conn, err := nats.Connect("nats://"+b.Addr(), option, old); err == nil {
		conn.Close()
		t.Error("connected with TLS 1.1")
	}
}
