// Package subscriber reads a server's events in Go: each at least once, in order, also those that were stored while the program did
// not run. Start at [Connect] and [Subscribe].
package subscriber

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sallyport-ftps/sallyport/events"
)

// Connect connects a user of the block events { } with the file of its seed. The user "subscriber" is always there; its seed is
// data_dir/private/subscriber.nk. It reconnects for ever.
func Connect(url, user, seedFile string, options ...nats.Option) (*nats.Conn, error) {
	key, err := nats.NkeyOptionFromSeed(seedFile)
	if err != nil {
		return nil, fmt.Errorf("key of %q: %w", user, err)
	}
	options = append([]nats.Option{key, nats.CustomInboxPrefix(events.Inbox(user)), nats.MaxReconnects(-1), nats.ReconnectWait(time.Second)}, options...)
	return nats.Connect(url, options...)
}

// Filter says which events are wanted.
type Filter struct {
	// User is the one of the block events { } that the connection has; empty: "subscriber".
	User string
	// Types are types or families of them, without [events.Root]: "login.refused", "approval". None: all.
	Types []string
}

func (f Filter) wants(t events.Type) bool {
	return len(f.Types) == 0 || slices.ContainsFunc(f.Types, t.Is)
}

// streams are those that have some of the types.
func (f Filter) streams() (names []string) {
	for _, t := range events.Types() {
		if name := t.Stream(); f.wants(t) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (f Filter) user() string {
	if f.User == "" {
		return "subscriber"
	}
	return f.User
}

// retryPause is before an event that the handler did not take comes again.
const retryPause = 5 * time.Second

// Subscribe calls handle for each event that is wanted, one at a time and in the order of its stream, until the context ends. Two
// programs that are the same user share its events between them. Where it stopped is kept on the
// server, so the next call goes on there. An event that handle returns an error for comes again, and the next ones of its stream wait
// for it; one that was handled when the connection broke comes again too: [events.Event.ID] tells it. What a newer server has and this package does not know is passed over.
func Subscribe(ctx context.Context, conn *nats.Conn, f Filter, handle func(ctx context.Context, e events.Event) error) error {
	for _, t := range f.Types {
		if len(events.Matching(t)) == 0 {
			return fmt.Errorf("no event has the type %q, nor is it the family of any", t)
		}
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	all := map[string]jetstream.MessagesContext{} // of each stream, before any is read: else one could be handled after an error
	for _, stream := range f.streams() {
		consumer, err := js.Consumer(ctx, stream, events.Consumer(f.user()))
		if err != nil {
			return fmt.Errorf("%s of user %q: %w; is that the user of this key?", stream, f.user(), err)
		}
		messages, err := consumer.Messages()
		if err != nil {
			return fmt.Errorf("%s of user %q: %w", stream, f.user(), err)
		}
		context.AfterFunc(ctx, messages.Drain)
		all[stream] = messages
	}
	var one sync.Mutex
	var reading sync.WaitGroup
	for stream, messages := range all {
		reading.Go(func() {
			for {
				m, err := messages.Next()
				if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
					return
				}
				if err != nil {
					if conn.IsClosed() || errors.Is(err, jetstream.ErrConsumerDeleted) {
						stop(fmt.Errorf("%s of user %q: %w", stream, f.user(), err))
						return
					}
					continue // it is on its way back
				}
				one.Lock()
				take(ctx, m, f, handle)
				one.Unlock()
			}
		})
	}
	reading.Wait()
	_ = conn.FlushTimeout(flushWait) // what was given back is there for the next one at once
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

// take handles one event, and says what became of it. If that is not heard, the event comes again.
func take(ctx context.Context, m jetstream.Msg, f Filter, handle func(ctx context.Context, e events.Event) error) {
	e, err := events.Decode(m.Headers(), m.Data())
	if ctx.Err() != nil { // it came too late: the next one gets it
		_ = m.Nak()
		return
	}
	if err == nil && f.wants(e.Data.EventType()) {
		done := keep(m)
		err := handle(ctx, e)
		done()
		if err != nil {
			_ = m.NakWithDelay(retryPause)
			return
		}
	}
	_ = m.Ack()
}

const flushWait = 2 * time.Second

// workTick is how often the server is told that an event is being handled: else it sends that again.
const workTick = 10 * time.Second

func keep(m jetstream.Msg) (done func()) {
	stop := make(chan struct{})
	go func() {
		tick := time.NewTicker(workTick)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = m.InProgress()
			case <-stop:
				return
			}
		}
	}()
	return func() { close(stop) }
}

// Replay lets a user begin anew with the events from a sequence number of a stream on; 1 is the oldest that is stored. (By time an
// administrator can: "sallyport events replay".)
func Replay(ctx context.Context, conn *nats.Conn, user, stream string, sequence uint64) error {
	body, err := json.Marshal(map[string]uint64{"seq": sequence})
	if err != nil {
		return err
	}
	answer, err := conn.RequestWithContext(ctx, "$JS.API.CONSUMER.RESET."+stream+"."+events.Consumer(user), body)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	var said struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &said); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if said.Error != nil {
		return fmt.Errorf("replay: %s", said.Error.Description)
	}
	return nil
}
