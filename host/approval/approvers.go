package approval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nkeys"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/outbox"
	"github.com/sallyport-ftps/sallyport/host/state"
)

const bucket = "approvers"

// Approver is somebody whose signed decisions count for some users.
type Approver struct {
	Name     string    `json:"name"`
	Key      string    `json:"key"` // public nkey of a user
	Accounts []string  `json:"accounts,omitempty"`
	Groups   []string  `json:"groups,omitempty"`
	Enrolled time.Time `json:"enrolled"`
}

func (a Approver) decidesFor(user string, groups []string) bool {
	return slices.Contains(a.Accounts, user) || slices.ContainsFunc(a.Groups, func(g string) bool { return slices.Contains(groups, g) })
}

func (a Approver) event(change events.Type) *events.ApproverChanged {
	return &events.ApproverChanged{Change: change, Approver: a.Name, Key: a.Key, Accounts: a.Accounts, Groups: a.Groups}
}

// Post carries requests to approvers; host/bus is it. A request is on disk when Ask returns.
type Post interface {
	Ask(ctx context.Context, key string, request []byte) error
	SetApprovers(ctx context.Context, keys []string) error
}

// Approvers asks people with enrolled keys, and believes nothing but their signatures.
type Approvers struct {
	store  state.Store
	outbox *outbox.Outbox
	server string // ID of this server
	name   string
	tell   func(ctx context.Context, e events.Payload)
	log    *slog.Logger
	now    func() time.Time

	mu   sync.Mutex
	post Post
	open map[string]*pending
}

// pending is a request that waits for a decision.
type pending struct {
	user    string
	digest  string
	keys    []string // that may decide
	expires time.Time
	answer  chan bool // one place
	decided bool
}

// Errors of Approvers.
var (
	ErrNobody   = errors.New("no approver is enrolled for the user")
	ErrEnrolled = errors.New("there is an approver of this name or key already")
	ErrUnknown  = errors.New("there is no such approver")
	ErrWrongKey = errors.New("not the public key of an approver: 56 letters and digits that begin with U are expected")
)

// maxApprovers bounds how many there are.
const maxApprovers = 1000

// NewApprovers makes the list. Tell gets the event of each decision that is refused.
func NewApprovers(store state.Store, out *outbox.Outbox, server, name string, tell func(ctx context.Context, e events.Payload), log *slog.Logger) *Approvers {
	return &Approvers{store: store, outbox: out, server: server, name: name, tell: tell, log: log, now: time.Now, open: map[string]*pending{}}
}

// Connect gives the approvers their way to be asked.
func (a *Approvers) Connect(ctx context.Context, post Post) error {
	a.mu.Lock()
	a.post = post
	a.mu.Unlock()
	return a.share(ctx)
}

// share lets the enrolled keys in, and no others.
func (a *Approvers) share(ctx context.Context) error {
	all, err := a.List(ctx)
	if err != nil {
		return err
	}
	keys := make([]string, 0, len(all))
	for _, one := range all {
		keys = append(keys, one.Key)
	}
	a.mu.Lock()
	post := a.post
	a.mu.Unlock()
	if post == nil { // a command without a server
		return nil
	}
	return post.SetApprovers(ctx, keys)
}

// Enroll adds an approver, for accounts or groups.
func (a *Approvers) Enroll(ctx context.Context, one Approver) (Approver, error) {
	if !nkeys.IsValidPublicUserKey(one.Key) {
		return one, ErrWrongKey
	}
	all, err := a.List(ctx)
	if err != nil {
		return one, err
	}
	if len(all) >= maxApprovers || slices.ContainsFunc(all, func(other Approver) bool { return other.Name == one.Name || other.Key == one.Key }) {
		return one, fmt.Errorf("%s: %w", one.Name, ErrEnrolled)
	}
	one.Enrolled = a.now().UTC()
	value, err := json.Marshal(one)
	if err != nil {
		return one, err
	}
	entry, err := a.outbox.Entry(one.event(events.ApproverEnrolledType))
	if err != nil {
		return one, err
	}
	if _, err := a.store.Put(ctx, bucket, one.Name, value, 0, entry); err != nil {
		return one, fmt.Errorf("approver %s: %w", one.Name, err)
	}
	a.outbox.Wake()
	return one, a.share(ctx)
}

// Revoke removes an approver: what it decides from now on does not count.
func (a *Approvers) Revoke(ctx context.Context, name string) (Approver, error) {
	stored, err := a.store.Get(ctx, bucket, name)
	if errors.Is(err, state.ErrNotFound) {
		return Approver{}, fmt.Errorf("%s: %w", name, ErrUnknown)
	}
	if err != nil {
		return Approver{}, err
	}
	var one Approver
	_ = json.Unmarshal(stored.Value, &one) // a damaged one can be revoked too
	one.Name = name
	entry, err := a.outbox.Entry(one.event(events.ApproverRevokedType))
	if err != nil {
		return one, err
	}
	if err := a.store.Delete(ctx, bucket, name, stored.Revision, entry); err != nil {
		return one, fmt.Errorf("approver %s: %w", name, err)
	}
	a.outbox.Wake()
	return one, a.share(ctx)
}

