// Package account keeps the host's own accounts: who may log in, with which password,
// where to. Start at [Accounts]; [Hasher] is the bounded queue that all hashing goes through.
package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/outbox"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/host/state"
)

const bucket = "accounts"

var (
	// ErrDamaged says that an account is there and can't be read: its logins are refused.
	ErrDamaged = errors.New("account is damaged")
	// ErrExists says that the name is taken.
	ErrExists = errors.New("account exists already")
	// ErrNotFound says that there is no such account.
	ErrNotFound = errors.New("no such account")
	// ErrInvalid says that what was asked for is not allowed; the text says what is.
	ErrInvalid = errors.New("not allowed")
)

// Account is what may be shown of an account.
type Account struct {
	Name   string   `json:"name"` // canonical, see policy.Username
	Groups []string `json:"groups"`
	Email  string   `json:"email,omitempty"`
	Home   string   `json:"home,omitempty"` // empty: the group's
	// Attributes are what second factors need to know, such as "secsign_id".
	Attributes map[string]string `json:"attributes,omitempty"`
	Enabled    bool              `json:"enabled"`
	Created    time.Time         `json:"created"`
	// EnabledSince is when an administrator last let it log in; zero: since it was made.
	EnabledSince time.Time `json:"enabled_since,omitzero"`
	// Permissions narrow those of the group, in its words.
	Permissions []string `json:"permissions,omitempty"`
	// Sources are the networks from which alone it may log in; none: everywhere.
	Sources []string `json:"sources,omitempty"`
	// Expires is when it may not log in any more; zero: never.
	Expires time.Time `json:"expires,omitzero"`
	// UnusedDays is how long it may be without a login before it may not log in any more; 0: for ever.
	UnusedDays int `json:"unused_days,omitempty"`
	// LastLogin is the day on which the password was last right.
	LastLogin time.Time `json:"last_login,omitzero"`
	// MustChange says that the user has to change the password first.
	MustChange bool `json:"must_change,omitempty"`
	// PasswordUntil is when a password that has to be changed is not good for that any more; zero: never.
	PasswordUntil time.Time `json:"password_until,omitzero"`
	// SecondFactors are methods that are asked in place of those that the first one names; "none" alone: none.
	SecondFactors []string `json:"second_factors,omitempty"`
	// Limits are those of the account where they are not as the group says.
	Limits policy.Limits `json:"limits,omitzero"`
	// Revision names this state of the account, see [Change].
	Revision state.Revision `json:"revision,omitempty"`
	// PasswordChanged is when the password was last set.
	PasswordChanged time.Time `json:"password_changed"`
	// CodesSince is when the account got one-time codes; zero: it has none.
	CodesSince time.Time `json:"codes_since,omitzero"`
}

// record is what is stored: the account with its credentials, so that one
// compare-and-swap changes all of it.
type record struct {
	Account
	Hash string `json:"hash"`
	// History are the hashes of the passwords before, the last one first.
	History []string `json:"history,omitempty"`
	// Warned are the ends that an event has told of in advance.
	Warned warned     `json:"warned,omitzero"`
	Codes  *enrolment `json:"codes,omitempty"`
}

// Accounts manages the accounts in a store.
type Accounts struct {
	store  state.Store
	outbox *outbox.Outbox
	hasher *Hasher
	key    *Key
	rules  atomic.Pointer[Rules]
	dummy  atomic.Pointer[dummy]
	kinds  atomic.Pointer[[]kind]
	now    func() time.Time

	refused refusedCounts
	drawKey []byte

	rotating  sync.Mutex   // held by whoever exchanges the key
	enrolling sync.RWMutex // held, for reading, from sealing with the key until that is stored
}

// Rules are what a new account or password must fit.
type Rules struct {
	Passwords policy.Passwords
	ByGroup   map[string]policy.Passwords // of groups that have rules of their own
	Groups    []string                    // that an account may be in
	OwnChange []string                    // groups whose members may change their passwords
	Methods   []string                    // that may be second factors
}

// of are the rules for an account: those of its first group that has some.
func (r Rules) of(a Account) policy.Passwords {
	for _, group := range a.Groups {
		if own, ok := r.ByGroup[group]; ok {
			return own
		}
	}
	return r.Passwords
}

func (r Rules) mayChange(a Account) bool {
	return slices.ContainsFunc(a.Groups, func(group string) bool { return slices.Contains(r.OwnChange, group) })
}

