package auth

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

// A stranger can make a server refuse hundreds of logins a second. If each were stored, the events that matter would go
// before their time. So within a minute only the first refusals of a source have an event of their own, and only so many of
// all sources together; the others are summed up in one event. RATIONALE.md, "Why is not every refusal an event?".
const (
	refusalWindow    = time.Minute
	refusalsOfSource = 20
	refusalsOfAll    = 600
	refusalSources   = 1024 // that are counted apart
	refusalAccounts  = 10   // named in a sum
)

// refusals counts those of the minute.
type refusals struct {
	mu      sync.Mutex
	sources map[string]*refusalSum
	started time.Time // of the minute for all
	told    int       // in it
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
		r.started, r.told = now, 0
	}
	s := r.sources[source]
	if s == nil && (len(r.sources) >= refusalSources || r.told >= refusalsOfAll) {
		source = "" // those are summed up together
		s = r.sources[source]
	}
	if s == nil {
		s = &refusalSum{Refusals: events.Refusals{Source: source, Reasons: map[events.Reason]int{}, From: now.UTC()}}
		r.sources[source] = s
		time.AfterFunc(refusalWindow, func() { r.end(source, s, flush) })
	}
	if source != "" && s.told < refusalsOfSource && r.told < refusalsOfAll {
		s.told++
		r.told++
		return true
	}
	s.Count++
	s.Reasons[reason]++
	if known != "" && len(s.Accounts) < refusalAccounts && !slices.Contains(s.Accounts, known) {
		s.Accounts = append(s.Accounts, known)
	}
	s.Until = now.UTC()
	return false
}

// end is the end of a source's minute.
func (r *refusals) end(source string, s *refusalSum, flush func(*events.Refusals)) {
	r.mu.Lock()
	mine := r.sources[source] == s
	if mine {
		delete(r.sources, source)
	}
	r.mu.Unlock()
	if mine && s.Count > 0 {
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
