package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-crypt/crypt"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/state"
)

// Portable is an account as it travels: with its hash, and without its one-time codes, whose seeds are sealed with
// the key of the server that they were made on.
type Portable struct {
	Name            string            `json:"name"`
	Hash            string            `json:"hash"`
	Groups          []string          `json:"groups,omitempty"`
	Email           string            `json:"email,omitempty"`
	Home            string            `json:"home,omitempty"`
	Attributes      map[string]string `json:"attributes,omitempty"`
	Permissions     []string          `json:"permissions,omitempty"`
	Sources         []string          `json:"sources,omitempty"`
	Expires         time.Time         `json:"expires,omitzero"`
	UnusedDays      int               `json:"unused_days,omitempty"`
	MustChange      bool              `json:"must_change,omitempty"`
	PasswordUntil   time.Time         `json:"password_until,omitzero"`
	SecondFactors   []string          `json:"second_factors,omitempty"`
	Limits          policy.Limits     `json:"limits,omitzero"`
	Disabled        bool              `json:"disabled,omitempty"`
	PasswordChanged time.Time         `json:"password_changed,omitzero"` // zero: when it is imported
}

// Imported is what became, or would become, of one account.
type Imported struct {
	Name    string `json:"name"`
	Problem string `json:"problem,omitempty"` // empty: none
}

// MaxImport is how many accounts one import may have.
const MaxImport = 10_000

// Import makes accounts with the hashes that they have, all in one transaction, or none if any has a problem or apply is
// not set. The policy can't be asked, since nobody knows the passwords; a hash of another scheme is made anew at the next
// right login. Done is whether the accounts were made.
func (a *Accounts) Import(ctx context.Context, accounts []Portable, apply bool) (all []Imported, done bool, err error) {
	if len(accounts) == 0 || len(accounts) > MaxImport {
		return nil, false, fmt.Errorf("%w: an import of %d accounts; 1 to %d are expected", ErrInvalid, len(accounts), MaxImport)
	}
	seen := map[string]bool{}
	var additions []state.Addition
	bad := false
	for _, one := range accounts {
		r, err := a.importable(ctx, one)
		if err == nil && seen[r.Name] {
			err = fmt.Errorf("%s: it is there twice", r.Name)
		}
		seen[r.Name] = true
		result := Imported{Name: one.Name}
		if err != nil {
			result.Problem, bad = err.Error(), true
		}
		all = append(all, result)
		if bad || !apply {
			continue
		}
		more, err := a.additions(r)
		if err != nil {
			return all, false, err
		}
		additions = append(additions, more...)
	}
	if bad || !apply {
		return all, false, nil
	}
	first := additions[0]
	if _, err := a.store.Put(ctx, first.Bucket, first.Key, first.Value, 0, additions[1:]...); err != nil {
		return all, false, fmt.Errorf("import accounts, of which none was made: %w", err)
	}
	a.outbox.Wake()
	return all, true, a.Survey(ctx)
}

// importable is the record of an account that can be made.
func (a *Accounts) importable(ctx context.Context, one Portable) (record, error) {
	now := a.now().UTC()
	r := record{Hash: one.Hash, Account: Account{
		Name: one.Name, Groups: slices.Clone(one.Groups), Email: one.Email, Home: one.Home, Attributes: one.Attributes, Permissions: one.Permissions, Sources: one.Sources,
		Limits: one.Limits, Expires: one.Expires, UnusedDays: one.UnusedDays, MustChange: one.MustChange, Enabled: !one.Disabled, Created: now, PasswordChanged: one.PasswordChanged,
		PasswordUntil: one.PasswordUntil, SecondFactors: one.SecondFactors,
	}}
	if r.PasswordChanged.IsZero() || r.PasswordChanged.After(now) {
		r.PasswordChanged = now
	}
	if err := a.validate(&r.Account); err != nil {
		return r, err
	}
	if _, err := crypt.Decode(one.Hash); err != nil || len(one.Hash) > maxText {
		return r, fmt.Errorf("%w: a hash that can't be read; those of argon2, bcrypt, scrypt, PBKDF2 and SHA-crypt in their usual form can", ErrInvalid)
	}
	if err := bearable(one.Hash); err != nil {
		return r, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	switch _, err := a.store.Get(ctx, bucket, r.Name); {
	case err == nil:
		return r, ErrExists
	case !errors.Is(err, state.ErrNotFound):
		return r, err
	}
	return r, nil
}

func (a *Accounts) additions(r record) ([]state.Addition, error) {
	value, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	entry, err := a.outbox.Entry(changed(events.AccountCreatedType, r.Name))
	return []state.Addition{{Bucket: bucket, Key: r.Name, Value: value}, entry}, err
}

// Export returns up to limit accounts with names after the one named, with their hashes.
func (a *Accounts) Export(ctx context.Context, after string, limit int) ([]Portable, error) {
	records, err := a.store.List(ctx, bucket, after, limit)
	if err != nil {
		return nil, fmt.Errorf("export accounts: %w", err)
	}
	all := []Portable{}
	for _, stored := range records {
		r, err := decode(stored)
		if err != nil {
			return nil, err
		}
		all = append(all, Portable{
			Name: r.Name, Hash: r.Hash, Groups: r.Groups, Email: r.Email, Home: r.Home, Attributes: r.Attributes, Permissions: r.Permissions, Sources: r.Sources,
			Limits: r.Limits, Expires: r.Expires, UnusedDays: r.UnusedDays, MustChange: r.MustChange, Disabled: !r.Enabled, PasswordChanged: r.PasswordChanged,
			PasswordUntil: r.PasswordUntil, SecondFactors: r.SecondFactors,
		})
	}
	return all, nil
}
