// Package approval runs second factors, which may take a person's time: one request for a person at a time,
// shared by equal logins, remembered for a while, limited in number, and taken back when nobody waits.
//
// Start at [Desk.Ask]. What a request goes through, and the event of each step, is in life.go; it knows
// neither plugins nor methods.
package approval

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// Limits bound how often people are asked.
type Limits struct {
	PerPerson int           // requests to one person within Window; 0: as many as they are
	Window    time.Duration // over which they are counted
	Pause     time.Duration // after a denial, in which the person is not asked again
}

// Options are what a Desk needs.
type Options struct {
	Limits Limits
	// Store keeps an event; it returns when that is on disk.
	Store func(ctx context.Context, e events.Payload) error
	Log   *slog.Logger
	Now   func() time.Time
}

// Question asks for a second factor of a login whose first factor was right.
type Question struct {
	Login    events.Login // of the login that asks
	Factor   string       // ID of the method that is the second factor
	First    string       // ID of the method that was the first; with the user it is who it is
	Source   netip.Addr   // where the client is
	Password secret.Text  // that the first factor found right
	Remember time.Duration
	Linger   time.Duration
	Parallel bool // nobody is asked, a code is compared: several may be at once
	Queue    bool // a request from elsewhere is waited for; else this one is refused
}

// Decision is what a second factor says.
type Decision int

// The decisions. The zero value never lets anybody in.
const (
	Failed Decision = iota
	Accepted
	Rejected
	Expire // its time was up
)

// Run asks the factor once, for all who wait for it. It is done when nothing of the request is left, also not outside.
type Run[T any] func(ctx context.Context, r Request) (T, Decision)

// Request is a factor that is being asked, as the factor sees it.
type Request interface {
	// Tell hears each change of a request that a person answers.
	Tell(state State)
	// Claim says whom the request goes to, by the name that the person has elsewhere, before it is sent: two users may
	// be one person there. The error is a [BusyError], or the context's.
	Claim(ctx context.Context, name string) error
}

// BusyError says why a person is not asked now.
type BusyError struct{ Reason events.Reason }

// Error implements error.
func (e *BusyError) Error() string { return "the person is not asked now: " + string(e.Reason) }

// Answer is what became of a question.
type Answer[T any] struct {
	Value      T
	Asked      bool          // Value is there: the factor said it
	Remembered bool          // it was approved a moment ago, and nobody was asked
	Reason     events.Reason // why nobody was asked, or the answer does not count
}

// Errors that a request's context ends with.
var (
	errNobodyWaits = errors.New("nobody waits for the answer any more")
	errShutdown    = errors.New("the server is shutting down")
	errRevoked     = errors.New("an administrator took the request back")
)

// maxRemembered bounds how many approvals are remembered.
const maxRemembered = 100_000

// Desk runs second factors. T is what a factor answers.
type Desk[T any] struct {
	options Options
	secret  [32]byte // keys what is remembered; it is not on disk

	mu         sync.Mutex
	requests   map[key]*request[T]
	people     map[person]*record[T]
	crowd      int // so many people, and those of whom nothing is known are forgotten
	remembered map[key]*memory
	sessions   map[place]int
	closing    bool
	running    sync.WaitGroup
}

// key is who asks for what from where with which password: equal questions have equal keys.
type key [sha256.Size]byte

// person is whom a factor asks: the user, whichever method was the first factor; or, without a factor, the name that
// was claimed.
type person struct{ factor, user string }

// place is where somebody has sessions.
type place struct {
	first, user string
	source      netip.Addr
}

// request is a factor that is being asked.
type request[T any] struct {
	id      string
	q       Question
	since   time.Time
	waiting int // guarded by Desk.mu
	linger  *time.Timer
	cancel  context.CancelCauseFunc
	life    *life
	people  []*record[T] // whom it asks: the user, and who they are elsewhere; guarded by Desk.mu
	done    chan struct{}
	answer  Answer[T]
}

// record is what is known of a person.
type record[T any] struct {
	open   *request[T]
	asked  []time.Time // requests within the window
	paused time.Time   // not asked before
}

// memory is an approval that counts for a while.
type memory struct {
	id       string
	q        Question
	approved time.Time
	until    time.Time
}

