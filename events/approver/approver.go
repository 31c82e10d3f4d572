// Package approver is for programs that approve logins: a phone app's server, a chat bot, a desk. [Connect] with the seed
// of an enrolled key, take requests with [Approver.Next], and answer each with [Approver.Decide].
package approver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/sallyport-ftps/sallyport/events"
)

// Request is one request, with the bytes that a decision is about.
type Request struct {
	events.ApprovalRequest
	raw []byte
}

// Approver is a connection. It is not safe for concurrent use.
type Approver struct {
	conn     *nats.Conn
	js       jetstream.JetStream
	consumer jetstream.Consumer
	pair     nkeys.KeyPair
	key      string
}

// Connect connects with the seed of a key that was enrolled by "sallyport approver enroll".
func Connect(ctx context.Context, url, seed string, options ...nats.Option) (*Approver, error) {
	pair, err := nkeys.FromSeed([]byte(strings.TrimSpace(seed)))
	if err != nil {
		return nil, fmt.Errorf("approver's seed: %w", err)
	}
	key, err := pair.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(key) {
		return nil, errors.New("approver's seed: it is not one of a user key (SU...)")
	}
	a := &Approver{pair: pair, key: key}
	options = append([]nats.Option{nats.Nkey(key, pair.Sign), nats.CustomInboxPrefix(events.ApproverInbox(key)), nats.MaxReconnects(-1), nats.Name("approver")}, options...)
	if a.conn, err = nats.Connect(url, options...); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", url, err)
	}
	if a.js, err = jetstream.New(a.conn); err == nil {
		a.consumer, err = a.js.Consumer(ctx, events.AskStream, events.AskConsumer(key))
	}
	if err != nil {
		a.conn.Close()
		return nil, fmt.Errorf("requests of %s: %w; is the key enrolled?", url, err)
	}
	return a, nil
}

// Close ends the connection.
func (a *Approver) Close() { a.conn.Close() }

// Next waits for a request, or for the withdrawal of one. What has expired is left out.
func (a *Approver) Next(ctx context.Context) (Request, error) {
	for {
		if err := context.Cause(ctx); err != nil {
			return Request{}, err
		}
		batch, err := a.consumer.Fetch(1, jetstream.FetchMaxWait(2*time.Second))
		if err != nil {
			return Request{}, err
		}
		for m := range batch.Messages() {
			r := Request{raw: m.Data()}
			_ = m.Ack() // an answer that is lost is asked for again by nobody: the login ends
			if err := json.Unmarshal(r.raw, &r.ApprovalRequest); err != nil {
				return Request{}, fmt.Errorf("request: %w", err)
			}
			if r.Withdrawn || time.Now().Before(r.Expires) {
				return r, nil
			}
		}
	}
}

// Decide answers a request. It returns when the server has stored the answer.
func (a *Approver) Decide(ctx context.Context, r Request, approve bool) error {
	d := events.Decision{ID: r.ID, Server: r.Server, Approve: approve, Digest: events.RequestDigest(r.raw), Time: time.Now(), Key: a.key}
	var err error
	if d.Sig, err = a.pair.Sign(d.SignedBytes()); err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	body, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if _, err := a.js.Publish(ctx, events.DecidePrefix+a.key, body); err != nil {
		return fmt.Errorf("decision: %w", err)
	}
	return nil
}