// New makes the manager.
func New(ctx context.Context, store state.Store, out *outbox.Outbox, hasher *Hasher, key *Key, rules Rules) (*Accounts, error) {
	a := &Accounts{store: store, outbox: out, hasher: hasher, key: key, now: time.Now}
	a.SetRules(rules)
	if err := a.loadDraw(ctx); err != nil {
		return nil, err
	}
	_, err := a.dummyHash(ctx)
	return a, err
}

// SetRules changes the rules from now on.
func (a *Accounts) SetRules(rules Rules) { a.rules.Store(&rules) }

// Add makes an account. The name is made canonical; a group must exist; the policy decides on the password.
// The error is ErrExists, ErrInvalid, *policy.Refusal or the store's.
func (a *Accounts) Add(ctx context.Context, account Account, password secret.Text) (Account, error) {
	if err := a.validate(&account); err != nil {
		return Account{}, err
	}
	if _, err := a.store.Get(ctx, bucket, account.Name); err == nil {
		return Account{}, fmt.Errorf("%s: %w", account.Name, ErrExists)
	}
	hash, err := a.newHash(ctx, account, password)
	if err != nil {
		return Account{}, err
	}
	account.Enabled, account.Created, account.PasswordChanged = true, a.now().UTC(), a.now().UTC()
	if err := a.put(ctx, record{Account: account, Hash: hash}, 0, changed(events.AccountCreatedType, account.Name)); err != nil {
		if errors.Is(err, state.ErrConflict) {
			return Account{}, fmt.Errorf("%s: %w", account.Name, ErrExists)
		}
		return Account{}, err
	}
	return account, nil
}

// changed is the event of a change of an account.
func changed(what events.Type, name string, fields ...string) *events.AccountChanged {
	return &events.AccountChanged{Change: what, Account: name, Fields: fields}
}

// SetEnabled switches logins of the account on or off.
func (a *Accounts) SetEnabled(ctx context.Context, name string, enabled bool) (Account, error) {
	what := events.AccountDisabledType
	if enabled {
		what = events.AccountEnabledType
	}
	return a.change(ctx, name, changed(what, ""), func(r *record) bool {
		if r.Enabled = enabled; enabled {
			r.EnabledSince = a.now().UTC()
		}
		return true
	})
}

// Remove deletes the account. What went with it, such as "files", is for the event.
func (a *Accounts) Remove(ctx context.Context, name string, with ...string) (Account, error) {
	r, revision, err := a.get(ctx, name)
	if err != nil {
		return Account{}, err
	}
	entry, err := a.outbox.Entry(changed(events.AccountDeletedType, r.Name, with...))
	if err != nil {
		return Account{}, err
	}
	if err := a.store.Delete(ctx, bucket, r.Name, revision, entry); err != nil {
		return Account{}, err
	}
	a.outbox.Wake()
	return r.Account, nil
}

// Get returns one account, or ErrNotFound, or ErrDamaged.
func (a *Accounts) Get(ctx context.Context, name string) (Account, error) {
	r, _, err := a.get(ctx, name)
	return r.Account, err
}

