// Package auth decides one login: which methods are asked, in which order, and what their
// verdicts come to. It knows no FTP, no WebAssembly and no NATS.
//
// Start at [Authority.Login]; the chain rules are in chain.go.
package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/approval"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// Attempt is one login try.
type Attempt struct {
	ID       string // joins the events of this login; made by Login
	Service  string
	Chain    Chain  // the service's methods, in order
	Typed    string // the name as the client sent it
	User     string // canonical; made by Login
	Password secret.Text
	Peer     netip.AddrPort // not valid for a trial
	TLS      string         // such as "TLS 1.3"
	// Certificate is what the client showed in the handshake, and has the key of; nil: none.
	Certificate *Certificate
	Timeout     time.Duration // for the whole login
	// Trial marks a try by an administrator's command: it is not counted, and not delayed.
	Trial bool
	// Code is the one-time code that was split off the password.
	Code string
	// First is what the first factor gave, for a second one.
	First *Grant
	// Request is what a second factor tells of the person that it asks; nil: nobody wants to know.
	Request approval.Request
	// Prepare opens what the session needs, such as the home folder, before the login counts as
	// accepted. Its error refuses the login.
	Prepare func(Grant) error
}

// Certificate is that of a client: issued by a trusted authority, not expired, not revoked.
type Certificate struct {
	Subject, Issuer string   // RFC 2253
	Serial, SHA256  string   // hexadecimal
	Names           []string // such as "cn:alice", "email:alice@example.org", "dns:..." and "uri:..."
	Expires         time.Time
}

// proof is what the client proves with who it is. Only attempts with the same proof are equal.
// The digest has a fixed length, so that no password looks like one with a certificate.
func (a Attempt) proof() secret.Text {
	if a.Certificate == nil {
		return secret.New("password " + a.Password.Reveal())
	}
	return secret.New("certificate " + a.Certificate.SHA256 + " " + a.Password.Reveal())
}

// Chain gives the methods of a service as they are now. They can be asked until release is called,
// even if others take their place meanwhile.
type Chain func() (steps []Step, release func())

// Fixed is a chain that never changes.
func Fixed(steps ...Step) Chain {
	return func() ([]Step, func()) { return steps, func() {} }
}

// Step is one method's place in a chain.
type Step struct {
	ID      string
	Method  Method
	Timeout time.Duration
	// NextOnReject and NextOnFailure soften the rule that such a verdict ends the login.
	NextOnReject  bool
	NextOnFailure bool
	// SecondFactors are asked in order after this method accepted.
	SecondFactors []Step
	// Factor finds another method, for who has second factors of their own; nil: there are none.
	Factor func(id string) (Step, bool)
	// OwnCodes: among the methods that Factor finds are some that check one-time codes.
	OwnCodes bool
	// As a second factor: how long an approval is remembered, how long a request outlives the last client that
	// waited for it, and whether a request from elsewhere is waited for.
	Remember, Linger time.Duration
	Queue            bool
	Code             bool // it checks one-time codes
	Password         bool // it may see the password, or send it: without one it is not asked
	// FactorOptional lets a user in whom none of the second factors knows.
	FactorOptional bool
}

// Method answers for one attempt. It must heed the context.
type Method interface {
	Authenticate(ctx context.Context, a Attempt) Answer
}

// Verdict is what a method says. The zero value is a failure.
type Verdict int

// The verdicts.
const (
	Failed Verdict = iota
	Accepted
	Rejected
	Unknown
	skipped // a stopped method, in traces only
)

// Answer is a method's verdict with its reason, and what it knows of the user.
type Answer struct {
	Verdict    Verdict
	Reason     events.Reason
	Detail     string   // for the log and the administrator: never shown to a client
	WrongGuess bool     // the host's own account has another password, whatever the plugin makes of it
	Crashed    bool     // Failed because the method itself is broken, not what it asks
	Grant      Grant    // if Accepted
	Ignored    []string // fields that the plugin set and has no grant for
	Log        []string // what the plugin logged, if the attempt is a trial
}

