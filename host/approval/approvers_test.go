package approval

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/outbox"
	"github.com/sallyport-ftps/sallyport/host/state"
)

// letters is a Post that keeps what is sent.
type letters struct {
	mu   sync.Mutex
	sent map[string][][]byte
	keys []string
}

func (l *letters) Ask(_ context.Context, key string, request []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[key] = append(l.sent[key], request)
	return nil
}

func (l *letters) SetApprovers(_ context.Context, keys []string) error {
	l.keys = keys
	return nil
}

func (l *letters) last(key string) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.sent[key]); n > 0 {
		return l.sent[key][n-1]
	}
	return nil
}

type desk struct {
	*Approvers
	letters *letters
	mu      sync.Mutex
	refused []events.Reason
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	store, err := state.OpenBolt(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	d := &desk{letters: &letters{sent: map[string][][]byte{}}}
	d.Approvers = NewApprovers(store, outbox.New(store, "test"), "server-1", "VP server", func(_ context.Context, e events.Payload) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.refused = append(d.refused, e.(*events.DecisionRefused).Reason)
	}, slog.New(slog.DiscardHandler))
	if err := d.Connect(t.Context(), d.letters); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *desk) enroll(t testing.TB, one Approver) nkeys.KeyPair {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	one.Key, _ = pair.PublicKey()
	if _, err := d.Enroll(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	return pair
}

// decision is a right answer to a request.
func decision(t testing.TB, pair nkeys.KeyPair, request []byte, change ...func(*events.Decision)) []byte {
	t.Helper()
	var r events.ApprovalRequest
	if err := json.Unmarshal(request, &r); err != nil {
		t.Fatal(err)
	}
	key, _ := pair.PublicKey()
	d := events.Decision{ID: r.ID, Server: r.Server, Approve: true, Digest: events.RequestDigest(request), Time: time.Now(), Key: key}
	for _, f := range change {
		f(&d)
	}
	if d.Sig == nil {
		d.Sig, _ = pair.Sign(d.SignedBytes())
	}
	body, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (d *desk) waitAsked(t *testing.T, pair nkeys.KeyPair) (key string, request []byte) {
	t.Helper()
	key, _ = pair.PublicKey()
	for range 500 {
		if request = d.letters.last(key); request != nil {
			return key, request
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nobody was asked")
	return "", nil
}

func TestDecisions(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(d *events.Decision)
		as      string // key that the message comes with: "", "other" or "stranger"
		refused events.Reason
	}{
		"approved":                 {nil, "", ""},
		"denied":                   {func(d *events.Decision) { d.Approve = false }, "", ""},
		"not signed":               {func(d *events.Decision) { d.Sig = []byte{} }, "", events.BadSignature},
		"signed by somebody else":  {func(d *events.Decision) { d.Sig = make([]byte, 64) }, "", events.BadSignature},
		"on another's subject":     {nil, "other", events.BadSignature},
		"for another request":      {func(d *events.Decision) { d.ID = "0190c1a0-0000-7000-8000-000000000000" }, "", events.TooLate},
		"of what was not sent":     {func(d *events.Decision) { d.Digest = events.RequestDigest([]byte("{}")) }, "", events.OtherRequest},
		"for another server":       {func(d *events.Decision) { d.Server = "server-2" }, "", events.OtherRequest},
		"from the future":          {func(d *events.Decision) { d.Time = time.Now().Add(time.Hour) }, "", events.TooLate},
		"enrolled for other users": {nil, "stranger", events.NotEnrolled},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			pair := d.enroll(t, Approver{Name: "bot", Accounts: []string{"alice"}})
			other := d.enroll(t, Approver{Name: "other", Groups: []string{"staff"}})
			stranger := d.enroll(t, Approver{Name: "stranger", Accounts: []string{"bob"}})
			type answer struct {
				yes bool
				err error
			}
			got := make(chan answer, 1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				yes, err := d.Ask(ctx, Asked{User: "alice", Groups: []string{"staff"}, Expires: time.Now().Add(time.Minute)}, func() {})
				got <- answer{yes, err}
			}()
			key, request := d.waitAsked(t, pair)
			d.waitAsked(t, other) // the last to be asked, or the first
			strangerKey, _ := stranger.PublicKey()
			if d.letters.last(strangerKey) != nil {
				t.Error("a stranger was asked")
			}
			signer := pair
			switch c.as {
			case "other":
				key, _ = other.PublicKey()
			case "stranger":
				key, signer = strangerKey, stranger
			}
			var changes []func(*events.Decision)
			if c.change != nil {
				changes = append(changes, c.change)
			}
			message := decision(t, signer, request, changes...)
			d.Decided(t.Context(), key, message)
			if c.refused != "" {
				if len(d.refused) != 1 || d.refused[0] != c.refused {
					t.Errorf("refused %q; want %q", d.refused, c.refused)
				}
				cancel()
				if a := <-got; a.err == nil {
					t.Errorf("it counted: %+v", a)
				}
				return
			}
			if a := <-got; a.err != nil || a.yes != (name == "approved") {
				t.Errorf("got %+v", a)
			}
			d.Decided(t.Context(), key, message)
			if len(d.refused) != 1 || d.refused[0] != events.TooLate && d.refused[0] != events.DecidedTwice {
				t.Errorf("a second time: %q", d.refused)
			}
			var last events.ApprovalRequest
			if err := json.Unmarshal(d.letters.last(key), &last); err != nil || !last.Withdrawn {
				t.Errorf("the approver is not told that it is over: %+v", last)
			}
		})
	}
}

// Of two decisions that come at once, one counts.
// A key that is stolen is revoked while it is asked: what it still says of an open request does not count.
func TestRevokedWhileAsked(t *testing.T) {
	d := newDesk(t)
	pair := d.enroll(t, Approver{Name: "bot", Accounts: []string{"alice"}})
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan bool, 1)
	go func() {
		yes, _ := d.Ask(ctx, Asked{User: "alice", Expires: time.Now().Add(time.Minute)}, func() {})
		got <- yes
	}()
	key, request := d.waitAsked(t, pair)
	if _, err := d.Revoke(t.Context(), "bot"); err != nil {
		t.Fatal(err)
	}
	d.Decided(t.Context(), key, decision(t, pair, request))
	cancel()
	if <-got || len(d.refused) != 1 || d.refused[0] != events.NotEnrolled {
		t.Errorf("refused %v; the decision of a revoked key must be refused", d.refused)
	}
}

