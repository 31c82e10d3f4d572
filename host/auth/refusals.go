package auth

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

// A stranger can make a server refuse hundreds of logins a second. So within a minute only the first refusals of a source, and the
// first of a known account, have an event of their own, and only so many of all together; the others are summed up in one event for
// each source. RATIONALE.md, "Why is not every refusal an event?".
const (
	refusalWindow     = time.Minute
	refusalsOfSource  = 20
	refusalsOfAccount = 3
	refusalsOfAll     = 600
	refusalSources    = 1024 // that are counted apart, and as many accounts
	refusalAccounts   = 10   // named in a sum
)

// refusals counts those of the minute.
type refusals struct {
	flushing sync.WaitGroup

	mu       sync.Mutex
	sources  map[string]*refusalSum
	started  time.Time // of the minute for all
	told     int       // in it
	accounts map[string]int
}

// refusalSum are the refusals of one source in its minute.
type refusalSum struct {
	told int
	events.Refusals
}

// take counts a refusal, and reports whether it has an event of its own. When the minute of a source with more is over,
// flush gets their sum.
func (r *refusals) take(source string, known string, reason events.Reason, now time.Time, flush func(*events.Refusals)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.started) >= refusalWindow {
		r.started, r.told, r.accounts = now, 0, map[string]int{}
	}
	s := r.sum(source, now, flush)
	switch n, counted := r.accounts[known]; {
	case s.Source != "" && s.told < refusalsOfSource && r.told < refusalsOfAll:
		s.told++
		r.told++
		if known != "" {
			r.accounts[known]++
		}
		return true
	case known != "" && n < refusalsOfAccount && (counted || len(r.accounts) < refusalSources) && s.told < refusalsOfSource: // whatever others do meanwhile
		s.told++
		r.accounts[known]++
		return true
	}
	s.Count++
	s.Reasons[reason]++
	switch {
	case known == "" || slices.Contains(s.Accounts, known):
	case len(s.Accounts) < refusalAccounts:
		s.Accounts = append(s.Accounts, known)
	default:
		s.MoreAccounts++
	}
	s.Until = now.UTC()
	return false
}

// sum is that of a source; when there are too many sources, one of all the others.
func (r *refusals) sum(source string, now time.Time, flush func(*events.Refusals)) *refusalSum {
	if r.sources[source] == nil && len(r.sources) >= refusalSources {
		source = ""
	}
	s := r.sources[source]
	if s == nil {
		s = &refusalSum{Refusals: events.Refusals{Source: source, Reasons: map[events.Reason]int{}, From: now.UTC()}}
		r.sources[source] = s
		time.AfterFunc(refusalWindow, func() { r.end(source, s, flush) })
	}
	return s
}

// end is the end of a source's minute.
func (r *refusals) end(source string, s *refusalSum, flush func(*events.Refusals)) {
	r.mu.Lock()
	mine := r.sources[source] == s
	if mine {
		delete(r.sources, source)
		r.flushing.Add(1)
	}
	r.mu.Unlock()
	if !mine {
		return
	}
	defer r.flushing.Done()
	if s.Count > 0 {
		flush(&s.Refusals)
	}
}

// endAll ends all minutes.
func (r *refusals) endAll(flush func(*events.Refusals)) {
	r.mu.Lock()
	all := r.sources
	r.sources = map[string]*refusalSum{}
	r.mu.Unlock()
	for _, s := range all {
		if s.Count > 0 {
			flush(&s.Refusals)
		}
	}
	r.flushing.Wait()
}

// tellSum stores a sum.
func (a *Authority) tellSum(ctx context.Context) func(*events.Refusals) {
	ctx = context.WithoutCancel(ctx)
	return func(sum *events.Refusals) {
		slices.Sort(sum.Accounts)
		a.Log.Info("logins refused", "source", sum.Source, "count", sum.Count, "reasons", sum.Reasons, "accounts", sum.Accounts)
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		if err := a.Recorder.Store(ctx, sum); err != nil {
			a.Log.Error("sum of refusals not stored", "source", sum.Source, "count", sum.Count, "err", err)
		}
	}
}

// hasOwnEvent reports whether a refusal is told by itself. An administrator's trials are.
func (a *Authority) hasOwnEvent(ctx context.Context, attempt Attempt, out Outcome) bool {
	return attempt.Trial || a.refusals.take(policy.SourceKey(attempt.Peer.Addr()), out.Grant.User, out.Reason, time.Now(), a.tellSum(ctx))
}
