package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sallyport-ftps/sallyport/events"
)

// A server whose disk is full stops to answer, and goes on only when it is started anew: what is published meanwhile runs
// into time-outs. So the first event that can't be stored makes all others fail at once, until a server that was started
// anew has stored one. RATIONALE.md, "What happens when the disk is full?".

// ErrBroken says that events can't be stored for now.
var ErrBroken = errors.New("events can't be stored: the disk may be full")

const (
	retryPause = time.Second
	roomNeeded = 8 << 20 // bytes that must be free on the disk before a server is started anew
	probeWait  = 2 * time.Second
)

type health struct {
	wake chan struct{}

	mu     sync.Mutex
	broken time.Time // since when; zero: it works
	lost   int       // events that were not stored since then
}

// check fails at once what can't be stored now. What is tried again later is not lost.
func (h *health) check(again bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken.IsZero() {
		return nil
	}
	if !again {
		h.lost++
	}
	return ErrBroken
}

// suspect notes a failure. One that only says that the caller did not wait is none.
func (b *Bus) suspect(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return err
	}
	h := &b.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost++; h.broken.IsZero() {
		h.broken = time.Now()
		b.options.Log.Error("events can't be stored; the event server is started anew when there is room on the disk", "dir", b.options.Dir, "err", err)
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
	return err
}

// Healthy is nil, or says since when events can't be stored.
func (b *Bus) Healthy() error {
	b.health.mu.Lock()
	defer b.health.mu.Unlock()
	if b.health.broken.IsZero() {
		return nil
	}
	return fmt.Errorf("%w, since %s", ErrBroken, b.health.broken.UTC().Format(time.RFC3339))
}

// heal starts the server anew, again and again, after an event could not be stored.
func (b *Bus) heal(ctx context.Context) {
	for {
		select {
		case <-b.health.wake:
		case <-ctx.Done():
			return
		}
		for b.Healthy() != nil {
			if err := b.revive(ctx); err != nil && ctx.Err() == nil {
				b.options.Log.Debug("events still can't be stored", "err", err)
			}
			select {
			case <-time.After(retryPause):
			case <-ctx.Done():
				return
			}
		}
	}
}

// revive puts another server in the place of the one that can't write, if that can.
func (b *Bus) revive(ctx context.Context) error {
	if room, known := freeBytes(b.options.Dir); known && room < roomNeeded {
		return fmt.Errorf("%d bytes are free in %s", room, b.options.Dir)
	}
	if err := b.restart(ctx); err != nil {
		return err
	}
	b.health.mu.Lock()
	since, lost := b.health.broken, b.health.lost
	b.health.mu.Unlock()
	degraded := b.event(&events.ServerDegraded{Name: b.options.ServerName, Reason: events.EventNotStored, Since: since.UTC()})
	restored := b.event(&events.ServerRestored{Name: b.options.ServerName, Reason: events.EventNotStored, Lost: lost})
	for _, e := range []events.Event{degraded, restored} {
		if err := b.prove(ctx, e); err != nil {
			return err
		}
	}
	b.health.mu.Lock()
	b.health.broken, b.health.lost = time.Time{}, 0
	b.health.mu.Unlock()
	b.options.Log.Info("events are stored again", "lost", lost)
	return nil
}

// prove stores an event although the bus is broken: if that works, it is not any more.
func (b *Bus) prove(ctx context.Context, e events.Event) error {
	c := b.counters[events.StreamAudit]
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-c.turn }()
	e.Stream, e.Boot, e.Sequence = events.StreamAudit, b.boot, c.last+1
	future, err := b.send(e)
	if err != nil {
		return err
	}
	if stored, err := acknowledged(ctx, future); err != nil || !stored {
		return errors.Join(err, ErrBroken)
	}
	c.last = e.Sequence
	return nil
}

// restart begins with another server on what is stored.
func (b *Bus) restart(ctx context.Context) error {
	b.engine.Lock()
	defer b.engine.Unlock()
	b.running.close()
	next, err := b.start(ctx)
	if err != nil {
		return err
	}
	if b.running = next; b.approvers != nil {
		err = b.setApprovers(ctx, next)
	}
	if b.decide != nil {
		err = errors.Join(err, b.listen(ctx, next))
	}
	return err
}

// fullAt is the part of a stream that is told of: soon the oldest events go before their time.
const (
	fullAt   = 0.8
	emptyAt  = 0.7
	sizeTick = 10 * time.Second
)

// watchSize tells, once each time, when the audit stream is nearly full.
func (b *Bus) watchSize(ctx context.Context) {
	tick := time.NewTicker(sizeTick)
	defer tick.Stop()
	told := false
	for {
		if part, err := b.fullness(ctx); err == nil {
			var tell events.Payload
			switch {
			case part >= fullAt && !told:
				tell = &events.ServerDegraded{Name: b.options.ServerName, Reason: events.EventsFull}
			case part < emptyAt && told:
				tell = &events.ServerRestored{Name: b.options.ServerName, Reason: events.EventsFull}
			}
			if tell != nil && b.Store(ctx, tell) == nil {
				told = !told
				b.options.Log.Warn("the audit stream is nearly full, or no more", "part", part)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Streams are the sizes of the streams, by name.
func (b *Bus) Streams(ctx context.Context) map[string]jetstream.StreamInfo {
	b.engine.RLock()
	js := b.running.js
	b.engine.RUnlock()
	all := map[string]jetstream.StreamInfo{}
	for _, s := range b.options.streams() {
		if stream, err := js.Stream(ctx, s.name); err == nil {
			all[s.name] = *stream.CachedInfo()
		}
	}
	return all
}

// fullness is how much of its size the audit stream has, from 0 to 1.
func (b *Bus) fullness(ctx context.Context) (float64, error) {
	info, ok := b.Streams(ctx)[events.StreamAudit]
	if !ok {
		return 0, ErrBroken
	}
	return float64(info.State.Bytes) / float64(info.Config.MaxBytes), nil
}
