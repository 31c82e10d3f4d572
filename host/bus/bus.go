// Package bus stores events and hands them to subscribers: a NATS server with JetStream in
// this process, two streams on disk, and a listener for programs that read.
//
// [Bus.Store] returns when an event is on disk, [Bus.Note] does not wait, [Bus.Follow] reads
// what is stored and then what comes.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/sallyport-ftps/sallyport/events"
)

// Options are what a Bus needs.
type Options struct {
	Dir        string        // of the stored events; made if it is not there
	SeedFile   string        // the subscriber's nkey seed; made if it is not there, mode 0600
	Listen     string        // address for subscribers; empty: none
	ServerName string        // the source of the events
	Retention  time.Duration // how long events are kept
	Log        *slog.Logger
}

// Limits of the streams and of the listener.
const (
	auditBytes     = 1 << 30   // the oldest events go first
	activityBytes  = 256 << 20 // the same
	askBytes       = 16 << 20  // requests to approvers, and as much of decisions
	maxEvent       = 64 << 10
	maxSubscribers = 256
	maxSubjects    = 100     // subscriptions of one subscriber
	maxPending     = 4 << 20 // bytes that a subscriber may lag behind; then it is disconnected
	noteQueue      = 4096    // events that wait to be written; the oldest is dropped
	startTimeout   = 10 * time.Second
	closeTimeout   = 5 * time.Second // for what is still to be written at the end
)

// Everything is published below ingest, stored under the event's own subject, and only then
// published there: a live subscriber sees nothing that is not on disk.
const ingest = "ingest."

// stream is one of the two streams: what it holds and how it is written.
type stream struct {
	name     string
	families []string // of event types: login, session, ...
	bytes    int64
	persist  jetstream.PersistModeType
}

func streams() []stream {
	return []stream{
		{"audit", []string{"login", "approval", "account", "password", "approver", "source", "mail", "server"}, auditBytes, jetstream.DefaultPersistMode},
		{"activity", []string{"method", "session"}, activityBytes, jetstream.AsyncPersistMode},
	}
}

// Bus is the embedded server with its own connection.
type Bus struct {
	options Options
	server  *server.Server
	conn    *nats.Conn
	js      jetstream.JetStream

	own       string // our own public key
	reader    string // the subscriber's
	decisions jetstream.ConsumeContext

	notes       chan events.Event
	stopWriting context.CancelFunc
	done        chan struct{} // closed when the notes are written
	mu          sync.Mutex
	closed      bool
	dropped     int64
}

// Open starts the server and makes the streams.
func Open(ctx context.Context, o Options) (*Bus, error) {
	reader, err := subscriberKey(o.SeedFile)
	if err != nil {
		return nil, err
	}
	own, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("make server key: %w", err)
	}
	ownKey, err := own.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("server key: %w", err)
	}
	options, err := serverOptions(o, users(ownKey, reader, nil))
	if err != nil {
		return nil, err
	}
	ns, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("event server: %w", err)
	}
	ns.SetLogger(logger{o.Log}, false, false)
	go ns.Start()
	b := &Bus{options: o, server: ns, own: ownKey, reader: reader, notes: make(chan events.Event, noteQueue), done: make(chan struct{})}
	if !ns.ReadyForConnections(startTimeout) {
		b.stopServer()
		return nil, fmt.Errorf("event server did not start within %v; is %s free, and can %s be written?", startTimeout, o.Listen, o.Dir)
	}
	if err := b.connect(ctx, own); err != nil {
		b.stopServer()
		return nil, err
	}
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.stopWriting = stop
	go b.writeNotes(writing)
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

