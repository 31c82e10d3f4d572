package policy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// SourceRule allows or denies a network before any password is looked at.
type SourceRule struct {
	Allow   bool // not banned, whatever happens; else nobody logs in from there
	Network netip.Prefix
}

// ParseSourceRule reads "allow 192.0.2.0/24" or "deny 2001:db8::1".
func ParseSourceRule(text string) (SourceRule, error) {
	verb, network, _ := strings.Cut(text, " ")
	prefix, err := ParseNetwork(strings.TrimSpace(network))
	if err != nil || verb != "allow" && verb != "deny" {
		return SourceRule{}, fmt.Errorf(`%q: "allow NETWORK" or "deny NETWORK" is expected, with a network such as 192.0.2.0/24 or 2001:db8::/32, or an address`, text)
	}
	return SourceRule{verb == "allow", prefix}, nil
}

// ParseNetwork reads a network, or an address as the network that has no other.
func ParseNetwork(text string) (netip.Prefix, error) {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix.Masked(), nil
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	address = address.Unmap().WithZone("")
	return netip.PrefixFrom(address, address.BitLen()), nil
}

// rule finds the first that is about the source.
func (l AttemptLimits) rule(source netip.Addr) *SourceRule {
	source = source.Unmap().WithZone("")
	for i := range l.Sources {
		if l.Sources[i].Network.Contains(source) {
			return &l.Sources[i]
		}
	}
	return nil
}

// The kinds of counters.
const (
	KindAccount = "account"
	KindSource  = "source"
)

// Counted is what must outlive a restart: of a known account, or of a source.
type Counted struct {
	Kind     string               `json:"kind"`
	Key      string               `json:"key"` // canonical name, or SourceKey; "NAME\x00SOURCE" of an account from a familiar source
	Failures []Failure            `json:"failures,omitempty"`
	Until    time.Time            `json:"until,omitzero"`
	Locks    int                  `json:"locks,omitempty"`
	Familiar map[string]time.Time `json:"familiar,omitempty"` // sources of successful logins
	// Change is what has happened since it was last kept, for the event.
	Change Change `json:"-"`
}

// Failure is a wrong try.
type Failure struct {
	At      time.Time `json:"at"`
	Account string    `json:"account,omitempty"` // empty: of a name that no method knew
}

// Change is the beginning or the end of a lock or ban.
type Change int

// The changes.
const (
	Unchanged Change = iota
	Locked
	Lifted // by an administrator
)

// Keeper keeps counters.
type Keeper interface {
	Load(ctx context.Context) ([]Counted, error)
	// Keep stores one. With nothing in it, it is forgotten.
	Keep(ctx context.Context, one Counted) error
}

// keepEvery is how much of the counting a crash may lose.
const keepEvery = time.Second

// maxKept is how many are kept at once; the others wait for the next time.
const maxKept = 500

// Restore takes over what was kept. Call it before anybody logs in.
func (a *Attempts) Restore(ctx context.Context, keeper Keeper) error {
	all, err := keeper.Load(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range all {
		c := a.counter(k.Kind, k.Key)
		c.until, c.locks, c.known = k.Until, k.Locks, true
		for _, f := range k.Failures {
			c.failures = append(c.failures, failure{f.At, f.Account})
		}
		if k.Kind == KindAccount && k.Familiar != nil {
			a.familiar[k.Key] = k.Familiar
		}
	}
	return nil
}

// sweepEvery is how often what does not count any more is forgotten.
const sweepEvery = time.Hour

// Run keeps what changes until the context ends, and then the rest. Report hears what went wrong.
func (a *Attempts) Run(ctx context.Context, keeper Keeper, report func(error)) {
	tick, broom := time.NewTicker(keepEvery), time.NewTicker(sweepEvery)
	defer tick.Stop()
	defer broom.Stop()
	a.sweep()
	for running := true; running; {
		select {
		case <-tick.C:
		case <-broom.C:
			a.sweep()
		case <-ctx.Done():
			running = false
		}
		for {
			kept, err := a.keep(context.WithoutCancel(ctx), keeper)
			if err != nil {
				report(err)
			}
			if err != nil || running || kept == 0 {
				break
			}
		}
	}
}

func (a *Attempts) keep(ctx context.Context, keeper Keeper) (int, error) {
	all := a.dirty()
	if len(all) == 0 {
		return 0, nil
	}
	var failed error
	for _, k := range all {
		if err := keeper.Keep(ctx, k); err != nil {
			failed = errors.Join(failed, err)
			a.again(k)
		}
	}
	return len(all), failed
}

// again is for one that could not be kept: the others are, with their events.
func (a *Attempts) again(k Counted) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := place{k.Kind, k.Key}
	a.changes[at] = max(a.changes[at], k.Change)
}

// place names a counter.
type place struct{ kind, key string }

