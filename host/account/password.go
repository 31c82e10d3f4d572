package account

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/host/state"
)

// Terms are what a password that an administrator sets is good for; the zero value: for everything.
type Terms struct {
	MustChange bool      // only to be changed, by the user
	Until      time.Time // how long for that; zero: for good
}

// SetPassword changes the password for the user, if the policy allows it.
func (a *Accounts) SetPassword(ctx context.Context, name string, password secret.Text, terms Terms) (Account, error) {
	r, _, err := a.get(ctx, name)
	if err != nil {
		return Account{}, err
	}
	if terms.MustChange {
		if err := a.canChange(r.Account); err != nil {
			return Account{}, err
		}
	}
	return a.replacePassword(ctx, r, password, false, terms)
}

// Errors of ChangeOwn.
var (
	ErrOldPassword = errors.New("the old password is wrong")
	ErrNotAllowed  = errors.New("the group does not let its members change their passwords, or the account may not log in any more")
)

// ChangeOwn changes the password by the user. The error is ErrOldPassword, ErrNotAllowed, *policy.Refusal, or says
// why it could not be changed.
func (a *Accounts) ChangeOwn(ctx context.Context, name string, source netip.Addr, old, password secret.Text) error {
	r, _, err := a.get(ctx, name)
	if err != nil {
		return err
	}
	if !a.rules.Load().mayChange(r.Account) || r.Refusal(a.now(), source) != "" || r.tooLate(a.now()) { // a session may outlive its account
		return ErrNotAllowed
	}
	right, err := a.hasher.Match(ctx, source, r.Name, r.Hash, old)
	if err != nil {
		return err
	}
	if !right {
		return ErrOldPassword
	}
	_, err = a.replacePassword(ctx, r, password, true, Terms{})
	return err
}

// replacePassword takes a new password if the policy allows it. If the password was changed meanwhile by somebody else,
// that is a conflict: the history was not looked at for that one.
func (a *Accounts) replacePassword(ctx context.Context, r record, password secret.Text, self bool, terms Terms) (Account, error) {
	rules := a.rules.Load().of(r.Account)
	hash, err := a.newHash(ctx, r.Account, password)
	if err == nil {
		history := rules.History
		if self {
			history = max(1, history) // who has to change it has to change it
		}
		err = a.reused(ctx, r, history, password)
	}
	var refusal *policy.Refusal
	if errors.As(err, &refusal) {
		e := &events.PasswordChanged{Change: events.PasswordRefusedType, Account: r.Name, Self: self}
		var tell bool
		if e.Skipped, tell = a.refused.take(r.Name, a.now()); !tell {
			return Account{}, err
		}
		for _, rule := range refusal.Rules {
			e.Rules = append(e.Rules, string(rule))
		}
		return Account{}, errors.Join(err, a.outbox.Store(ctx, e))
	}
	if err != nil {
		return Account{}, err
	}
	var conflict error
	changed, err := a.change(ctx, r.Name, &events.PasswordChanged{Change: events.PasswordChangedType, Account: r.Name, Self: self}, func(now *record) bool {
		if now.Hash != r.Hash {
			conflict = fmt.Errorf("account %s: %w", r.Name, state.ErrConflict)
			return false
		}
		now.History = append([]string{now.Hash}, now.History...)
		now.History = now.History[:min(len(now.History), max(0, rules.History-1))]
		now.Hash, now.PasswordChanged = hash, a.now().UTC()
		now.MustChange, now.PasswordUntil = terms.MustChange, terms.Until
		return true
	})
	return changed, errors.Join(conflict, err)
}

// A user could let the policy refuse passwords all day: within a minute only so many have an event.
const (
	refusedWindow = time.Minute
	refusedEvents = 5
	refusedNames  = 1000 // accounts that are remembered
)

// refusedCounts are the refusals of the last minute, by account.
type refusedCounts struct {
	mu    sync.Mutex
	names map[string]*refusedCount
}

type refusedCount struct {
	since         time.Time
	told, skipped int
}

// take reports whether a refusal has an event, and how many before it had none.
func (c *refusedCounts) take(name string, now time.Time) (skipped int, tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.names[name]
	if one == nil {
		if len(c.names) >= refusedNames {
			maps.DeleteFunc(c.names, func(_ string, old *refusedCount) bool { return now.Sub(old.since) >= refusedWindow })
		}
		if c.names == nil {
			c.names = map[string]*refusedCount{}
		}
		one = &refusedCount{since: now}
		c.names[name] = one
	}
	if now.Sub(one.since) >= refusedWindow {
		one.since, one.told = now, 0
	}
	if one.told >= refusedEvents {
		one.skipped++
		return 0, false
	}
	one.told++
	skipped, one.skipped = one.skipped, 0
	return skipped, true
}

// reused compares with the last passwords, one after the other: each takes its turn among the logins.
func (a *Accounts) reused(ctx context.Context, r record, history int, password secret.Text) error {
	last := append([]string{r.Hash}, r.History...)
	for _, hash := range last[:min(len(last), history)] {
		same, err := a.hasher.Match(ctx, netip.Addr{}, r.Name, hash, password)
		if errors.Is(err, ErrDamaged) {
			continue // nobody can log in with it any more
		}
		if err != nil {
			return err
		}
		if same {
			return policy.Reused(history)
		}
	}
	return nil
}

// refresh renews what only a right password can renew: the hash, if the configuration says another one, and once a day
// when the account was last used. If it can't be stored, the next login does it.
func (a *Accounts) refresh(ctx context.Context, r record, revision state.Revision, password secret.Text) {
	before := r
	now := a.now().UTC()
	if now.Sub(r.LastLogin) >= 24*time.Hour {
		r.LastLogin = now.Truncate(time.Second)
	}
	if hashing := a.rules.Load().of(r.Account).Hashing; !isCurrent(r.Hash, hashing) {
		if hash, err := a.hasher.Hash(ctx, hashing, password); err == nil {
			r.Hash = hash
		}
	}
	if !reflect.DeepEqual(before, r) {
		_ = a.put(ctx, r, revision)
	}
}
