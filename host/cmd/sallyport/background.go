package main

import (
	"context"
	"time"

	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/state"
)

// background runs f until the app closes, which waits for its end.
func (a *app) background(ctx context.Context, f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	a.closers = append(a.closers, func() { cancel(); <-done })
}

// warnOfEnds tells of accounts and passwords that expire soon, each once.
func (a *app) warnOfEnds(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if _, err := a.accounts.Warn(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("nobody is warned that accounts expire", "err", err)
		}
		if err := a.accounts.Survey(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("unknown names may be told from others by time", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// openAttempts takes the counters of wrong logins over from the last run, and keeps them for the next.
func (a *app) openAttempts(ctx context.Context) (*policy.Attempts, error) {
	keeper := &attemptsKeeper{store: a.store, outbox: a.outbox, revisions: map[string]state.Revision{}}
	attempts := policy.NewAttempts(a.config().Attempts, time.Now)
	if err := attempts.Restore(ctx, keeper); err != nil {
		return nil, err
	}
	a.background(ctx, func(ctx context.Context) {
		attempts.Run(ctx, keeper, func(err error) { a.log.Error("wrong logins are counted in memory only", "err", err) })
	})
	return attempts, nil
}

// publishChanges stores the events of changes, also of those that were made while no server ran.
func (a *app) publishChanges(ctx context.Context) {
	a.outbox.Run(ctx, recorder{a.bus, a.metrics}.Publish, a.log)
}