// List returns up to limit accounts with names after the one named, by name.
func (a *Accounts) List(ctx context.Context, after string, limit int) ([]Account, error) {
	records, err := a.store.List(ctx, bucket, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	accounts := make([]Account, 0, len(records))
	for _, stored := range records {
		r, err := decode(stored)
		if err != nil {
			return nil, err
		}
		accounts = append(accounts, r.Account)
	}
	return accounts, nil
}

// all lists the stored accounts, page by page.
func (a *Accounts) all(ctx context.Context) iter.Seq2[state.Record, error] {
	return func(yield func(state.Record, error) bool) {
		for after := ""; ; {
			records, err := a.store.List(ctx, bucket, after, listPage)
			if err != nil {
				yield(state.Record{}, fmt.Errorf("list accounts: %w", err))
				return
			}
			if len(records) == 0 {
				return
			}
			for _, r := range records {
				if after = r.Key; !yield(r, nil) {
					return
				}
			}
		}
	}
}

const listPage = 500

// Check is the answer to "is this the account's password?".
type Check struct {
	Enrolled bool // there is such an account
	Right    bool
	Reason   events.Reason // why not, if not
	Account  Account       // if Right
	// MustChange: it is right, but good for nothing but changing it; Reason says why.
	MustChange bool
}

// Verify checks a password. It takes as long for a name that does not exist. An error means that
// it could not be checked: ErrOverloaded, ErrDamaged, the context's or the store's.
func (a *Accounts) Verify(ctx context.Context, name string, source netip.Addr, password secret.Text) (Check, error) {
	r, revision, err := a.get(ctx, name)
	enrolled := !errors.Is(err, ErrNotFound)
	if err != nil && enrolled {
		return Check{}, err
	}
	if !enrolled {
		if r.Hash, err = a.hashOfNobody(ctx, name); err != nil {
			return Check{}, err
		}
	}
	right, err := a.hasher.Match(ctx, source, owner(r, name), r.Hash, password)
	if errors.Is(err, ErrDamaged) && !enrolled { // that is another account's trouble
		err = nil
	}
	switch {
	case err != nil:
		return Check{}, fmt.Errorf("account %s: %w", name, err)
	case !enrolled:
		return Check{Reason: events.UnknownUser}, nil
	case !right:
		return Check{Enrolled: true, Reason: events.WrongPassword}, nil
	}
	if reason := r.Refusal(a.now(), source); reason != "" {
		return Check{Enrolled: true, Reason: reason}, nil
	}
	if r.tooLate(a.now()) {
		return Check{Enrolled: true, Reason: events.PasswordExpired}, nil
	}
	if reason := a.stale(r.Account); reason != "" {
		may := a.rules.Load().mayChange(r.Account)
		return Check{Enrolled: true, Right: may, MustChange: may, Account: r.Account, Reason: reason}, nil
	}
	a.refresh(ctx, r, revision, password)
	return Check{Enrolled: true, Right: true, Account: r.Account}, nil
}

// tooLate reports whether a password that had to be changed was not, for too long.
func (a Account) tooLate(now time.Time) bool {
	return a.MustChange && !a.PasswordUntil.IsZero() && !now.Before(a.PasswordUntil)
}

// stale is why a right password must be changed first; empty: it need not.
func (a *Accounts) stale(account Account) events.Reason {
	lifetime := a.rules.Load().of(account).Lifetime
	switch {
	case account.MustChange:
		return events.MustChange
	case lifetime > 0 && a.now().Sub(account.PasswordChanged) >= lifetime:
		return events.PasswordExpired
	}
	return ""
}

func (a *Accounts) newHash(ctx context.Context, account Account, password secret.Text) (string, error) {
	rules := a.rules.Load().of(account)
	if err := rules.Check(password, append([]string{account.Name, account.Email}, account.Groups...)...); err != nil {
		return "", err
	}
	return a.hasher.Hash(ctx, rules.Hashing, password)
}

func (a *Accounts) get(ctx context.Context, typed string) (record, state.Revision, error) {
	name, err := policy.Username(typed)
	if err != nil {
		return record{}, 0, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	stored, err := a.store.Get(ctx, bucket, name)
	switch {
	case errors.Is(err, state.ErrNotFound):
		return record{}, 0, fmt.Errorf("%s: %w", name, ErrNotFound)
	case errors.Is(err, state.ErrDamaged):
		return record{}, 0, fmt.Errorf("%s: %w", name, ErrDamaged)
	case err != nil:
		return record{}, 0, fmt.Errorf("account %s: %w", name, err)
	}
	r, err := decode(stored)
	return r, stored.Revision, err
}

// change applies one change to the newest record, again if somebody else was faster, and stores its event with it. What
// apply returns false for is not stored.
func (a *Accounts) change(ctx context.Context, name string, e events.Payload, apply func(*record) bool) (Account, error) {
	for {
		r, revision, err := a.get(ctx, name)
		if err != nil {
			return Account{}, err
		}
		if !apply(&r) {
			return r.Account, nil
		}
		if changed, ok := e.(*events.AccountChanged); ok {
			changed.Account = r.Name
		}
		err = a.put(ctx, r, revision, e)
		if errors.Is(err, state.ErrConflict) {
			continue
		}
		return r.Account, err
	}
}

// put writes the record, and the events of the change.
func (a *Accounts) put(ctx context.Context, r record, was state.Revision, tell ...events.Payload) error {
	r.Revision = 0 // the store has its own
	value, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("account %s: %w", r.Name, err)
	}
	var also []state.Addition
	for _, e := range tell {
		entry, err := a.outbox.Entry(e)
		if err != nil {
			return err
		}
		also = append(also, entry)
	}
	if _, err := a.store.Put(ctx, bucket, r.Name, value, was, also...); err != nil {
		return fmt.Errorf("account %s: %w", r.Name, err)
	}
	a.outbox.Wake()
	return nil
}

func decode(stored state.Record) (record, error) {
	var r record
	if err := json.Unmarshal(stored.Value, &r); err != nil || r.Name != stored.Key {
		return record{}, fmt.Errorf("%s: %w", stored.Key, ErrDamaged)
	}
	r.Revision = stored.Revision
	return r, nil
}
