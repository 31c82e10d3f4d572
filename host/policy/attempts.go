package policy

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// AttemptLimits say how many wrong tries are too many.
type AttemptLimits struct {
	PerAccount int           // wrong tries on one account within Window
	PerSource  int           // wrong tries from one address (IPv6: one /64) within Window
	Window     time.Duration // how long a wrong try counts
	Lock       time.Duration // how long an account is locked, or a source banned; each time twice as long, at most a day
	Sources    []SourceRule  // the first that is about a source counts
}

// maxCounters bounds the memory of each table; names that strangers make up fall out first.
const maxCounters = 100_000

// Attempts counts wrong logins by account and by source, in memory; a [Keeper] keeps that over a restart.
type Attempts struct {
	limits AttemptLimits
	now    func() time.Time
	most   int    // entries a table
	key    []byte // keys the fingerprints of equal tries, so that no password is kept

	mu       sync.Mutex
	accounts map[string]*counter
	sources  map[string]*counter
	familiar map[string]map[string]time.Time // of accounts: where they logged in from, and when last
	changes  map[place]Change                // what is to be kept
	shared   map[[sha256.Size]byte]*Reservation
	changed  chan struct{} // closed and replaced whenever a budget may have become free
}

type counter struct {
	failures []failure // within the window, at most the limit
	reserved int
	until    time.Time // locked or banned until then
	locks    int       // how often in a row
	known    bool      // some method knew the account
}

type failure struct {
	at      time.Time
	account string
}

// NewAttempts makes an empty table. The clock is time.Now but in tests.
func NewAttempts(limits AttemptLimits, now func() time.Time) *Attempts {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	return &Attempts{
		limits:   limits,
		now:      now,
		most:     maxCounters,
		key:      key,
		accounts: map[string]*counter{},
		sources:  map[string]*counter{},
		familiar: map[string]map[string]time.Time{},
		changes:  map[place]Change{},
		shared:   map[[sha256.Size]byte]*Reservation{},
		changed:  make(chan struct{}),
	}
}

// SetLimits changes the limits from now on. What is counted, locked or banned stays so.
func (a *Attempts) SetLimits(limits AttemptLimits) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limits = limits
	close(a.changed)
	a.changed = make(chan struct{})
}

// Try is one attempt before its password is checked. An empty Account and a Source that is not valid
// are not counted.
type Try struct {
	Account  string // canonical name; empty: what was typed is no name
	Source   netip.Addr
	Password secret.Text
}

// Refused says that no password is checked now.
type Refused struct {
	Reason events.Reason // AccountLocked, SourceBanned, or SourceNotAllowed by a rule
	Until  time.Time
	Known  bool // whether the account's name was known to some method
}

// Error implements error.
func (r *Refused) Error() string {
	if r.Until.IsZero() {
		return string(r.Reason)
	}
	return fmt.Sprintf("%s until %s", r.Reason, r.Until.Format(time.RFC3339))
}

// Outcome is how a reserved attempt ended.
type Outcome int

// The outcomes. When equal attempts that share a reservation end differently, the higher one counts.
const (
	NotCounted Outcome = iota // a method failed: an outage bans nobody
	FailedUnknown
	Failed // rejected, a wrong code, or hung up before the verdict
	Succeeded
)

// Reservation is the right to check one password. It must be settled, once by each holder. Holders of
// equal attempts have the same one.
type Reservation struct {
	attempts *Attempts
	print    [sha256.Size]byte
	account  string
	budget   string // of the account: its own, or that from a familiar source
	from     string // where it comes from
	source   string // the same, if that is counted
	holders  int
	outcome  Outcome
}

