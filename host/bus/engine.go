package bus

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sallyport-ftps/sallyport/events"
)

// engine is the server that runs, with our connection to it. Another takes its place when it can't write any more.
type engine struct {
	server    *server.Server
	conn      *nats.Conn
	js        jetstream.JetStream
	decisions jetstream.ConsumeContext
	addr      net.Addr // nil: none
}

// start runs a server on what is stored.
func (b *Bus) start(ctx context.Context) (_ *engine, err error) {
	options, err := b.serverOptions()
	if err != nil {
		return nil, err
	}
	ns, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("event server: %w", err)
	}
	ns.SetLogger(logger{b.options.Log}, false, false)
	go ns.Start()
	e := &engine{server: ns}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if !ns.ReadyForConnections(startTimeout) {
		return nil, fmt.Errorf("event server did not start within %v; is %s free, and can %s be written?", startTimeout, b.options.Listen, b.options.Dir)
	}
	if b.options.Listen != "" {
		e.addr = ns.Addr()
	}
	own, err := b.own.PublicKey()
	if err != nil {
		return nil, err
	}
	if e.conn, err = nats.Connect("", nats.InProcessServer(ns), nats.Nkey(own, b.own.Sign), nats.MaxReconnects(-1)); err != nil {
		return nil, fmt.Errorf("connect to the event server: %w", err)
	}
	if e.js, err = jetstream.New(e.conn, jetstream.WithPublishAsyncMaxPending(maxUnacknowledged)); err != nil {
		return nil, fmt.Errorf("event streams: %w", err)
	}
	for _, s := range b.options.streams() {
		stream, err := e.js.CreateOrUpdateStream(ctx, s.config(b.options.Retention))
		if err == nil {
			err = b.consumers(ctx, stream, s.name)
		}
		if err != nil {
			return nil, fmt.Errorf("event stream %s in %s: %w", s.name, filepath.Clean(b.options.Dir), err)
		}
	}
	return e, nil
}

// maxUnacknowledged is how many events may be on their way to the disk; then whoever has one waits.
const maxUnacknowledged = 4000

func (e *engine) close() {
	if e.decisions != nil {
		e.decisions.Stop()
	}
	if e.conn != nil {
		e.conn.Close()
	}
	e.server.Shutdown()
	e.server.WaitForShutdown()
}

func (b *Bus) serverOptions() (*server.Options, error) {
	o := b.options
	own, err := b.own.PublicKey()
	if err != nil {
		return nil, err
	}
	options := &server.Options{
		ServerName:             "sallyport",
		DontListen:             o.Listen == "",
		NoSigs:                 true,
		JetStream:              true,
		StoreDir:               o.Dir,
		SyncAlways:             true,
		JetStreamMaxStore:      2*askBytes + 64<<20,
		JetStreamMaxMemory:     16 << 20,
		DisableJetStreamBanner: true,
		MaxConn:                maxSubscribers,
		MaxSubs:                maxSubjects,
		MaxPending:             maxPending,
		MaxPayload:             maxEvent,
		MaxControlLine:         2048,
		Nkeys:                  users(own, o.Users, b.approvers),
	}
	for _, s := range o.streams() {
		options.JetStreamMaxStore += s.bytes
	}
	if o.Listen == "" {
		return options, nil
	}
	if o.TLS != nil {
		options.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*o.TLS}, MinVersion: tls.VersionTLS12}
		options.TLSTimeout = 5
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
	if b.running != nil { // a port that the system chose stays
		options.Port = b.running.port()
	}
	return options, nil
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
	for _, subject := range events.Subjects(s.name) {
		c.Subjects = append(c.Subjects, ingest+events.Root+"."+subject)
	}
	return c
}

// consumers gives each user who may read something of the stream a place of its own in it, and takes the others away.
func (b *Bus) consumers(ctx context.Context, s jetstream.Stream, name string) error {
	var keep []string
	for _, u := range b.options.Users {
		subjects := u.within(name)
		if len(subjects) == 0 { // so that a subscriber need not know in which streams it has something
			subjects = []string{nothing(name)}
		}
		keep = append(keep, events.Consumer(u.Name))
		_, err := s.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: events.Consumer(u.Name), FilterSubjects: subjects, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxWaiting: 64,
			MaxAckPending: 1, // so that they come in order, whatever is not taken
		})
		if err != nil {
			return fmt.Errorf("events.user %q: %w", u.Name, err)
		}
	}
	names := s.ConsumerNames(ctx)
	for consumer := range names.Name() {
		if strings.HasPrefix(consumer, events.Consumer("")) && !slices.Contains(keep, consumer) {
			if err := s.DeleteConsumer(ctx, consumer); err != nil {
				return err
			}
		}
	}
	return names.Err()
}

