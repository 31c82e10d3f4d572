package auth

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

// When a method that crashes is not asked any more. RATIONALE.md, "Why is a crashing plugin held back
// for one source only?".
const (
	crashesInRow   = 5 // of one source, without a verdict in between
	failingSources = 3 // that crashed it, without a verdict for anybody in between: it is called failing
	firstPause     = 10 * time.Second
	longestPause   = 5 * time.Minute
	maxStruck      = 10_000 // sources that are remembered for a method
)

// breakers keep methods that crash again and again from being asked by the source that they crash for.
type breakers struct {
	mu      sync.Mutex
	methods map[string]*breaker
}

type breaker struct {
	sources map[string]*strikes
	since   map[string]bool // sources that crashed it since the last verdict
	failing bool            // it crashes for everybody
}

// strikes are the crashes of one source at one method.
type strikes struct {
	count int
	pause time.Duration
	until time.Time
}

func (b *breakers) of(method string) *breaker {
	if b.methods == nil {
		b.methods = map[string]*breaker{}
	}
	if b.methods[method] == nil {
		b.methods[method] = &breaker{sources: map[string]*strikes{}, since: map[string]bool{}}
	}
	return b.methods[method]
}

// open reports whether the method is not asked now, and until when. When the pause is over, one
// attempt is let through; the others wait for what comes of it.
func (b *breakers) open(method, source string, now time.Time) (until time.Time, open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.of(method).sources[source]
	if s == nil || s.count < crashesInRow {
		return time.Time{}, false
	}
	if now.Before(s.until) {
		return s.until, true
	}
	s.until = now.Add(s.pause)
	return time.Time{}, false
}

// crashed counts a crash. opened: the source is held back until then; failing: the method is called
// failing from now on.
func (b *breakers) crashed(method, source string, now time.Time) (until time.Time, opened, failing bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.of(method)
	s := m.sources[source]
	if s == nil && len(m.sources) >= maxStruck {
		maps.DeleteFunc(m.sources, func(_ string, s *strikes) bool { return !now.Before(s.until) })
		m.since = map[string]bool{}
		if len(m.sources) >= maxStruck { // all are held back already
			return time.Time{}, false, false
		}
	}
	if s == nil {
		s = &strikes{pause: firstPause / 2}
		m.sources[source] = s
	}
	m.since[source] = true
	failing = !m.failing && len(m.since) >= failingSources
	m.failing = m.failing || failing
	if s.count++; s.count >= crashesInRow {
		s.pause = min(2*s.pause, longestPause)
		s.until = now.Add(s.pause)
		opened = true
	}
	return s.until, opened, failing
}

// worked forgets the crashes of a source: the method came to a verdict. closed: the source was held
// back; mended: the method was called failing.
func (b *breakers) worked(method, source string) (closed, mended bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.methods[method]
	if m == nil {
		return false, false
	}
	s := m.sources[source]
	closed, mended = s != nil && s.count >= crashesInRow, m.failing
	delete(m.sources, source)
	m.since, m.failing = map[string]bool{}, false
	return closed, mended
}

// Failing reports whether a method crashes for everybody.
func (a *Authority) Failing(method string) bool {
	a.breakers.mu.Lock()
	defer a.breakers.mu.Unlock()
	return a.breakers.of(method).failing
}

// Forgive forgets the crashes of a method, and what it approved: another plugin is in its place.
func (a *Authority) Forgive(method string) {
	a.desk.ForgetFactor(method)
	a.breakers.mu.Lock()
	defer a.breakers.mu.Unlock()
	delete(a.breakers.methods, method)
}

// breakerSource is whose crashes count together.
func breakerSource(attempt Attempt) string {
	if attempt.Trial {
		return "trial"
	}
	return policy.SourceKey(attempt.Peer.Addr())
}

// heldBack answers for a method that is not asked now.
func (a *Authority) heldBack(attempt Attempt, method string) (Answer, bool) {
	until, open := a.breakers.open(method, breakerSource(attempt), time.Now())
	if !open {
		return Answer{}, false
	}
	return Answer{Verdict: Failed, Reason: events.MethodBroken, Detail: fmt.Sprintf("method %s crashed again and again for this source, and is not asked until %s", method, until.Format(time.RFC3339))}, true
}

// noteCrash counts what an answer says of the plugin's health, and tells if that changes anything.
func (a *Authority) noteCrash(ctx context.Context, attempt Attempt, method string, answer Answer) {
	source := breakerSource(attempt)
	switch {
	case answer.Crashed:
		until, opened, failing := a.breakers.crashed(method, source, time.Now())
		if opened {
			a.Log.Error("method crashes again and again, and is not asked for this source", "method", method, "source", source, "until", until.Format(time.RFC3339), "detail", answer.Detail)
			a.tellHealth(ctx, &events.ServerDegraded{Name: a.Name, Reason: events.MethodBroken, Method: method, Source: source, Until: until.UTC()})
		}
		if failing {
			a.Log.Error("method crashes for everybody", "method", method, "detail", answer.Detail)
			a.tellHealth(ctx, &events.ServerDegraded{Name: a.Name, Reason: events.MethodBroken, Method: method})
		}
	case answer.Verdict != Failed:
		closed, mended := a.breakers.worked(method, source)
		if closed || mended {
			a.Log.Info("method works again", "method", method, "source", source)
		}
		if closed {
			a.tellHealth(ctx, &events.ServerRestored{Name: a.Name, Method: method, Source: source})
		}
		if mended {
			a.tellHealth(ctx, &events.ServerRestored{Name: a.Name, Method: method})
		}
	}
}

func (a *Authority) tellHealth(ctx context.Context, event events.Payload) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	if err := a.Recorder.Store(ctx, event); err != nil {
		a.Log.Error("event not stored", "type", event.EventType(), "err", err)
	}
}