func TestTwoDecisions(t *testing.T) {
	d := newDesk(t)
	pair := d.enroll(t, Approver{Name: "bot", Accounts: []string{"alice"}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	release := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = d.Ask(ctx, Asked{User: "alice", Expires: time.Now().Add(time.Minute)}, func() { <-release })
	}()
	key, request := d.waitAsked(t, pair)
	var deciding sync.WaitGroup
	for i := range 10 {
		deciding.Go(func() {
			d.Decided(t.Context(), key, decision(t, pair, request, func(d *events.Decision) { d.Approve = i%2 == 0 }))
		})
	}
	deciding.Wait()
	if len(d.refused) != 9 {
		t.Errorf("%d of 10 were refused", len(d.refused))
	}
	close(release)
	<-done
}

func TestEnrollAndRevoke(t *testing.T) {
	d := newDesk(t)
	pair := d.enroll(t, Approver{Name: "bot", Accounts: []string{"alice"}})
	key, _ := pair.PublicKey()
	for name, c := range map[string]struct {
		one  Approver
		want error
	}{
		"the name again": {Approver{Name: "bot", Key: otherKey(t)}, ErrEnrolled},
		"the key again":  {Approver{Name: "bot2", Key: key}, ErrEnrolled},
		"no key":         {Approver{Name: "bot3", Key: "U123"}, ErrWrongKey},
	} {
		if _, err := d.Enroll(t.Context(), c.one); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if len(d.letters.keys) != 1 {
		t.Errorf("let in: %q", d.letters.keys)
	}
	if _, err := d.Ask(t.Context(), Asked{User: "bob", Expires: time.Now().Add(time.Minute)}, func() {}); !errors.Is(err, ErrNobody) {
		t.Errorf("got %v", err)
	}
	if _, err := d.Revoke(t.Context(), "bot"); err != nil || len(d.letters.keys) != 0 {
		t.Errorf("got %v, let in: %q", err, d.letters.keys)
	}
	if _, err := d.Revoke(t.Context(), "bot"); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

func otherKey(t *testing.T) string {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	key, _ := pair.PublicKey()
	return key
}

// Whatever is published, without the key nothing counts.
func FuzzDecided(f *testing.F) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		f.Fatal(err)
	}
	key, _ := pair.PublicKey()
	request, _ := json.Marshal(events.ApprovalRequest{ID: "1", Server: "server-1"})
	f.Add(decision(f, pair, request, func(d *events.Decision) { d.Sig = []byte("x") }))
	f.Add([]byte(`{"id":"1","approve":true,"key":"` + key + `"}`))
	a := NewApprovers(nil, nil, "server-1", "x", func(context.Context, events.Payload) {}, slog.New(slog.DiscardHandler))
	q := &pending{digest: events.RequestDigest(request), keys: []string{key}, expires: time.Now().Add(time.Hour), answer: make(chan bool, 1)}
	a.open["1"] = q
	f.Fuzz(func(t *testing.T, message []byte) {
		a.Decided(t.Context(), key, message)
		if q.decided {
			t.Errorf("%s was taken", message)
		}
	})
}