// Reserve takes a place in the account's and the source's budget before the password is
// checked, so that parallel guesses can't exceed the limit. While a budget is full of attempts
// under way it waits for them. Equal attempts (name, password, source) share one place.
// It returns *Refused, or the context's error.
func (a *Attempts) Reserve(ctx context.Context, try Try) (*Reservation, error) {
	account, from, print := try.Account, SourceKey(try.Source), a.fingerprint(try)
	source := from
	if rule := a.currentLimits().rule(try.Source); rule != nil {
		if !rule.Allow {
			return nil, &Refused{Reason: events.SourceNotAllowed}
		}
		source = "" // never counted
	}
	for {
		r, wait, err := a.reserve(account, from, source, print)
		if r != nil || err != nil {
			return r, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (a *Attempts) reserve(account, from, source string, print [sha256.Size]byte) (*Reservation, <-chan struct{}, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	budget := a.budget(account, from, now)
	ac, sc := a.counter(KindAccount, budget), a.counter(KindSource, source)
	if now.Before(sc.until) {
		return nil, nil, &Refused{events.SourceBanned, sc.until, ac.known}
	}
	if now.Before(ac.until) {
		if source != "" { // who goes on to guess at a locked account is banned in the end
			a.touch(KindSource, source, sc.fail(now, account, a.limits.PerSource, a.limits))
		}
		return nil, nil, &Refused{events.AccountLocked, ac.until, ac.known}
	}
	if r := a.shared[print]; r != nil {
		r.holders++
		return r, nil, nil
	}
	if (account != "" && !ac.free(now, a.limits.PerAccount, a.limits.Window)) || (source != "" && !sc.free(now, a.limits.PerSource, a.limits.Window)) {
		return nil, a.changed, nil
	}
	ac.reserved++
	sc.reserved++
	r := &Reservation{attempts: a, print: print, account: account, budget: budget, from: from, source: source, holders: 1}
	a.shared[print] = r
	return r, nil, nil
}

// Settle gives the place back and counts. The last holder's call decides for all. Nobody joins
// any more from the first call on: else overlapping tries would never be counted.
func (r *Reservation) Settle(outcome Outcome) {
	a := r.attempts
	a.mu.Lock()
	defer a.mu.Unlock()
	r.outcome = max(r.outcome, outcome)
	if a.shared[r.print] == r {
		delete(a.shared, r.print)
	}
	if r.holders--; r.holders > 0 {
		return
	}
	now := a.now()
	ac, sc := a.counter(KindAccount, r.budget), a.counter(KindSource, r.source)
	ac.reserved--
	sc.reserved--
	switch r.outcome {
	case Succeeded:
		if len(ac.failures) > 0 || ac.locks > 0 {
			a.touch(KindAccount, r.budget, Unchanged)
		}
		ac.failures, ac.locks = nil, 0
		a.remember(r.account, r.from, now)
		sc.failures = slices.DeleteFunc(sc.failures, func(f failure) bool { return f.account == r.account })
	case Failed, FailedUnknown:
		ac.known = ac.known || r.outcome == Failed
		if r.account != "" {
			a.touch(KindAccount, r.budget, ac.fail(now, r.account, a.limits.PerAccount, a.limits))
		}
		if r.source != "" {
			a.touch(KindSource, r.source, sc.fail(now, r.account, a.limits.PerSource, a.limits))
		}
	case NotCounted:
	}
	close(a.changed)
	a.changed = make(chan struct{})
}

// Until returns when the account's lock ends, if it is locked: at all, or from a source that it lately logged in from.
func (a *Attempts) Until(account string) (until time.Time, locked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, key := range a.budgets(account) {
		if c := a.accounts[key]; c != nil && c.until.After(until) {
			until = c.until
		}
	}
	if !a.now().Before(until) {
		return time.Time{}, false
	}
	return until, true
}

// budgets are the keys of an account's counters.
func (a *Attempts) budgets(account string) []string {
	keys := []string{account}
	for source := range a.familiar[account] {
		keys = append(keys, account+"\x00"+source)
	}
	return keys
}

// free reports whether one more try fits, counting those under way as if they failed.
func (c *counter) free(now time.Time, limit int, window time.Duration) bool {
	c.prune(now, window)
	return len(c.failures)+c.reserved < limit
}

func (c *counter) fail(now time.Time, account string, limit int, l AttemptLimits) Change {
	c.prune(now, l.Window)
	if now.Sub(c.until) > maxLock {
		c.locks = 0 // it was quiet
	}
	if c.failures = append(c.failures, failure{now, account}); len(c.failures) < limit {
		return Unchanged
	}
	c.until, c.failures = now.Add(max(l.Lock, min(l.Lock<<min(c.locks, maxDoublings), maxLock))), nil
	c.locks++
	return Locked
}

// A lock is twice as long each time.
const (
	maxDoublings = 10
	maxLock      = 24 * time.Hour
)

func (c *counter) prune(now time.Time, window time.Duration) {
	old := 0
	for old < len(c.failures) && now.Sub(c.failures[old].at) >= window {
		old++
	}
	c.failures = c.failures[old:]
}

// counter finds or makes an entry. A full table drops an entry that holds nothing back, or else
// any that is neither reserved nor locked.
func (a *Attempts) counter(kind, key string) *counter {
	table := a.table(kind)
	c := table[key]
	if c != nil {
		return c
	}
	if len(table) >= a.most {
		a.evict(kind)
	}
	c = &counter{}
	table[key] = c
	return c
}

func (a *Attempts) evict(kind string) {
	table := a.table(kind)
	const look = 16 // map order is random: a sample is enough
	now, seen, victim := a.now(), 0, ""
	for key, c := range table {
		if c.prune(now, a.limits.Window); c.reserved == 0 && !now.Before(c.until) {
			if victim == "" || !c.known {
				victim = key
			}
			if len(c.failures) == 0 {
				victim = key
				break
			}
		}
		if seen++; seen >= look && victim != "" {
			break
		}
	}
	a.touch(kind, victim, Unchanged)
	delete(table, victim)
}

func (a *Attempts) table(kind string) map[string]*counter {
	if kind == KindSource {
		return a.sources
	}
	return a.accounts
}

func (a *Attempts) fingerprint(try Try) (print [sha256.Size]byte) {
	mac := hmac.New(sha256.New, a.key)
	for _, part := range []string{try.Account, try.Source.String(), try.Password.Reveal()} {
		_, _ = fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	mac.Sum(print[:0])
	return print
}

// Clear lifts an account's lock and forgets its wrong tries.
func (a *Attempts) Clear(account string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, key := range a.budgets(account) {
		if c := a.accounts[key]; c != nil {
			c.until, c.failures, c.locks = time.Time{}, nil, 0
			a.touch(KindAccount, key, Unchanged)
		}
	}
}

func (a *Attempts) currentLimits() AttemptLimits {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.limits
}

// SourceKey is the address, or the /64 of an IPv6 one: a single host owns all of that.
func SourceKey(source netip.Addr) string {
	if !source.IsValid() {
		return ""
	}
	source = source.Unmap().WithZone("")
	if source.Is6() {
		prefix, _ := source.Prefix(64) // can't fail for an IPv6 address
		return prefix.String()
	}
	return source.String()
}