func serverOptions(o Options, users []*server.NkeyUser) (*server.Options, error) {
	options := &server.Options{
		ServerName:             "sallyport",
		DontListen:             o.Listen == "",
		NoSigs:                 true,
		JetStream:              true,
		StoreDir:               o.Dir,
		SyncAlways:             true,
		JetStreamMaxStore:      auditBytes + activityBytes + 2*askBytes + 64<<20,
		JetStreamMaxMemory:     16 << 20,
		DisableJetStreamBanner: true,
		MaxConn:                maxSubscribers,
		MaxSubs:                maxSubjects,
		MaxPending:             maxPending,
		MaxPayload:             maxEvent,
		MaxControlLine:         2048,
		Nkeys:                  users,
	}
	if o.Listen == "" {
		return options, nil
	}
	host, port, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("events listen address %q: %w", o.Listen, err)
	}
	options.Host = host
	if options.Port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("events listen address %q: %w", o.Listen, err)
	}
	if options.Port == 0 {
		options.Port = server.RANDOM_PORT
	}
	return options, nil
}

func (b *Bus) connect(ctx context.Context, own nkeys.KeyPair) error {
	var err error
	b.conn, err = nats.Connect("", nats.InProcessServer(b.server), nats.Nkey(b.own, own.Sign), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("connect to the event server: %w", err)
	}
	if b.js, err = jetstream.New(b.conn); err != nil {
		return fmt.Errorf("event streams: %w", err)
	}
	for _, s := range streams() {
		if _, err := b.js.CreateOrUpdateStream(ctx, s.config(b.options.Retention)); err != nil {
			return fmt.Errorf("event stream %s in %s: %w", s.name, filepath.Clean(b.options.Dir), err)
		}
	}
	return nil
}

func (s stream) config(retention time.Duration) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:             s.name,
		MaxAge:           retention,
		MaxBytes:         s.bytes,
		MaxMsgSize:       maxEvent,
		Storage:          jetstream.FileStorage,
		PersistMode:      s.persist,
		DenyDelete:       true,
		DenyPurge:        true,
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: ingest + events.Root + ".>", Destination: events.Root + ".>"},
		RePublish:        &jetstream.RePublish{Source: events.Root + ".>", Destination: events.Root + ".>"},
	}
	for _, family := range s.families {
		c.Subjects = append(c.Subjects, ingest+events.Root+"."+family+".>")
	}
	return c
}

// Addr is where subscribers connect, or empty.
func (b *Bus) Addr() string {
	if b.options.Listen == "" {
		return ""
	}
	return b.server.Addr().String()
}

func (b *Bus) port() int {
	addr, ok := b.server.Addr().(*net.TCPAddr)
	if !ok {
		return 0
	}
	return addr.Port
}

// Store returns once the event is on disk.
func (b *Bus) Store(ctx context.Context, data events.Payload) error {
	return b.Publish(ctx, b.event(data))
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
			return
		default:
		}
		select {
		case <-b.notes:
			b.dropped++
		default:
		}
	}
}

func (b *Bus) writeNotes(ctx context.Context) {
	defer close(b.done)
	for e := range b.notes {
		if err := b.Publish(ctx, e); err != nil {
			b.options.Log.Warn("event not stored", "type", e.Data.EventType(), "err", err)
		}
	}
}

func (b *Bus) event(data events.Payload) events.Event {
	return events.Event{ID: uuid.Must(uuid.NewV7()).String(), Time: time.Now(), Source: "/sallyport/" + b.options.ServerName, Data: data}
}

// Publish stores an event that has an ID already, and returns when it is on disk. Again within minutes, it is not stored twice.
func (b *Bus) Publish(ctx context.Context, e events.Event) error {
	header, body, err := e.Encode()
	if err != nil {
		return err
	}
	header[nats.MsgIdHdr] = []string{e.ID}
	msg := &nats.Msg{Subject: ingest + string(e.Data.EventType()), Header: header, Data: body}
	if _, err := b.js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("store event %s: %w", e.Data.EventType(), err)
	}
	return nil
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
	late := time.AfterFunc(closeTimeout, b.stopWriting)
	<-b.done
	late.Stop()
	b.stopWriting()
	if b.dropped > 0 {
		b.options.Log.Warn("events dropped because too many waited", "count", b.dropped)
	}
	b.stopServer()
}

func (b *Bus) stopServer() {
	if b.decisions != nil {
		b.decisions.Stop()
	}
	if b.conn != nil {
		b.conn.Close()
	}
	b.server.Shutdown()
	b.server.WaitForShutdown()
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
