package bus

import (
	"context"
	"fmt"
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

// users are who may connect: we ourselves, the subscriber, and the approvers, each with what it needs and no more.
func users(own, reader string, approvers []string) []*server.NkeyUser {
	all := []*server.NkeyUser{
		{Nkey: own},
		{Nkey: reader, Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Deny: []string{">"}},
			Subscribe: &server.SubjectPermission{Allow: []string{events.Root + ".>"}},
		}},
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
	_, err := b.js.Publish(ctx, events.AskPrefix+key, request)
	return err
}

// SetApprovers lets these keys in, each with a consumer of its own, and no other.
func (b *Bus) SetApprovers(ctx context.Context, keys []string) error {
	asks, err := b.js.CreateOrUpdateStream(ctx, askConfig(events.AskStream, events.AskPrefix))
	if err != nil {
		return fmt.Errorf("stream of requests: %w", err)
	}
	for _, key := range keys {
		_, err := asks.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: events.AskConsumer(key), FilterSubject: events.AskPrefix + key, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second, MaxDeliver: 5, MaxWaiting: 16,
		})
		if err != nil {
			return fmt.Errorf("approver %s: %w", key, err)
		}
	}
	options, err := serverOptions(b.options, users(b.own, b.reader, keys))
	if err != nil {
		return err
	}
	if addr := b.Addr(); addr != "" { // a port that the system chose stays
		options.Port = b.port()
	}
	if err := b.server.ReloadOptions(options); err != nil {
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
	stream, err := b.js.CreateOrUpdateStream(ctx, askConfig(decideStream, events.DecidePrefix))
	if err != nil {
		return fmt.Errorf("stream of decisions: %w", err)
	}
	consumer, err := stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "host", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 1})
	if err != nil {
		return fmt.Errorf("stream of decisions: %w", err)
	}
	ctx = context.WithoutCancel(ctx)
	b.decisions, err = consumer.Consume(func(m jetstream.Msg) {
		handle(ctx, strings.TrimPrefix(m.Subject(), events.DecidePrefix), m.Data())
		_ = m.Ack()
	})
	return err
}
