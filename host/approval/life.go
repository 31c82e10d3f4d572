package approval

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
)

// State is how far a request is that a person answers.
type State string

// The states. A factor tells all but Cancelled; the words are those of sdk.ApprovalStates.
const (
	Requested State = "requested" // the other system has it
	Delivered State = "delivered" // the person's device has it
	Approved  State = "approved"
	Denied    State = "denied"
	Expired   State = "expired"
	Suspended State = "suspended" // another request for the same person came between
	Frozen    State = "frozen"    // the other system asks this person no more
	Cancelled State = "cancelled" // it was taken back
)

// next lists what may follow each state: an approval only comes after a request, and nothing comes after an end.
func next(s State) []State {
	ends := []State{Approved, Denied, Expired, Suspended, Frozen, Cancelled}
	switch s {
	case "":
		return []State{Requested, Frozen}
	case Requested:
		return append(ends, Delivered)
	case Delivered:
		return ends
	}
	return nil
}

func eventType(s State) events.Type {
	return map[State]events.Type{
		Requested: events.ApprovalRequestedType, Delivered: events.ApprovalDeliveredType, Approved: events.ApprovalApprovedType, Denied: events.ApprovalDeniedType,
		Expired: events.ApprovalExpiredType, Suspended: events.ApprovalSuspendedType, Frozen: events.ApprovalFrozenType, Cancelled: events.ApprovalCancelledType,
	}[s]
}

// life is one request as a state machine, with one event for each change. A factor that asks nobody, such as one
// that compares a code, has none.
type life struct {
	store func(t events.Type, reason events.Reason, after time.Duration)
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	state   State
	since   time.Time
	ended   bool
	changes chan change // stored in order, without holding up who tells them
	stored  chan struct{}
}

type change struct {
	state  State
	reason events.Reason
	after  time.Duration
}

// maxChanges is more than a life has.
const maxChanges = 8

func (l *life) begin() {
	l.since, l.changes, l.stored = l.now(), make(chan change, maxChanges), make(chan struct{})
	go func() {
		defer close(l.stored)
		for c := range l.changes {
			l.store(eventType(c.state), c.reason, c.after)
		}
	}()
}

// tell makes a change, if it can follow.
func (l *life) tell(s State, reason events.Reason) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return l.tellLate(s)
	}
	if !slices.Contains(next(l.state), s) {
		if s != l.state {
			l.log.Warn("the method tells a change of its request that can't be", "from", l.state, "to", s)
		}
		return false
	}
	l.change(s, reason)
	return true
}

// change is called with the lock.
func (l *life) change(s State, reason events.Reason) {
	l.state = s
	l.changes <- change{s, reason, l.now().Sub(l.since)}
}

// tellLate is for a request that was on its way when nobody waited any more: it was made, and is taken back.
func (l *life) tellLate(s State) bool {
	if s != Requested || l.state != "" {
		return false
	}
	l.state = Cancelled
	after := l.now().Sub(l.since)
	go func() {
		l.store(events.ApprovalRequestedType, "", after)
		l.store(events.ApprovalCancelledType, events.ClientLeft, after)
	}()
	return true
}

// end is the factor's own answer, and why its context ended, if it did. A reason says that the answer does
// not count. It returns when all events are stored.
func (l *life) end(d Decision, cause error) (reason events.Reason) {
	l.mu.Lock()
	switch asked := l.state == Requested || l.state == Delivered; {
	case d == Accepted && l.state != "" && l.state != Approved && !asked:
		l.log.Error("the method accepts although its request ended otherwise", "state", l.state)
		reason = events.Rejected
	case d == Accepted && asked:
		l.change(Approved, "")
	case asked && errors.Is(cause, errNobodyWaits):
		l.change(Cancelled, events.ClientLeft)
	case asked && errors.Is(cause, errShutdown):
		l.change(Cancelled, events.ShuttingDown)
	case asked && errors.Is(cause, errRevoked):
		l.change(Cancelled, events.Revoked)
	case asked && d == Rejected:
		l.change(Denied, "")
	case asked && d == Expire:
		l.change(Expired, events.TimedOut)
	case asked:
		l.change(Cancelled, events.MethodFailed)
	}
	l.ended = true
	l.mu.Unlock()
	close(l.changes)
	<-l.stored
	return reason
}
