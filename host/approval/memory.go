package approval

import (
	"net/netip"
	"slices"
	"time"

	"github.com/sallyport-ftps/sallyport/host/secret"
)

// isRemembered reports whether the same was approved a moment ago, or a session that it was approved for is still
// open: a client opens its connections one after the other. It is called with the lock.
func (d *Desk[T]) isRemembered(k key, q Question, now time.Time) bool {
	m := d.remembered[k]
	if m == nil || q.Remember <= 0 {
		return false
	}
	if now.Before(m.until) || d.sessions[placeOf(m.q)] > 0 {
		return true
	}
	delete(d.remembered, k)
	return false
}

func placeOf(q Question) place { return place{q.First, q.Login.User, q.Source} }

// remember is called with the lock. The time is fixed from the approval.
func (d *Desk[T]) remember(k key, q Question) {
	now := d.options.Now()
	if len(d.remembered) >= maxRemembered {
		for k, m := range d.remembered {
			if !now.Before(m.until) && d.sessions[placeOf(m.q)] == 0 {
				delete(d.remembered, k)
			}
		}
		if len(d.remembered) >= maxRemembered {
			return // the next one is asked again
		}
	}
	q.Password = secret.Text{}
	d.remembered[k] = &memory{id: newID(), q: q, approved: now, until: now.Add(q.Remember)}
}

// Session notes that somebody has a session. End it when that closes.
func (d *Desk[T]) Session(first, user string, source netip.Addr) (end func()) {
	at := place{first, user, source}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions[at]++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.sessions[at]--; d.sessions[at] <= 0 {
			delete(d.sessions, at)
		}
	}
}

// Entry is a request that is open, or an approval that is remembered.
type Entry struct {
	ID      string
	State   string // requested and so on; "asking" before; or "remembered"
	User    string
	First   string
	Factor  string
	Source  netip.Addr
	Since   time.Time
	Until   time.Time // remembered so long at least; zero for an open request
	Waiting int       // logins that wait for it
	Session bool      // remembered as long as a session is open too
}

// List shows what is open and what is remembered, the oldest first.
func (d *Desk[T]) List() []Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := []Entry{}
	entry := func(id string, q Question, since time.Time) Entry {
		return Entry{ID: id, User: q.Login.User, First: q.First, Factor: q.Factor, Source: q.Source, Since: since}
	}
	for _, r := range d.requests {
		e := entry(r.id, r.q, r.since)
		e.State, e.Waiting = r.life.current(), r.waiting
		all = append(all, e)
	}
	now := d.options.Now()
	for _, m := range d.remembered {
		e := entry(m.id, m.q, m.approved)
		e.State, e.Until, e.Session = "remembered", m.until, d.sessions[placeOf(m.q)] > 0
		if e.Session || now.Before(m.until) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b Entry) int { return a.Since.Compare(b.Since) })
	return all
}

func (l *life) current() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == "" {
		return "asking"
	}
	return string(l.state)
}

// Revoke takes back what has the ID, or all of a user: open requests are cancelled, approvals forgotten.
func (d *Desk[T]) Revoke(idOrUser string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.requests {
		if r.id == idOrUser || r.q.Login.User == idOrUser {
			r.cancel(errRevoked)
			n++
		}
	}
	for k, m := range d.remembered {
		if m.id == idOrUser || m.q.Login.User == idOrUser {
			delete(d.remembered, k)
			n++
		}
	}
	return n
}

// ForgetAll forgets what was approved: it may have been by somebody who does not count any more.
func (d *Desk[T]) ForgetAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.remembered)
}

// ForgetFactor forgets what a factor approved: it has changed.
func (d *Desk[T]) ForgetFactor(factor string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, m := range d.remembered {
		if m.q.Factor == factor {
			delete(d.remembered, k)
		}
	}
}
