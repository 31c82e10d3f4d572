package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sallyport-ftps/sallyport/events"
)

// counter numbers the events of one stream. They leave in the order of their numbers, and the stream takes them in that
// order: so after a crash the last ones may be missing, and never one in the middle.
type counter struct {
	turn chan struct{} // holds the one who may publish
	last uint64        // guarded by turn
}

func newCounter() *counter { return &counter{turn: make(chan struct{}, 1)} }

// skip uses numbers up for events that were given up: so whoever reads sees that they are missing.
func (c *counter) skip(ctx context.Context, n uint64) {
	select {
	case c.turn <- struct{}{}:
		c.last += n
		<-c.turn
	case <-ctx.Done():
	}
}

// Publish stores an event that has an ID already, and returns when it is on disk. Again within minutes, it is not stored
// twice. Others wait meanwhile, so that one that is not stored twice takes no number.
func (b *Bus) Publish(ctx context.Context, e events.Event) error { return b.publish(ctx, e, true) }

// publish stores an event. Alone, the next one waits for the acknowledgement.
func (b *Bus) publish(ctx context.Context, e events.Event, alone bool) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("store event %s: %w", e.Data.EventType(), err)
		}
	}()
	if err := b.health.check(alone); err != nil {
		return err
	}
	c := b.counters[e.Data.EventType().Stream()]
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	e.Stream, e.Boot, e.Sequence = e.Data.EventType().Stream(), b.boot, c.last+1
	future, err := b.send(e)
	if err != nil {
		<-c.turn
		return b.suspect(ctx, err)
	}
	c.last = e.Sequence
	if !alone {
		<-c.turn
	}
	stored, err := acknowledged(ctx, future)
	if !alone {
		select { // whoever is behind us keeps our number from being used again
		case c.turn <- struct{}{}:
		case <-ctx.Done():
			return b.suspect(ctx, err)
		}
	}
	if !stored && c.last == e.Sequence {
		c.last--
	}
	<-c.turn
	return b.suspect(ctx, err)
}

func (b *Bus) send(e events.Event) (jetstream.PubAckFuture, error) {
	header, body, err := e.Encode()
	if err != nil {
		return nil, err
	}
	header[nats.MsgIdHdr] = []string{e.ID}
	b.engine.RLock()
	defer b.engine.RUnlock()
	return b.running.js.PublishMsgAsync(&nats.Msg{Subject: ingest + string(e.Data.EventType()), Header: header, Data: body})
}

// acknowledged waits. What is not known to be missing counts as stored: a number too many tells of a loss that was none.
func acknowledged(ctx context.Context, future jetstream.PubAckFuture) (stored bool, err error) {
	late := time.NewTimer(storeTimeout)
	defer late.Stop()
	select {
	case ack := <-future.Ok():
		return !ack.Duplicate, nil
	case err := <-future.Err():
		var refused *jetstream.APIError
		return !errors.As(err, &refused), err
	case <-late.C:
		return true, errTooLate
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
}

var errTooLate = fmt.Errorf("no acknowledgement within %v", storeTimeout)

// Stored says which of the events are in the audit stream, of those since then. The order of IDs is no matter.
func (b *Bus) Stored(ctx context.Context, since time.Time, ids []string) (map[string]bool, error) {
	wanted, found := map[string]bool{}, map[string]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	err := b.Follow(ctx, FollowOptions{Since: since}, func(e events.Event) error {
		if wanted[e.ID] {
			found[e.ID] = true
		}
		return nil
	})
	return found, err
}