// dirty takes those that changed.
func (a *Attempts) dirty() (all []Counted) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for at, change := range a.changes {
		if len(all) >= maxKept {
			break
		}
		delete(a.changes, at)
		k := Counted{Kind: at.kind, Key: at.key, Change: change}
		if c := a.table(at.kind)[at.key]; c != nil {
			k.Until, k.Locks = c.until, c.locks
			for _, f := range c.failures {
				k.Failures = append(k.Failures, Failure{f.at, a.tellable(f.account)})
			}
		}
		if at.kind == KindAccount {
			k.Familiar = cloneTimes(a.familiar[at.key])
		}
		all = append(all, k)
	}
	return all
}

// tellable is the name if it is one that some method knows: people type passwords there, and those must not be kept.
func (a *Attempts) tellable(account string) string {
	if c := a.accounts[account]; c != nil && c.known || a.familiar[account] != nil {
		return account
	}
	return ""
}

func cloneTimes(m map[string]time.Time) map[string]time.Time {
	if m == nil {
		return nil
	}
	c := make(map[string]time.Time, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// Empty reports whether nothing of it counts any more.
func (k Counted) Empty() bool {
	return len(k.Failures) == 0 && k.Until.IsZero() && k.Locks == 0 && len(k.Familiar) == 0
}

func (a *Attempts) touch(kind, key string, change Change) {
	at := place{kind, key}
	if _, there := a.changes[at]; key == "" || !there && len(a.changes) >= a.most {
		return // a flood: what is counted stays in memory only
	}
	if c := a.accounts[key]; kind == KindAccount && (c == nil || !c.known) && a.familiar[key] == nil {
		return // nobody's name: people type passwords there
	}
	a.changes[at] = max(a.changes[at], change)
}

// sweep forgets what does not count any more, so that neither the memory nor the store keeps it.
func (a *Attempts) sweep() {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	for account, seen := range a.familiar {
		for source, at := range seen {
			if now.Sub(at) >= familiarTime {
				delete(seen, source)
				a.touch(KindAccount, account, Unchanged)
			}
		}
		if len(seen) == 0 {
			delete(a.familiar, account)
		}
	}
	for kind, table := range map[string]map[string]*counter{KindAccount: a.accounts, KindSource: a.sources} {
		for key, c := range table {
			if c.prune(now, a.limits.Window); len(c.failures) == 0 && c.reserved == 0 && now.Sub(c.until) > maxLock {
				a.touch(kind, key, Unchanged)
				delete(table, key)
			}
		}
	}
}

// Familiar sources: an account's last ones, for so long.
const (
	maxFamiliar  = 8
	familiarTime = 30 * 24 * time.Hour
)

// budget is what the try of an account counts against: from a source that it has lately logged in from, one of its
// own, so that nobody elsewhere can lock it out there.
func (a *Attempts) budget(account, source string, now time.Time) string {
	if seen, ok := a.familiar[account][source]; ok && account != "" && source != "" && now.Sub(seen) < familiarTime {
		return account + "\x00" + source
	}
	return account
}

// remember notes a successful login.
func (a *Attempts) remember(account, source string, now time.Time) {
	if account == "" || source == "" {
		return
	}
	seen := a.familiar[account]
	if now.Sub(seen[source]) < time.Hour { // often enough
		return
	}
	if seen == nil {
		seen = map[string]time.Time{}
		a.familiar[account] = seen
	}
	seen[source] = now
	for len(seen) > maxFamiliar {
		oldest := source
		for one, at := range seen {
			if at.Before(seen[oldest]) {
				oldest = one
			}
		}
		delete(seen, oldest)
	}
	a.touch(KindAccount, account, Unchanged)
}

// Ban is a source that nobody logs in from for a while, or an account that is locked.
type Ban struct {
	Kind  string    `json:"kind"`
	Name  string    `json:"name"`
	From  string    `json:"from,omitempty"` // of an account: only from this familiar source
	Until time.Time `json:"until"`
}

// Bans lists what is banned or locked now, the first to end first.
func (a *Attempts) Bans() []Ban {
	a.mu.Lock()
	defer a.mu.Unlock()
	all, now := []Ban{}, a.now()
	for kind, table := range map[string]map[string]*counter{KindAccount: a.accounts, KindSource: a.sources} {
		for key, c := range table {
			if now.Before(c.until) && (kind == KindSource || c.known) {
				name, from, _ := strings.Cut(key, "\x00")
				all = append(all, Ban{kind, name, from, c.until})
			}
		}
	}
	slices.SortFunc(all, func(x, y Ban) int { return x.Until.Compare(y.Until) })
	return all
}

// BanSource bans an address (IPv6: its /64) for a while.
func (a *Attempts) BanSource(source netip.Addr, d time.Duration) Ban {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := SourceKey(source)
	c := a.counter(KindSource, key)
	c.until = a.now().Add(d)
	a.touch(KindSource, key, Locked)
	return Ban{KindSource, key, "", c.until}
}

// LiftSource ends the ban of an address; false: there is none.
func (a *Attempts) LiftSource(source netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := SourceKey(source)
	c := a.sources[key]
	if c == nil || !a.now().Before(c.until) {
		return false
	}
	c.until, c.failures, c.locks = time.Time{}, nil, 0
	a.touch(KindSource, key, Lifted)
	return true
}
