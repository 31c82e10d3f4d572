package auth

import (
	"context"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

// flight is one walk through the chain that equal attempts (name, password, source, service) share:
// a client with ten connections, or a stranger with a thousand, costs one.
type flight struct {
	key     flightKey
	leader  string // login id of the attempt that is asked for
	waiting int    // guarded by Authority.mu
	cancel  context.CancelCauseFunc
	done    chan struct{}
	out     Outcome
}

// flightKey: equal attempts have one reservation.
type flightKey struct {
	reservation *policy.Reservation
	service     string
}

// askShared asks the chain, or waits for the answer that an equal attempt is already waiting for.
// The chain is given up when the last of them has left.
func (a *Authority) askShared(ctx context.Context, attempt Attempt, r *policy.Reservation) Outcome {
	f := a.board(ctx, attempt, flightKey{r, attempt.Service})
	select {
	case <-f.done:
	case <-ctx.Done():
		if !a.leave(ctx, f) {
			return Outcome{Reason: endReason(ctx), Detail: context.Cause(ctx).Error()}
		}
		<-f.done // it heeds its context, and knows best how far it got
	}
	out := f.out
	if out.Accepted {
		out.Grant.LoginID = attempt.ID
	}
	if f.leader != attempt.ID {
		out.sharedWith = f.leader
	}
	return out
}

func (a *Authority) board(ctx context.Context, attempt Attempt, key flightKey) *flight {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.flights[key]; f != nil {
		f.waiting++
		return f
	}
	flightCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	f := &flight{key: key, leader: attempt.ID, waiting: 1, cancel: cancel, done: make(chan struct{})}
	a.flights[key] = f
	go func() {
		limited, stop := context.WithTimeout(flightCtx, attempt.Timeout)
		f.out = a.ask(limited, attempt)
		stop()
		cancel(nil)
		a.mu.Lock()
		a.land(f)
		a.mu.Unlock()
		close(f.done)
	}()
	return f
}

// leave reports whether nobody waits any more; then the flight is cancelled.
func (a *Authority) leave(ctx context.Context, f *flight) (last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.waiting--; f.waiting > 0 {
		return false
	}
	a.land(f) // nobody may board it any more
	f.cancel(context.Cause(ctx))
	return true
}

// land is called with the lock.
func (a *Authority) land(f *flight) {
	if a.flights[f.key] == f {
		delete(a.flights, f.key)
	}
}
