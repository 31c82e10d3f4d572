// Package bus stores events and hands them to subscribers: a NATS server with JetStream in
// this process, its streams on disk, and a listener for programs that read.
//
// [Bus.Store] returns when an event is on disk, [Bus.Note] does not wait, [Bus.Follow] reads
// what is stored and then what comes. engine.go has the server, health.go what happens when it can't write.
package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/sallyport-ftps/sallyport/events"
)

// Options are what a Bus needs.
type Options struct {
	Dir        string           // of the stored events; made if it is not there
	SeedFile   string           // the seed of the user "subscriber"; made if it is not there, mode 0600
	Listen     string           // address for subscribers; empty: none
	TLS        *tls.Certificate // nil: none, which is for loopback only
	Users      []User           // beside "subscriber"
	Forward    *Forward         // nil: events stay here
	ServerName string           // the source of the events
	Retention  time.Duration    // how long events are kept
	Size       int64            // bytes of the audit stream; 0: 1 GiB. The others have a quarter each
	Log        *slog.Logger
}

// User is who may read events.
type User struct {
	Name     string   // a word
	Key      string   // public nkey, U...
	Subjects []string // that it may read, such as "sallyport.v1.login.>"
}

// Limits of the streams and of the listener.
const (
	auditBytes     = 1 << 30  // the oldest events go first; of the others a quarter each
	askBytes       = 16 << 20 // requests to approvers, and as much of decisions
	maxEvent       = 64 << 10
	maxSubscribers = 256
	maxSubjects    = 100                   // subscriptions of one subscriber
	maxPending     = 4 << 20               // bytes that a subscriber may lag behind; then it is disconnected
	gather         = 20 * time.Millisecond // that a note waits for others: one by one they would wake a dozen goroutines each
	noteQueue      = 4096                  // events that wait to be written; the oldest is dropped
	startTimeout   = 10 * time.Second
	closeTimeout   = 5 * time.Second // for what is still to be written at the end
	storeTimeout   = 5 * time.Second // for one event
)

// Everything is published below ingest, stored under the event's own subject, and only then
// published there: a live subscriber sees nothing that is not on disk.
const ingest = "ingest."

// stream is one of the streams: how it is written.
type stream struct {
	name    string
	bytes   int64
	persist jetstream.PersistModeType
}

func (o Options) streams() []stream {
	size := o.Size
	if size == 0 {
		size = auditBytes
	}
	return []stream{
		{events.StreamAudit, size, jetstream.DefaultPersistMode},
		{events.StreamRefusals, size / 4, jetstream.DefaultPersistMode},
		{events.StreamActivity, size / 4, jetstream.AsyncPersistMode},
	}
}

// Bus is the embedded server with its own connection.
type Bus struct {
	options  Options
	boot     string
	own      nkeys.KeyPair // our own
	counters map[string]*counter
	health   health
	// forwarded are the numbers, in the local streams, of the last events that the other NATS has.
	forwarded map[string]*atomic.Uint64

	engine    sync.RWMutex // guards what follows
	running   *engine
	approvers []string
	decide    func(key string, message []byte)

	notes   chan events.Event
	stop    context.CancelFunc // of what runs in the background
	working sync.WaitGroup
	written chan struct{} // closed when the notes are
	waiting atomic.Int64  // notes that are not written yet
	mu      sync.Mutex
	closed  bool
	dropped int64
	missing map[string]uint64 // of those, by stream, that no number was used up for yet
}

// Open starts the server and makes the streams.
func Open(ctx context.Context, o Options) (*Bus, error) {
	reader, err := subscriberKey(o.SeedFile)
	if err != nil {
		return nil, err
	}
	o.Users = append([]User{{Name: "subscriber", Key: reader, Subjects: []string{events.Root + ".>"}}}, o.Users...)
	own, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("make server key: %w", err)
	}
	b := &Bus{
		options: o, boot: uuid.NewString(), own: own, counters: map[string]*counter{}, forwarded: map[string]*atomic.Uint64{},
		missing: map[string]uint64{}, notes: make(chan events.Event, noteQueue), written: make(chan struct{}), health: health{wake: make(chan struct{}, 1)},
	}
	for _, s := range o.streams() {
		b.counters[s.name], b.forwarded[s.name] = newCounter(), &atomic.Uint64{}
	}
	if b.running, err = b.start(ctx); err != nil {
		return nil, err
	}
	ctx, b.stop = context.WithCancel(context.WithoutCancel(ctx))
	if o.Forward != nil {
		if err := b.startForward(ctx, *o.Forward); err != nil {
			b.stop()
			b.running.close()
			return nil, err
		}
	}
	go b.writeNotes(ctx)
	b.working.Go(func() { b.heal(ctx) })
	b.working.Go(func() { b.watchSize(ctx) })
	return b, nil
}