// New makes a Desk.
func New[T any](o Options) *Desk[T] {
	d := &Desk[T]{
		options: o, requests: map[key]*request[T]{}, people: map[person]*record[T]{}, remembered: map[key]*memory{}, sessions: map[place]int{},
	}
	_, _ = rand.Read(d.secret[:])
	return d
}

// SetLimits changes the limits from now on.
func (d *Desk[T]) SetLimits(l Limits) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.options.Limits = l
}

// Ask answers a question: from memory, from an equal one that is already open, or by asking. It returns early when
// the context ends; the request then goes on for Linger, and whoever comes back meanwhile joins it.
func (d *Desk[T]) Ask(ctx context.Context, q Question, run Run[T]) Answer[T] {
	k := d.key(q)
	for {
		r, other, refused := d.board(ctx, k, q, run)
		switch {
		case refused.Remembered:
			d.store(ctx, &events.Approval{Login: q.Login, State: events.ApprovalRememberedType, Factor: q.Factor})
			return refused
		case refused.Reason != "":
			return refused
		case r != nil:
			return d.wait(ctx, r)
		}
		select { // until the person is free
		case <-other.done:
		case <-ctx.Done():
			return Answer[T]{Reason: events.ClientLeft}
		}
	}
}

// board joins or begins a request. Other is one that must end first.
func (d *Desk[T]) board(ctx context.Context, k key, q Question, run Run[T]) (r, other *request[T], refused Answer[T]) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.options.Now()
	if d.closing {
		return nil, nil, Answer[T]{Reason: events.ShuttingDown}
	}
	if d.isRemembered(k, q, now) {
		return nil, nil, Answer[T]{Remembered: true}
	}
	if r := d.requests[k]; r != nil {
		if r.waiting++; r.linger != nil {
			r.linger.Stop()
			r.linger = nil
		}
		return r, nil, refused
	}
	p := d.person(person{q.Factor, q.Login.User}, now)
	if !q.Parallel {
		if other, refused.Reason = d.mayAsk(p, q.Queue, now); other != nil || refused.Reason != "" {
			return nil, other, refused
		}
	}
	return d.begin(ctx, k, q, run, p), nil, refused
}

// mayAsk says which request must end before the person is asked, or why they are not.
func (d *Desk[T]) mayAsk(p *record[T], queue bool, now time.Time) (other *request[T], why events.Reason) {
	switch {
	case p.open != nil && queue:
		return p.open, ""
	case p.open != nil:
		return nil, events.ApproverBusy
	case now.Before(p.paused):
		return nil, events.ApprovalsPaused
	case d.options.Limits.PerPerson > 0 && len(p.asked) >= d.options.Limits.PerPerson:
		return nil, events.TooManyApprovals
	}
	return nil, ""
}

// person forgets what is too long ago.
func (d *Desk[T]) person(who person, now time.Time) *record[T] {
	p := d.people[who]
	if p == nil {
		d.forgetPeople(now)
		p = &record[T]{}
		d.people[who] = p
	}
	for len(p.asked) > 0 && now.Sub(p.asked[0]) >= d.options.Limits.Window {
		p.asked = p.asked[1:]
	}
	return p
}

// forgetPeople keeps those of whom something is known.
func (d *Desk[T]) forgetPeople(now time.Time) {
	if len(d.people) < d.crowd {
		return
	}
	for who, p := range d.people {
		idle := len(p.asked) == 0 || now.Sub(p.asked[len(p.asked)-1]) >= d.options.Limits.Window
		if p.open == nil && idle && !now.Before(p.paused) {
			delete(d.people, who)
		}
	}
	d.crowd = max(1000, 2*len(d.people)) // looking at all of them each time would cost their square
}