// Grant is what a login gives: where to, and what may be done there.
type Grant struct {
	LoginID    string
	Method     string // the first factor, which alone says what follows
	User       string
	Own        string // the host's own account whose password was right; empty: the method did not ask for one
	MustChange bool   // the session is good for nothing but changing the password of Own
	Account    string // the host's own account that the method maps its users to; empty: none
	Groups     []string
	Email      string
	// SecondFactors are methods that are asked in place of those of the first one; one named "none" alone: none is.
	SecondFactors []string
	Attributes    map[string]string // what else the method knows of the user, such as "secsign_id"
	Home          string
	CreateHome    *bool    // make the home folder if it is not there; nil: as the group says
	Structure     []string // folders to make in a home folder that is made
	Folders       []policy.VirtualFolder
	Access        policy.Access
	Limits        policy.Limits
}

// Outcome is the end of an attempt.
type Outcome struct {
	Accepted bool
	Reason   events.Reason
	Detail   string
	Grant    Grant
	Trace    []Trace
	Took     time.Duration

	wrongGuess bool   // the method that accepts was told by the host that the password is wrong
	rejected   bool   // some method said no, whatever came after
	sharedWith string // login id of the equal attempt that was asked
}

// AskedFactor reports whether a second factor was asked: a person, perhaps, whom to ask again would annoy, or for a code that is used up.
func (o Outcome) AskedFactor() bool {
	return slices.ContainsFunc(o.Trace, func(t Trace) bool { return t.Factor })
}

// Trace is what one method said, for the administrator's "why can't she get in?".
type Trace struct {
	Method   string
	Factor   bool // asked as a second factor
	Verdict  string
	Reason   events.Reason
	Detail   string
	Ignored  []string
	Log      []string
	Duration time.Duration
}

// Recorder stores events. Store returns when the event is on disk; Note does not wait.
type Recorder interface {
	Store(ctx context.Context, e events.Payload) error
	Note(e events.Payload)
}

// Codes takes a one-time code off the end of what a user typed, if the user has codes and it is one. Nothing is used up.
type Codes interface {
	// With alone, it may be all that was typed.
	SplitCode(ctx context.Context, user string, typed secret.Text, alone bool) (rest secret.Text, code string, ok bool, err error)
}

// Homes turns what a method granted into a session's home and permissions.
type Homes interface {
	Complete(Grant) (Grant, error)
}

// Options are what an Authority needs.
type Options struct {
	Name     string // of the server, for events
	Recorder Recorder
	Attempts *policy.Attempts
	Homes    Homes
	Codes    Codes // nil: nobody has any
	// Passwords changes passwords of the host's own accounts; nil: nobody can.
	Passwords Passwords
	Approvals approval.Limits
	// Refused hears each refusal, also of those that are summed up in one event; nil: nobody does.
	Refused     func(e *events.LoginRefused)
	Unrecorded  bool // let users in although the event of it can't be stored
	NameUnknown bool // put the names of unknown users into events
	Log         *slog.Logger
}

// Authority decides logins.
type Authority struct {
	Options
	breakers breakers
	refusals refusals
	desk     *approval.Desk[asked]

	mu      sync.Mutex
	flights map[flightKey]*flight
	stopped map[string]bool // methods that the administrator stopped
	closing bool
}

// Input that is longer can't be right and is not looked at.
const maxPassword = 1024

// replyGrid is the step on which refusals are answered, so that their time says nothing.
const replyGrid = time.Second

// publishTimeout is how long a login waits for its event to be stored.
const publishTimeout = 5 * time.Second

// New makes an Authority.
func New(o Options) *Authority {
	return &Authority{
		Options: o, refusals: refusals{sources: map[string]*refusalSum{}, accounts: map[string]int{}}, flights: map[flightKey]*flight{}, stopped: map[string]bool{},
		desk: approval.New[asked](approval.Options{Limits: o.Approvals, Store: o.Recorder.Store, Log: o.Log, Now: time.Now}),
	}
}

// ErrTooManySessions is what Prepare returns if the user has as many sessions as one may have.
var ErrTooManySessions = errors.New("the user has as many sessions as max_sessions_per_account allows")

// Login decides one attempt. When it returns an accepted outcome, its event is on disk. A
// refusal is returned on a grid of one second, unless the attempt is a trial or its context ended.
func (a *Authority) Login(ctx context.Context, attempt Attempt) Outcome {
	start := time.Now()
	attempt.ID = uuid.Must(uuid.NewV7()).String()
	out := a.decide(ctx, &attempt, start)
	out.Took = time.Since(start)
	if !out.Accepted {
		a.refuse(ctx, attempt, out)
		if !attempt.Trial {
			waitGrid(ctx, start)
		}
	}
	return out
}