// subscriberKey returns the public key of the subscriber, and makes its seed file if there is none.
func subscriberKey(file string) (string, error) {
	seed, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		pair, err := nkeys.CreateUser()
		if err != nil {
			return "", fmt.Errorf("make subscriber key: %w", err)
		}
		if seed, err = pair.Seed(); err != nil {
			return "", fmt.Errorf("make subscriber key: %w", err)
		}
		if err := os.WriteFile(file, append(seed, '\n'), 0o600); err != nil {
			return "", fmt.Errorf("write subscriber key: %w", err)
		}
	} else if err != nil {
		return "", fmt.Errorf("read subscriber key: %w", err)
	}
	pair, err := nkeys.FromSeed([]byte(strings.TrimSpace(string(seed))))
	if err != nil {
		return "", fmt.Errorf("subscriber key %s is damaged (%w): remove the file to have a new one made", file, err)
	}
	public, err := pair.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return "", fmt.Errorf("subscriber key %s is not a user's: remove the file to have a new one made", file)
	}
	return public, nil
}

// Store returns once the event is on disk.
func (b *Bus) Store(ctx context.Context, data events.Payload) error {
	return b.publish(ctx, b.event(data), false)
}

// Note queues an event and does not wait. When the queue is full the oldest waiting one is dropped.
func (b *Bus) Note(data events.Payload) {
	e := b.event(data)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	for {
		select {
		case b.notes <- e:
			b.waiting.Add(1)
			return
		default:
		}
		select {
		case old := <-b.notes:
			b.waiting.Add(-1)
			b.dropped++
			b.missing[old.Data.EventType().Stream()]++
		default:
		}
	}
}

func (b *Bus) writeNotes(ctx context.Context) {
	defer close(b.written)
	for e := range b.notes {
		if len(b.notes) == 0 {
			time.Sleep(gather)
		}
		b.mu.Lock()
		missing := b.missing
		b.missing = map[string]uint64{}
		b.mu.Unlock()
		for name, n := range missing {
			b.counters[name].skip(ctx, n)
		}
		if err := b.publish(ctx, e, false); err != nil && !errors.Is(err, ErrBroken) {
			b.options.Log.Warn("event not stored", "type", e.Data.EventType(), "err", err)
		}
		b.waiting.Add(-1)
	}
}

// Drain waits until what was noted so far is written, or the context ends.
func (b *Bus) Drain(ctx context.Context) {
	ticker := time.NewTicker(gather / 4)
	defer ticker.Stop()
	for b.waiting.Load() > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (b *Bus) event(data events.Payload) events.Event {
	return events.Event{ID: uuid.Must(uuid.NewV7()).String(), Time: time.Now(), Source: "/sallyport/" + b.options.ServerName, Data: data}
}

// Close writes what waits and stops the server.
func (b *Bus) Close() {
	b.mu.Lock()
	closed := b.closed
	b.closed = true
	b.mu.Unlock()
	if closed {
		return
	}
	close(b.notes)
	late := time.AfterFunc(closeTimeout, b.stop)
	<-b.written
	late.Stop()
	b.stop()
	b.working.Wait()
	if b.dropped > 0 {
		b.options.Log.Warn("events dropped because too many waited", "count", b.dropped)
	}
	b.engine.Lock()
	defer b.engine.Unlock()
	b.running.close()
}

// logger passes the server's warnings and errors on; its notices are of no use to our users.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(format string, v ...any) {
	l.log.Error("event server", "msg", fmt.Sprintf(format, v...))
}

func (l logger) Warnf(format string, v ...any) { // after a crash it repairs its index, and says so
	l.log.Info("event server", "msg", fmt.Sprintf(format, v...))
}

func (l logger) Fatalf(format string, v ...any) { l.Errorf(format, v...) }
func (logger) Noticef(string, ...any)           {}
func (logger) Debugf(string, ...any)            {}
func (logger) Tracef(string, ...any)            {}