// begin is called with the lock. The request outlives the login that begins it.
func (d *Desk[T]) begin(ctx context.Context, k key, q Question, run Run[T], p *record[T]) *request[T] {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r := &request[T]{id: newID(), q: q, since: d.options.Now(), waiting: 1, cancel: cancel, done: make(chan struct{})}
	r.life = &life{store: func(t events.Type, reason events.Reason, after time.Duration) {
		d.store(ctx, &events.Approval{Login: q.Login, State: t, Factor: q.Factor, Reason: reason, DurationMS: after.Milliseconds()})
	}, now: d.options.Now, log: d.options.Log.With("login", q.Login.LoginID, "method", q.Factor)}
	d.requests[k] = r
	r.people = []*record[T]{p}
	if !q.Parallel {
		p.open = r
	}
	d.running.Go(func() {
		r.life.begin()
		value, decision := run(ctx, asking[T]{d, r})
		r.answer = Answer[T]{Value: value, Asked: true}
		if reason := r.life.end(decision, context.Cause(ctx)); reason != "" {
			r.answer = Answer[T]{Reason: reason}
		}
		d.finish(k, r, decision == Accepted && r.answer.Asked)
		cancel(nil)
		close(r.done)
	})
	return r
}

// asking implements [Request].
type asking[T any] struct {
	desk    *Desk[T]
	request *request[T]
}

// Tell implements [Request]. A request counts against the person when it is made.
func (a asking[T]) Tell(state State) {
	d, r := a.desk, a.request
	if !r.life.tell(state, "") {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.options.Now()
	for _, p := range r.people {
		switch state {
		case Requested:
			p.asked = append(p.asked, now)
		case Denied:
			p.paused = now.Add(d.options.Limits.Pause)
		}
	}
}

// Claim implements [Request].
func (a asking[T]) Claim(ctx context.Context, name string) error {
	for {
		other, why := a.claim(name)
		switch {
		case why != "":
			return &BusyError{why}
		case other == nil:
			return nil
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (a asking[T]) claim(name string) (other *request[T], why events.Reason) {
	d, r := a.desk, a.request
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.options.Now()
	p := d.person(person{user: name}, now)
	if p.open == r {
		return nil, ""
	}
	if other, why = d.mayAsk(p, r.q.Queue, now); other == nil && why == "" {
		p.open, r.people = r, append(r.people, p)
	}
	return other, why
}

func (d *Desk[T]) finish(k key, r *request[T], accepted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.linger != nil {
		r.linger.Stop()
	}
	delete(d.requests, k)
	for _, p := range r.people {
		if p.open == r {
			p.open = nil
		}
		if r.life.current() == string(Denied) { // also if the factor said so by its verdict only
			p.paused = d.options.Now().Add(d.options.Limits.Pause)
		}
	}
	if accepted && r.q.Remember > 0 {
		d.remember(k, r.q)
	}
}

// wait waits for the answer of a request, or leaves it.
func (d *Desk[T]) wait(ctx context.Context, r *request[T]) Answer[T] {
	select {
	case <-r.done:
		return r.answer
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.waiting--; r.waiting == 0 {
		d.lingerOn(r)
	}
	return Answer[T]{Reason: events.ClientLeft}
}

// lingerOn is called with the lock, when the last one has left: a client that gave up may come back.
func (d *Desk[T]) lingerOn(r *request[T]) {
	if r.q.Linger <= 0 || d.closing {
		r.cancel(errNobodyWaits)
		return
	}
	r.linger = time.AfterFunc(r.q.Linger, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if r.waiting == 0 {
			r.cancel(errNobodyWaits)
		}
	})
}

// Close takes all requests back, and waits until the factors have heard of it. No question is answered after it.
func (d *Desk[T]) Close() {
	d.mu.Lock()
	d.closing = true
	for _, r := range d.requests {
		r.cancel(errShutdown)
	}
	d.mu.Unlock()
	d.running.Wait()
}

func (d *Desk[T]) store(ctx context.Context, e events.Payload) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := d.options.Store(ctx, e); err != nil {
		d.options.Log.Error("event not stored", "type", e.EventType(), "err", err)
	}
}

const storeTimeout = 5 * time.Second

// key is a keyed hash: the password is in memory as long as the login, and no longer.
func (d *Desk[T]) key(q Question) (k key) {
	mac := hmac.New(sha256.New, d.secret[:])
	source := q.Source.As16()
	for _, part := range []string{q.Factor, q.First, q.Login.User, string(source[:]), q.Password.Reveal()} {
		_, _ = mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		_, _ = mac.Write([]byte(part))
	}
	mac.Sum(k[:0])
	return k
}

func newID() string { return rand.Text()[:12] }
