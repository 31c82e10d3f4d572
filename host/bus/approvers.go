package bus

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sallyport-ftps/sallyport/events"
)

// askAge is how long requests and decisions are kept: longer than any login.
const askAge = time.Hour

// decideStream is where decisions are stored until we have heard them.
const decideStream = "decisions"

// users are who may connect: we ourselves, the subscribers, and the approvers, each with what it needs and no more.
func users(own string, readers []User, approvers []string) []*server.NkeyUser {
	all := []*server.NkeyUser{{Nkey: own}}
	for _, u := range readers {
		p := &server.Permissions{
			Subscribe: &server.SubjectPermission{Allow: append(slices.Clone(u.Subjects), events.Inbox(u.Name)+".>")},
		}
		var may []string
		for _, stream := range events.Streams() {
			own := stream + "." + events.Consumer(u.Name) // to be given what is stored for it, to say what it has, and to begin anew
			may = append(may, "$JS.API.CONSUMER.INFO."+own, "$JS.API.CONSUMER.MSG.NEXT."+own, "$JS.API.CONSUMER.RESET."+own, "$JS.ACK."+own+".>")
		}
		p.Publish = &server.SubjectPermission{Allow: may}
		all = append(all, &server.NkeyUser{Nkey: u.Key, Permissions: p})
	}
	for _, key := range approvers {
		consumer := events.AskStream + "." + events.AskConsumer(key)
		all = append(all, &server.NkeyUser{Nkey: key, Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{
				events.DecidePrefix + key, "$JS.API.CONSUMER.INFO." + consumer, "$JS.API.CONSUMER.MSG.NEXT." + consumer, "$JS.ACK." + consumer + ".>",
			}},
			Subscribe: &server.SubjectPermission{Allow: []string{events.ApproverInbox(key) + ".>"}},
		}})
	}
	return all
}

// Ask stores a request for an approver.
func (b *Bus) Ask(ctx context.Context, key string, request []byte) error {
	b.engine.RLock()
	defer b.engine.RUnlock()
	_, err := b.running.js.Publish(ctx, events.AskPrefix+key, request)
	return err
}

// SetApprovers lets these keys in, each with a consumer of its own, and no other.
func (b *Bus) SetApprovers(ctx context.Context, keys []string) error {
	b.engine.Lock()
	defer b.engine.Unlock()
	b.approvers = keys
	return b.setApprovers(ctx, b.running)
}

func (b *Bus) setApprovers(ctx context.Context, e *engine) error {
	asks, err := e.js.CreateOrUpdateStream(ctx, askConfig(events.AskStream, events.AskPrefix))
	if err != nil {
		return fmt.Errorf("stream of requests: %w", err)
	}
	for _, key := range b.approvers {
		_, err := asks.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: events.AskConsumer(key), FilterSubject: events.AskPrefix + key, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second, MaxDeliver: 5, MaxWaiting: 16,
		})
		if err != nil {
			return fmt.Errorf("approver %s: %w", key, err)
		}
	}
	options, err := b.serverOptions()
	if err != nil {
		return err
	}
	if err := e.server.ReloadOptions(options); err != nil {
		return fmt.Errorf("approvers: %w", err)
	}
	return nil
}

func askConfig(name, prefix string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Subjects: []string{prefix + "*"}, MaxAge: askAge, MaxBytes: askBytes, MaxMsgSize: maxEvent, Storage: jetstream.FileStorage, DenyDelete: true, DenyPurge: true,
	}
}

// Decisions calls handle for each decision, in order, with the key on whose subject it came.
func (b *Bus) Decisions(ctx context.Context, handle func(ctx context.Context, key string, message []byte)) error {
	ctx = context.WithoutCancel(ctx)
	b.engine.Lock()
	defer b.engine.Unlock()
	b.decide = func(key string, message []byte) { handle(ctx, key, message) }
	return b.listen(ctx, b.running)
}

func (b *Bus) listen(ctx context.Context, e *engine) error {
	stream, err := e.js.CreateOrUpdateStream(ctx, askConfig(decideStream, events.DecidePrefix))
	if err != nil {
		return fmt.Errorf("stream of decisions: %w", err)
	}
	consumer, err := stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "host", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 1})
	if err != nil {
		return fmt.Errorf("stream of decisions: %w", err)
	}
	e.decisions, err = consumer.Consume(func(m jetstream.Msg) {
		b.decide(strings.TrimPrefix(m.Subject(), events.DecidePrefix), m.Data())
		_ = m.Ack()
	})
	return err
}