// decide runs the whole attempt; the event of an acceptance is part of it.
func (a *Authority) decide(ctx context.Context, attempt *Attempt, start time.Time) Outcome {
	ctx, cancel := context.WithTimeout(ctx, attempt.Timeout)
	defer cancel()
	if a.isClosing() {
		return Outcome{Reason: events.ShuttingDown}
	}
	reason, detail := admit(attempt)
	if attempt.Trial {
		return a.decideTrial(ctx, *attempt, reason, detail, start)
	}
	r, refused := a.reserve(ctx, *attempt) // what is no name counts too: for its source
	if r == nil {
		return refused
	}
	counted := policy.NotCounted
	defer func() { r.Settle(counted) }() // also when what follows panics: a place must not stay taken
	out := Outcome{Reason: reason, Detail: detail}
	if reason == "" {
		out = a.askShared(ctx, *attempt, r)
	}
	if out.Accepted {
		out = a.accept(ctx, *attempt, out, start)
	}
	counted = counts(out)
	return out
}

// decideTrial is decide without the budgets. It sees a lock all the same.
func (a *Authority) decideTrial(ctx context.Context, attempt Attempt, reason events.Reason, detail string, start time.Time) Outcome {
	if reason != "" {
		return Outcome{Reason: reason, Detail: detail}
	}
	if until, locked := a.Attempts.Until(attempt.User); locked {
		return Outcome{Reason: events.AccountLocked, Detail: "until " + until.Format(time.RFC3339)}
	}
	out := a.ask(ctx, attempt)
	if out.Accepted {
		out = a.accept(ctx, attempt, out, start)
	}
	return out
}

func (a *Authority) isClosing() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closing
}

// admit refuses what no method needs to see, and makes the canonical name.
func admit(attempt *Attempt) (events.Reason, string) {
	switch {
	case len(attempt.Typed) > policy.MaximumName || len(attempt.Password.Reveal()) > maxPassword:
		return events.InputTooLong, ""
	case attempt.Password.Empty() && attempt.Certificate == nil:
		return events.EmptyPassword, "no method is asked with an empty password, and the client showed no certificate"
	}
	user, err := policy.Username(attempt.Typed)
	if err != nil {
		return events.BadName, err.Error()
	}
	attempt.User = user
	return "", ""
}

// reserve takes a place in the budgets of wrong tries.
func (a *Authority) reserve(ctx context.Context, attempt Attempt) (_ *policy.Reservation, refused Outcome) {
	r, err := a.Attempts.Reserve(ctx, policy.Try{Account: attempt.User, Source: attempt.Peer.Addr(), Password: attempt.proof()})
	var full *policy.Refused
	switch {
	case errors.As(err, &full):
		out := Outcome{Reason: full.Reason, Detail: full.Error()}
		if full.Known {
			out.Grant.User = attempt.User
		}
		return nil, out
	case err != nil:
		return nil, Outcome{Reason: endReason(ctx), Detail: "while waiting for other attempts: " + err.Error()}
	}
	return r, Outcome{}
}

