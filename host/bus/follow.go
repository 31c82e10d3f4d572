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

// FollowOptions say what to read.
type FollowOptions struct {
	Since time.Time // stored events from then on; zero: none
	Live  bool      // and those that come, until the context ends
}

// Follow calls handle for each stored event in the order of time, then for each new one. It
// returns nil at the end of what is stored, or when the context ends; or what handle returned.
func (b *Bus) Follow(ctx context.Context, o FollowOptions, handle func(events.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sources := make([]chan item, 0, len(b.options.streams()))
	for _, s := range b.options.streams() {
		source, err := b.read(ctx, s.name, o)
		if err != nil {
			return err
		}
		sources = append(sources, source)
	}
	if err := merge(ctx, sources, handle); err != nil || !o.Live {
		return err
	}
	return interleave(ctx, sources, handle)
}

// item is an event, or the mark that all stored ones have been sent.
type item struct {
	event    events.Event
	caughtUp bool
}

// read sends the events of one stream; one mark is between the stored ones and the new ones.
func (b *Bus) read(ctx context.Context, name string, o FollowOptions) (chan item, error) {
	config := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy}
	if !o.Since.IsZero() {
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &o.Since
	}
	b.engine.RLock()
	js := b.running.js
	b.engine.RUnlock()
	consumer, err := js.OrderedConsumer(ctx, name, config)
	if err != nil {
		return nil, fmt.Errorf("read event stream %s: %w", name, err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("read event stream %s: %w", name, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, fmt.Errorf("read event stream %s: %w", name, err)
	}
	source := make(chan item)
	context.AfterFunc(ctx, messages.Stop)
	go func() {
		defer close(source)
		send(ctx, source, messages, info.NumPending, func() bool { // whether nothing is left of what was stored
			now, err := consumer.Info(ctx)
			return err == nil && now.NumPending == 0
		})
	}()
	return source, nil
}

// followWait is how long nothing comes before it is looked whether something will.
const followWait = time.Second

func send(ctx context.Context, source chan<- item, messages jetstream.MessagesContext, pending uint64, done func() bool) {
	put := func(i item) bool {
		select {
		case source <- i:
			return true
		case <-ctx.Done():
			return false
		}
	}
	if pending == 0 && !put(item{caughtUp: true}) {
		return
	}
	for {
		msg, err := messages.Next(jetstream.NextMaxWait(followWait))
		if errors.Is(err, nats.ErrTimeout) {
			if pending > 0 && done() { // some can't be read any more: they do not come
				if pending = 0; !put(item{caughtUp: true}) {
					return
				}
			}
			continue
		}
		if err != nil {
			return // stopped
		}
		event, err := events.Decode(msg.Headers(), msg.Data())
		if err == nil && !put(item{event: event}) { // what can't be read was written by a newer version
			return
		}
		if pending > 0 {
			if pending--; pending == 0 && !put(item{caughtUp: true}) {
				return
			}
		}
	}
}

// merge hands out the stored events of all sources by time, until each has sent its mark.
func merge(ctx context.Context, sources []chan item, handle func(events.Event) error) error {
	heads := make([]item, len(sources))
	receive := func(i int) error {
		select {
		case next, ok := <-sources[i]:
			if !ok {
				return errStreamEnded
			}
			heads[i] = next
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for i := range sources {
		if err := receive(i); err != nil {
			return ended(ctx, err)
		}
	}
	for {
		first := -1
		for i, head := range heads {
			if !head.caughtUp && (first < 0 || head.event.Time.Before(heads[first].event.Time)) {
				first = i
			}
		}
		if first < 0 {
			return nil
		}
		if err := handle(heads[first].event); err != nil {
			return err
		}
		if err := receive(first); err != nil {
			return ended(ctx, err)
		}
	}
}

// interleave hands out new events as they come.
func interleave(ctx context.Context, sources []chan item, handle func(events.Event) error) error {
	all := make(chan item)
	broken := make(chan struct{}, len(sources))
	for _, source := range sources {
		go func() {
			for i := range source {
				select {
				case all <- i:
				case <-ctx.Done():
					return
				}
			}
			broken <- struct{}{}
		}()
	}
	for {
		select {
		case i := <-all:
			if err := handle(i.event); err != nil {
				return err
			}
		case <-broken:
			return ended(ctx, errStreamEnded)
		case <-ctx.Done():
			return nil
		}
	}
}

var errStreamEnded = errors.New("event stream ended")

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
