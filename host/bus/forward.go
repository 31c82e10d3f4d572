package bus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sallyport-ftps/sallyport/events"
)

// Forward says where a copy of all events goes: to another NATS, whose stream [ForwardStream] has the subjects
// sallyport.from.SERVER.STREAM.TYPE. RATIONALE.md, "How are events forwarded?".
type Forward struct {
	URL    string         // nats:// or tls://
	Option nats.Option    // credentials; nil: none
	CA     *x509.CertPool // trusted in place of the system's; nil: those
	ID     string         // of this server, for good
	// Patience is how long the other side may be away before an event tells of it; 0: a minute.
	Patience time.Duration
}

// The other side.
const (
	ForwardStream  = "sallyport"
	ForwardPrefix  = "sallyport.from."
	headerPosition = "Sallyport-Sequence" // of the local stream: where to go on
	minimumLevel   = 2                    // of the JetStream API: NATS 2.12, which has atomic batches
)

const (
	batchSize    = 500
	batchWait    = 200 * time.Millisecond // for more, before fewer are sent
	commitWait   = 10 * time.Second
	forwardPause = 2 * time.Second // before it is tried again
)

// forwarder copies the streams, each on its own.
type forwarder struct {
	bus *Bus
	to  Forward
	at  map[string]*atomic.Uint64 // see Bus.forwarded

	mu      sync.Mutex
	last    error                // of the connection; nil: it is there
	failing map[string]time.Time // streams that are not copied, since when
	told    bool                 // that it fails

	patience time.Duration
}

// patience is how long the other side may be away before an event tells of it.
const patience = time.Minute

// fails notes that a stream is not copied for now.
func (f *forwarder) fails(ctx context.Context, stream string) {
	f.mu.Lock()
	if f.failing[stream].IsZero() {
		f.failing[stream] = time.Now()
	}
	since := f.failing[stream]
	tell := !f.told && time.Since(since) >= f.patience
	f.told = f.told || tell
	f.mu.Unlock()
	if tell {
		_ = f.bus.Store(ctx, &events.ServerDegraded{Name: f.bus.options.ServerName, Reason: events.ForwardFailed, Since: since.UTC()})
	}
}

// works notes that a stream is copied.
func (f *forwarder) works(ctx context.Context, stream string) {
	f.mu.Lock()
	delete(f.failing, stream)
	tell := f.told && len(f.failing) == 0
	f.told = f.told && !tell
	f.mu.Unlock()
	if tell {
		_ = f.bus.Store(ctx, &events.ServerRestored{Name: f.bus.options.ServerName, Reason: events.ForwardFailed})
	}
}