// accept makes the session possible and stores the event; only then the login is accepted.
func (a *Authority) accept(ctx context.Context, attempt Attempt, out Outcome, start time.Time) Outcome {
	refuse := func(reason events.Reason, detail string) Outcome {
		out.Accepted, out.Reason, out.Detail = false, reason, detail
		return out
	}
	grant, err := a.Homes.Complete(out.Grant)
	if err != nil {
		return refuse(events.HomeUnavailable, err.Error())
	}
	out.Grant = grant
	if attempt.Prepare != nil {
		if err := attempt.Prepare(grant); errors.Is(err, ErrTooManySessions) {
			return refuse(events.TooManySessions, err.Error())
		} else if err != nil {
			return refuse(events.HomeUnavailable, err.Error())
		}
	}
	event := &events.LoginAccepted{
		Login:      login(attempt, true),
		Method:     grant.Method,
		Account:    grant.Account,
		Factors:    factors(out.Trace),
		Groups:     grant.Groups,
		TLS:        attempt.TLS,
		SharedWith: out.sharedWith,
		DurationMS: time.Since(start).Milliseconds(),
	}
	if attempt.Certificate != nil {
		event.Certificate, event.CertificateSHA256 = attempt.Certificate.Subject, attempt.Certificate.SHA256
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	switch err := a.Recorder.Store(ctx, event); {
	case err != nil && a.Unrecorded:
		a.Log.Error("accepted login not stored", "login", attempt.ID, "user", attempt.User, "peer", event.Peer, "err", err)
	case err != nil:
		return refuse(events.EventNotStored, err.Error())
	}
	return out
}

// refuse records why. The event is stored too, but a refusal does not depend on it.
func (a *Authority) refuse(ctx context.Context, attempt Attempt, out Outcome) {
	event := &events.LoginRefused{
		Login:      login(attempt, out.Grant.User != "" || a.NameUnknown || attempt.Trial),
		Reason:     out.Reason,
		Method:     out.Grant.Method,
		SharedWith: out.sharedWith,
		DurationMS: out.Took.Milliseconds(),
	}
	if a.Refused != nil && !attempt.Trial {
		a.Refused(event)
	}
	if !a.hasOwnEvent(ctx, attempt, out) {
		return
	}
	a.Log.Info("login refused", "login", attempt.ID, "service", attempt.Service, "peer", event.Peer,
		"user", event.User, "reason", out.Reason, "method", event.Method, "detail", out.Detail)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	if err := a.Recorder.Store(ctx, event); err != nil {
		a.Log.Error("refusal not stored", "login", attempt.ID, "err", err)
	}
}

// counts says what an outcome does to the budgets of wrong tries: a method that failed counts
// for nobody, hanging up before the verdict counts as wrong.
func counts(out Outcome) policy.Outcome {
	if out.Accepted && !out.wrongGuess {
		return policy.Succeeded
	}
	if out.rejected || out.wrongGuess {
		return policy.Failed
	}
	switch out.Reason {
	case events.UnknownUser, events.BadName, events.EmptyPassword, events.InputTooLong:
		return policy.FailedUnknown
	case events.MethodFailed, events.TimedOut, events.Overloaded, events.EventNotStored, events.HomeUnavailable, events.TooManySessions,
		events.ApproverBusy, events.ApprovalsPaused, events.TooManyApprovals,
		events.AccountDamaged, events.ShuttingDown, events.NoMethod, events.InternalError, events.MethodOverLimits, events.MethodBroken:
		return policy.NotCounted
	}
	return policy.Failed
}

// Finish stores what is not stored yet, when no login is under way any more.
func (a *Authority) Finish(ctx context.Context) { a.refusals.endAll(a.tellSum(ctx)) }

// Close refuses every login from now on, and takes back what people are being asked. Other logins under way go on.
func (a *Authority) Close() {
	a.mu.Lock()
	a.closing = true
	a.mu.Unlock()
	a.desk.Close()
}

// SetStopped stops or starts a method; a stopped one is skipped. It lasts until the program ends.
func (a *Authority) SetStopped(method string, stopped bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped[method] = stopped
}

// Stopped reports whether the method was stopped.
func (a *Authority) Stopped(method string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stopped[method]
}

func login(attempt Attempt, named bool) events.Login {
	l := events.Login{LoginID: attempt.ID, Service: attempt.Service, Trial: attempt.Trial}
	if named {
		l.User = attempt.User
	}
	if attempt.Peer.IsValid() {
		l.Peer = attempt.Peer.String()
	}
	return l
}

func factors(traces []Trace) (methods []string) {
	for _, t := range traces {
		if t.Factor && t.Verdict == Accepted.String() {
			methods = append(methods, t.Method)
		}
	}
	return methods
}

// endReason says why a context ended: the time was up, or the client was gone.
func endReason(ctx context.Context) events.Reason {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return events.TimedOut
	}
	return events.ClientLeft
}

// waitGrid waits for the next whole step since start.
func waitGrid(ctx context.Context, start time.Time) {
	elapsed := time.Since(start)
	timer := time.NewTimer((elapsed/replyGrid+1)*replyGrid - elapsed)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
