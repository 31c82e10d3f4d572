// Package outbox keeps the events of changes until they are published. The event of a change is stored in the same
// transaction as the change itself, so that neither is ever without the other, also if no server runs or it is killed
// in between. [Outbox.Entry] makes what is stored, [Outbox.Run] publishes it, with the same ID however often.
package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/state"
)

const (
	bucket = "outbox"
	page   = 100
	// pause is before what could not be published is tried again.
	pause = 2 * time.Second
	// forgetSpan is how far back is looked at least, in case a clock was set.
	forgetSpan = 5 * time.Minute
)

// Outbox is safe for concurrent use.
type Outbox struct {
	store  state.Store
	source string
	now    func() time.Time
	wake   chan struct{}
}

// New makes the outbox of a server.
func New(store state.Store, server string) *Outbox {
	return &Outbox{store: store, source: "/sallyport/" + server, now: time.Now, wake: make(chan struct{}, 1)}
}

// Entry is the record that must be written together with the change that the event tells of. IDs grow with time, and
// so the order of the records is the order of the changes.
func (o *Outbox) Entry(data events.Payload) (state.Addition, error) {
	e := events.Event{ID: uuid.Must(uuid.NewV7()).String(), Time: o.now().UTC(), Source: o.source, Data: data}
	value, err := json.Marshal(e)
	if err != nil {
		return state.Addition{}, fmt.Errorf("event %s: %w", data.EventType(), err)
	}
	return state.Addition{Bucket: bucket, Key: e.ID, Value: value}, nil
}

// Store keeps an event that comes with no change of a record.
func (o *Outbox) Store(ctx context.Context, data events.Payload) error {
	entry, err := o.Entry(data)
	if err != nil {
		return err
	}
	if _, err := o.store.Put(ctx, entry.Bucket, entry.Key, entry.Value, 0); err != nil {
		return fmt.Errorf("event %s: %w", data.EventType(), err)
	}
	o.Wake()
	return nil
}

// Wake says that something was written. It does not wait.
func (o *Outbox) Wake() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Known says which events are stored already, of those since then.
type Known func(ctx context.Context, since time.Time, ids []string) (map[string]bool, error)

// Forget removes what was published before a crash and is still here, however long ago that was.
func (o *Outbox) Forget(ctx context.Context, known Known) error {
	records, err := o.store.List(ctx, bucket, "", page)
	if err != nil || len(records) == 0 {
		return err
	}
	var ids []string
	for _, r := range records {
		ids = append(ids, r.Key)
	}
	var oldest events.Event
	since := o.now().Add(-forgetSpan)
	if json.Unmarshal(records[0].Value, &oldest) == nil && oldest.Time.Before(since) {
		since = oldest.Time
	}
	stored, err := known(ctx, since, ids)
	if err != nil {
		return fmt.Errorf("which events of changes are stored: %w", err)
	}
	for _, r := range records {
		if !stored[r.Key] {
			continue
		}
		if err := o.store.Delete(ctx, bucket, r.Key, r.Revision); err != nil && !errors.Is(err, state.ErrNotFound) {
			return fmt.Errorf("forget a published event: %w", err)
		}
	}
	return nil
}

// Run publishes what is stored, the oldest first, and what comes, until the context ends. What publish returned
// without an error for is forgotten.
func (o *Outbox) Run(ctx context.Context, publish func(ctx context.Context, e events.Event) error, log *slog.Logger) {
	for {
		err := o.empty(ctx, publish, log)
		var again <-chan time.Time
		if err != nil && ctx.Err() == nil {
			log.Warn("events of changes wait to be stored", "err", err)
			again = time.After(pause)
		}
		select {
		case <-o.wake:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

func (o *Outbox) empty(ctx context.Context, publish func(ctx context.Context, e events.Event) error, log *slog.Logger) error {
	for {
		records, err := o.store.List(ctx, bucket, "", page)
		if err != nil || len(records) == 0 {
			return err
		}
		for _, r := range records {
			var e events.Event
			if err := json.Unmarshal(r.Value, &e); err != nil { // of a newer version, which somebody went back from
				log.Error("event of a change can't be read, and is lost", "id", r.Key, "err", err)
			} else if err := publish(ctx, e); err != nil {
				return err
			}
			if err := o.store.Delete(ctx, bucket, r.Key, r.Revision); err != nil && !errors.Is(err, state.ErrNotFound) {
				return fmt.Errorf("forget a published event: %w", err)
			}
		}
	}
}