// List shows the approvers, by name. A record that can't be read is left out: its key does not count.
func (a *Approvers) List(ctx context.Context) ([]Approver, error) {
	records, err := a.store.List(ctx, bucket, "", maxApprovers)
	if err != nil {
		return nil, fmt.Errorf("list approvers: %w", err)
	}
	all := []Approver{}
	for _, r := range records {
		var one Approver
		if err := json.Unmarshal(r.Value, &one); err != nil || one.Name != r.Key {
			a.log.Error("approver can't be read, and does not count", "name", r.Key)
			continue
		}
		all = append(all, one)
	}
	return all, nil
}

// Asked is whom approvers are asked about.
type Asked struct {
	User, Service, Peer, Prompt string
	Groups                      []string
	Expires                     time.Time
}

// Ask asks all approvers of a user, and returns the first decision that counts. ErrNobody: there are none.
func (a *Approvers) Ask(ctx context.Context, who Asked, requested func()) (approved bool, err error) {
	all, err := a.List(ctx)
	if err != nil {
		return false, err
	}
	q := &pending{user: who.User, expires: who.Expires, answer: make(chan bool, 1)}
	for _, one := range all {
		if one.decidesFor(who.User, who.Groups) {
			q.keys = append(q.keys, one.Key)
		}
	}
	a.mu.Lock()
	post := a.post
	a.mu.Unlock()
	if len(q.keys) == 0 || post == nil {
		return false, ErrNobody
	}
	id := uuid.Must(uuid.NewV7()).String()
	request, err := json.Marshal(events.ApprovalRequest{
		ID: id, Server: a.server, Name: a.name, User: who.User, Service: who.Service, Peer: who.Peer, Prompt: who.Prompt, Created: a.now().UTC(), Expires: who.Expires.UTC(),
	})
	if err != nil {
		return false, err
	}
	q.digest = events.RequestDigest(request)
	a.mu.Lock()
	a.open[id] = q
	a.mu.Unlock()
	defer a.close(ctx, id, q.keys, post)
	for _, key := range q.keys {
		if err := post.Ask(ctx, key, request); err != nil {
			return false, fmt.Errorf("ask approvers: %w", err)
		}
	}
	requested()
	select {
	case approved := <-q.answer:
		return approved, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// close forgets a request, and tells the approvers that nobody waits for it.
func (a *Approvers) close(ctx context.Context, id string, keys []string, post Post) {
	a.mu.Lock()
	delete(a.open, id)
	a.mu.Unlock()
	withdrawn, err := json.Marshal(events.ApprovalRequest{ID: id, Server: a.server, Withdrawn: true, Expires: a.now().UTC()})
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	for _, key := range keys {
		if err := post.Ask(ctx, key, withdrawn); err != nil {
			a.log.Warn("approver was not told that a request is over", "err", err)
		}
	}
}

// Decided takes a message from the subject of a key. What does not count is refused, with an event.
func (a *Approvers) Decided(ctx context.Context, key string, message []byte) {
	d, err := a.take(ctx, key, message)
	if err == nil {
		return
	}
	a.log.Warn("decision refused", "key", key, "request", d.ID, "reason", err)
	a.tell(ctx, &events.DecisionRefused{Key: key, Request: requestID(d.ID), Reason: err.(refusal).reason})
}

// refusal is why a decision does not count.
type refusal struct {
	reason events.Reason
	text   string
}

func (r refusal) Error() string { return r.text }

// requestID keeps what is no ID out of events.
func requestID(text string) string {
	if id, err := uuid.Parse(text); err == nil {
		return id.String()
	}
	return ""
}

// clockSkew is how far an approver's clock may be ahead.
const clockSkew = time.Minute

// isEnrolled reports whether a key still counts: it may have been revoked since the request was sent.
func (a *Approvers) isEnrolled(ctx context.Context, key string) bool {
	all, err := a.List(ctx)
	if err != nil {
		a.log.Error("decision can't be checked, and does not count", "key", key, "err", err)
		return false
	}
	return slices.ContainsFunc(all, func(one Approver) bool { return one.Key == key })
}

func (a *Approvers) take(ctx context.Context, key string, message []byte) (d events.Decision, err error) {
	if err := json.Unmarshal(message, &d); err != nil {
		return d, refusal{events.BadDecision, "it can't be read"}
	}
	public, err := nkeys.FromPublicKey(key)
	if err != nil || d.Key != key || public.Verify(d.SignedBytes(), d.Sig) != nil {
		return d, refusal{events.BadSignature, "its signature is not of the key on whose subject it came"}
	}
	enrolled := a.isEnrolled(ctx, key)
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.open[d.ID]
	now := a.now()
	switch {
	case d.Server != a.server:
		return d, refusal{events.OtherRequest, "it is for another server"}
	case q == nil:
		return d, refusal{events.TooLate, "there is no such request any more"}
	case !enrolled, !slices.Contains(q.keys, key):
		return d, refusal{events.NotEnrolled, "its key does not decide for this user"}
	case d.Digest != q.digest:
		return d, refusal{events.OtherRequest, "it is about another request than the one that was sent"}
	case now.After(q.expires), d.Time.After(now.Add(clockSkew)):
		return d, refusal{events.TooLate, "it came too late, or its time is in the future"}
	case q.decided:
		return d, refusal{events.DecidedTwice, "the request was decided already"}
	}
	q.decided = true
	q.answer <- d.Approve
	return d, nil
}