// nothing is a subject of a stream that no event has.
func nothing(stream string) string {
	for _, subject := range events.Subjects(stream) {
		if family, all := strings.CutSuffix(subject, ">"); all {
			return events.Root + "." + family + "none"
		}
	}
	return events.Root + ".none"
}

// ackWait is how long a subscriber may take for an event before it gets that again.
const ackWait = 30 * time.Second

// within are the subjects of the user that a stream has. None of them holds another, which JetStream would refuse.
func (u User) within(stream string) (subjects []string) {
	for _, wanted := range u.Subjects {
		for _, has := range events.Subjects(stream) {
			both, ok := intersect(wanted, events.Root+"."+has)
			if !ok || slices.ContainsFunc(subjects, func(other string) bool { return holds(other, both) }) {
				continue
			}
			subjects = append(slices.DeleteFunc(subjects, func(other string) bool { return holds(both, other) }), both)
		}
	}
	return subjects
}

// holds reports whether all that is in the pattern b is in a.
func holds(a, b string) bool {
	both, ok := intersect(a, b)
	return ok && both == b
}

// intersect is the pattern of what is in both.
func intersect(a, b string) (string, bool) {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	var both []string
	for i := 0; ; i++ {
		switch {
		case i == len(x) && i == len(y):
			return strings.Join(both, "."), true
		case i == len(x) || i == len(y):
			return "", false
		case x[i] == ">":
			return strings.Join(append(both, y[i:]...), "."), true
		case y[i] == ">":
			return strings.Join(append(both, x[i:]...), "."), true
		case x[i] == "*":
			both = append(both, y[i])
		case y[i] == "*" || x[i] == y[i]:
			both = append(both, x[i])
		default:
			return "", false
		}
	}
}

// SetUsers lets these users in, beside "subscriber", and no other. Who was taken out is disconnected.
func (b *Bus) SetUsers(ctx context.Context, users []User) error {
	b.engine.Lock()
	defer b.engine.Unlock()
	before := b.options.Users
	b.options.Users = append(slices.Clone(before[:1]), users...)
	err := b.setUsers(ctx)
	if err != nil {
		b.options.Users = before
	}
	return err
}

func (b *Bus) setUsers(ctx context.Context) error {
	for _, s := range b.options.streams() {
		stream, err := b.running.js.Stream(ctx, s.name)
		if err == nil {
			err = b.consumers(ctx, stream, s.name)
		}
		if err != nil {
			return fmt.Errorf("users of events: %w", err)
		}
	}
	options, err := b.serverOptions()
	if err == nil {
		err = b.running.server.ReloadOptions(options)
	}
	if err != nil {
		return fmt.Errorf("users of events: %w", err)
	}
	return nil
}

// Replay lets a user begin anew with what is stored since then, in all streams.
func (b *Bus) Replay(ctx context.Context, user string, since time.Time) error {
	at := slices.IndexFunc(b.options.Users, func(u User) bool { return u.Name == user })
	if at < 0 {
		var names []string
		for _, u := range b.options.Users {
			names = append(names, u.Name)
		}
		return fmt.Errorf("events.user %q is not in the configuration; there are %q", user, names)
	}
	b.engine.RLock()
	defer b.engine.RUnlock()
	for _, s := range b.options.streams() {
		stream, err := b.running.js.Stream(ctx, s.name)
		if err != nil {
			return fmt.Errorf("replay for %q: %w", user, err)
		}
		first, err := firstSince(ctx, stream, since)
		if err == nil {
			_, err = stream.ResetConsumerToSequence(ctx, events.Consumer(user), first)
		}
		if err != nil {
			return fmt.Errorf("replay for %q: %w", user, err)
		}
	}
	return nil
}

// firstSince is the number, in the stream, of the first event since then; without one, of the next.
func firstSince(ctx context.Context, s jetstream.Stream, since time.Time) (uint64, error) {
	consumer, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since})
	if err != nil {
		return 0, err
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return 0, err
	}
	return info.Delivered.Stream + 1, nil
}

// Addr is where subscribers connect, or empty.
func (b *Bus) Addr() string {
	if b.options.Listen == "" {
		return ""
	}
	b.engine.RLock()
	defer b.engine.RUnlock()
	return b.running.addr.String()
}

func (e *engine) port() int {
	addr, ok := e.addr.(*net.TCPAddr)
	if !ok {
		return 0
	}
	return addr.Port
}