// Probe connects as for copying, and copies nothing. Its error says why that would not work.
func (to Forward) Probe(ctx context.Context) error {
	conn, err := nats.Connect(to.URL, to.options(nats.Name("sallyport check"), nats.Timeout(5*time.Second))...)
	if err != nil {
		return fmt.Errorf("forward to %s: %w", to.URL, err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("forward to %s: %w", to.URL, err)
	}
	if err := newEnough(ctx, js); err != nil {
		return fmt.Errorf("forward to %s: %w", to.URL, err)
	}
	return nil
}

// options are those that say who we are, and whom we trust, behind others.
func (to Forward) options(all ...nats.Option) []nats.Option {
	if to.Option != nil {
		all = append(all, to.Option)
	}
	if to.CA != nil {
		all = append(all, nats.Secure(&tls.Config{RootCAs: to.CA, MinVersion: tls.VersionTLS12}))
	}
	return all
}

func newEnough(ctx context.Context, js jetstream.JetStream) error {
	info, err := js.AccountInfo(ctx)
	if err != nil {
		return fmt.Errorf("JetStream of the other NATS: %w", err)
	}
	if info.API.Level < minimumLevel {
		return fmt.Errorf("the other NATS is too old (API level %d): 2.12 or newer is needed", info.API.Level)
	}
	return nil
}

// why keeps what the connection said last: whoever waits for an answer hears only that none came.
func (f *forwarder) why(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = err
}

func (f *forwarder) reason() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// startForward begins to copy, and goes on until the bus closes.
func (b *Bus) startForward(ctx context.Context, to Forward) error {
	f := &forwarder{bus: b, to: to, at: b.forwarded, failing: map[string]time.Time{}, patience: to.Patience}
	if f.patience == 0 {
		f.patience = patience
	}
	conn, err := nats.Connect(to.URL, to.options(
		nats.Name("sallyport "+b.options.ServerName), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.ReconnectWait(time.Second), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { f.why(err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { f.why(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { f.why(err) }),
		nats.ConnectHandler(func(*nats.Conn) { f.why(nil) }),
		nats.ReconnectHandler(func(*nats.Conn) { f.why(nil) }),
	)...)
	if err != nil {
		return fmt.Errorf("forward to %s: %w", to.URL, err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return fmt.Errorf("forward to %s: %w", to.URL, err)
	}
	for _, s := range b.options.streams() {
		b.working.Go(func() { f.run(ctx, js, s.name) })
	}
	b.working.Go(func() {
		<-ctx.Done()
		conn.Close()
	})
	return nil
}

// Lag is how many events of each stream the other NATS does not have yet, as far as is known: before it could be asked, all;
// nil: they are not forwarded.
func (b *Bus) Lag(ctx context.Context) map[string]int64 {
	if b.options.Forward == nil {
		return nil
	}
	lag := map[string]int64{}
	for name, info := range b.Streams(ctx) {
		have := max(b.forwarded[name].Load(), info.State.FirstSeq-min(1, info.State.FirstSeq))
		lag[name] = int64(info.State.LastSeq) - int64(min(have, info.State.LastSeq))
	}
	return lag
}

func (f *forwarder) run(ctx context.Context, js jetstream.JetStream, stream string) {
	said := ""
	for ctx.Err() == nil {
		err := f.copy(ctx, js, stream, func() { f.works(ctx, stream) })
		if ctx.Err() != nil {
			return
		}
		if why := f.reason(); why != nil {
			err = why
		}
		if text := fmt.Sprint(err); text != said { // not each time the same
			f.bus.options.Log.Warn("events are not forwarded for now", "stream", stream, "to", f.to.URL, "err", err)
			said = text
		}
		f.fails(ctx, stream)
		select {
		case <-time.After(forwardPause):
		case <-ctx.Done():
		}
	}
}

// copy goes on behind the last event that the other side has, until something fails.
func (f *forwarder) copy(ctx context.Context, js jetstream.JetStream, stream string, works func()) error {
	remote, err := f.remote(ctx, js)
	if err != nil {
		return err
	}
	f.bus.engine.RLock()
	local := f.bus.running.js
	f.bus.engine.RUnlock()
	position, known, err := f.resume(ctx, local, remote, stream)
	if err != nil {
		return err
	}
	f.at[stream].Store(position)
	source, err := local.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: position + 1})
	if err != nil {
		return fmt.Errorf("read stream %s: %w", stream, err)
	}
	f.bus.options.Log.Info("events are forwarded", "stream", stream, "to", f.to.URL, "from", position+1)
	for {
		works()
		batch, err := source.Fetch(batchSize, jetstream.FetchMaxWait(batchWait))
		if err != nil {
			return fmt.Errorf("read stream %s: %w", stream, err)
		}
		var messages []*nats.Msg
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			if position > 0 && meta.Sequence.Stream > position+1 {
				f.bus.options.Log.Error("events were given up, or are damaged, before they could be forwarded", "stream", stream, "count", meta.Sequence.Stream-position-1)
			}
			if position = meta.Sequence.Stream; !known[m.Headers().Get(nats.MsgIdHdr)] {
				messages = append(messages, f.outgoing(m, stream, position))
			}
		}
		if err := batch.Error(); err != nil && !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, jetstream.ErrNoMessages) {
			return fmt.Errorf("read stream %s: %w", stream, err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if len(messages) == 0 {
			f.at[stream].Store(position)
			continue
		}
		if err := publishBatch(ctx, js, messages); err != nil {
			return fmt.Errorf("forward: %w", err)
		}
		f.at[stream].Store(position)
	}
}

// outgoing is a stored event as it goes to the other side: with its ID, and the place to go on from.
func (f *forwarder) outgoing(m jetstream.Msg, stream string, sequence uint64) *nats.Msg {
	header := nats.Header{}
	for name, values := range m.Headers() {
		if name == nats.MsgIdHdr || strings.HasPrefix(name, "ce-") || name == "content-type" {
			header[name] = values
		}
	}
	header.Set(headerPosition, strconv.FormatUint(sequence, 10))
	return &nats.Msg{Subject: f.subject(stream) + strings.TrimPrefix(m.Subject(), events.Root+"."), Header: header, Data: m.Data()}
}

func (f *forwarder) subject(stream string) string {
	return ForwardPrefix + f.to.ID + "." + stream + "."
}

// remote is the stream on the other side, which is made if it is not there.
func (f *forwarder) remote(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, error) {
	if err := newEnough(ctx, js); err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, ForwardStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, jetstream.StreamConfig{
			Name: ForwardStream, Subjects: []string{ForwardPrefix + ">"}, MaxAge: f.bus.options.Retention, Storage: jetstream.FileStorage, AllowAtomicPublish: true, DenyDelete: true, DenyPurge: true,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("stream %q of the other NATS: %w", ForwardStream, err)
	}
	if !stream.CachedInfo().Config.AllowAtomicPublish {
		return nil, fmt.Errorf("stream %q of the other NATS must have allow_atomic", ForwardStream)
	}
	return stream, nil
}

// resume says where to go on: behind the last event that the other side has, which says its number here. If that is another event
// here, or none, the local stream is not the one that it was, after a restore for example: then all is sent that the other side
// does not know.
func (f *forwarder) resume(ctx context.Context, local jetstream.JetStream, remote jetstream.Stream, stream string) (position uint64, known map[string]bool, err error) {
	last, err := remote.GetLastMsgForSubject(ctx, f.subject(stream)+">")
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, fmt.Errorf("last event of the other NATS: %w", err)
	}
	n, err := strconv.ParseUint(last.Header.Get(headerPosition), 10, 64)
	if err != nil {
		return 0, nil, fmt.Errorf("last event of the other NATS: %s: %w", headerPosition, err)
	}
	here, err := local.Stream(ctx, stream)
	if err != nil {
		return 0, nil, fmt.Errorf("stream %s: %w", stream, err)
	}
	state := here.CachedInfo().State
	if n < state.FirstSeq { // it was away for longer than events are kept
		return n, nil, nil
	}
	if own, err := here.GetMsg(ctx, n); err == nil && own.Header.Get(nats.MsgIdHdr) == last.Header.Get(nats.MsgIdHdr) {
		return n, nil, nil
	} else if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil, fmt.Errorf("stream %s: %w", stream, err)
	}
	f.bus.options.Log.Warn("the stream is not the one that was forwarded: all that the other NATS does not know is sent", "stream", stream)
	known, err = f.ids(ctx, remote, stream)
	return 0, known, err
}

// ids are those of all events of a stream that the other side has.
func (f *forwarder) ids(ctx context.Context, remote jetstream.Stream, stream string) (map[string]bool, error) {
	known := map[string]bool{}
	consumer, err := remote.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{f.subject(stream) + ">"}, HeadersOnly: true})
	if err != nil {
		return nil, fmt.Errorf("events of the other NATS: %w", err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("events of the other NATS: %w", err)
	}
	for left := info.NumPending; left > 0; left-- {
		m, err := consumer.Next(jetstream.FetchMaxWait(commitWait))
		if err != nil {
			return nil, fmt.Errorf("events of the other NATS: %w", err)
		}
		known[m.Headers().Get(nats.MsgIdHdr)] = true
	}
	return known, nil
}

// The headers of an atomic batch, ADR-50 of NATS.
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchNumber = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// publishBatch stores the messages, all or none, in order.
func publishBatch(ctx context.Context, js jetstream.JetStream, messages []*nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, commitWait)
	defer cancel()
	last := messages[len(messages)-1]
	if len(messages) > 1 {
		id := nats.NewInbox()[len(nats.InboxPrefix):]
		for i, m := range messages {
			m.Header.Set(headerBatchID, id)
			m.Header.Set(headerBatchNumber, strconv.Itoa(i+1))
		}
		last.Header.Set(headerBatchCommit, "1")
		for _, m := range messages[:len(messages)-1] {
			if err := js.Conn().PublishMsg(m); err != nil {
				return err
			}
		}
	}
	_, err := js.PublishMsg(ctx, last)
	return err
}
