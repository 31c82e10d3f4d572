package account

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/mail"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/host/state"
)

// Change is what shall be another one of an account; nil stays.
type Change struct {
	Groups *[]string `json:"groups,omitempty"`
	Email  *string   `json:"email,omitempty"`
	Home   *string   `json:"home,omitempty"`
	// Permissions narrow those of the group, in its words; none: as the group says.
	Permissions *[]string `json:"permissions,omitempty"`
	// Attributes that are given are changed; an empty value removes one.
	Attributes map[string]string `json:"attributes,omitempty"`
	// Sources are networks, or addresses, from which alone the account may log in; none: from everywhere.
	Sources    *[]string  `json:"sources,omitempty"`
	Expires    *time.Time `json:"expires,omitempty"`     // zero: never
	UnusedDays *int       `json:"unused_days,omitempty"` // see Account; 0: never
	MustChange *bool      `json:"must_change,omitempty"`
	// SecondFactors are methods; none: those that the first factor names. See Account.
	SecondFactors *[]string `json:"second_factors,omitempty"`
	UploadRate    *int64    `json:"upload_rate,omitempty"` // these four see policy.Limits
	DownloadRate  *int64    `json:"download_rate,omitempty"`
	Bytes         *int64    `json:"bytes,omitempty"`
	Files         *int64    `json:"files,omitempty"`
	// Revision is that of the account that the change was made for; another one is a conflict. 0: whatever it is.
	Revision state.Revision `json:"revision,omitempty"`
}

// Apply makes the change to an account that is not stored yet.
func (c Change) Apply(a *Account) {
	set(&a.Groups, c.Groups)
	set(&a.Email, c.Email)
	set(&a.Home, c.Home)
	set(&a.Permissions, c.Permissions)
	set(&a.Sources, c.Sources)
	set(&a.Expires, c.Expires)
	set(&a.UnusedDays, c.UnusedDays)
	set(&a.MustChange, c.MustChange)
	set(&a.SecondFactors, c.SecondFactors)
	set(&a.Limits.UploadRate, c.UploadRate)
	set(&a.Limits.DownloadRate, c.DownloadRate)
	set(&a.Limits.Bytes, c.Bytes)
	set(&a.Limits.Files, c.Files)
	a.Attributes = maps.Clone(a.Attributes)
	for name, value := range c.Attributes {
		if a.Attributes == nil {
			a.Attributes = map[string]string{}
		}
		if a.Attributes[name] = value; value == "" {
			delete(a.Attributes, name)
		}
	}
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// differing names the fields that are another one, for the event.
func differing(before, after Account) (fields []string) {
	for name, same := range map[string]bool{
		"groups": slices.Equal(before.Groups, after.Groups), "email": before.Email == after.Email, "home": before.Home == after.Home,
		"permissions": slices.Equal(before.Permissions, after.Permissions), "attributes": maps.Equal(before.Attributes, after.Attributes),
		"sources": slices.Equal(before.Sources, after.Sources), "expires": before.Expires.Equal(after.Expires),
		"unused_days": before.UnusedDays == after.UnusedDays, "must_change": before.MustChange == after.MustChange, "password_until": before.PasswordUntil.Equal(after.PasswordUntil),
		"limits": before.Limits == after.Limits, "second_factors": slices.Equal(before.SecondFactors, after.SecondFactors),
	} {
		if !same {
			fields = append(fields, name)
		}
	}
	slices.Sort(fields)
	return fields
}

// Change changes what is said of an account. Changes of other fields by others at the same time are kept. The error is
// ErrInvalid, ErrNotFound, ErrDamaged, state.ErrConflict, or the store's.
func (a *Accounts) Change(ctx context.Context, name string, c Change) (Account, error) {
	for {
		r, revision, err := a.get(ctx, name)
		if err != nil {
			return Account{}, err
		}
		if c.Revision != 0 && c.Revision != revision {
			return Account{}, fmt.Errorf("account %s: %w; it is at revision %d", r.Name, state.ErrConflict, revision)
		}
		before := r.Account
		if c.MustChange != nil && !*c.MustChange && !r.PasswordUntil.IsZero() {
			return Account{}, fmt.Errorf("%w: the password of %s is the code of an invitation, which is good for choosing one only; give a new password instead", ErrInvalid, r.Name)
		}
		c.Apply(&r.Account)
		if err := a.validate(&r.Account); err != nil {
			return Account{}, err
		}
		fields := differing(before, r.Account)
		if len(fields) == 0 {
			return r.Account, nil
		}
		err = a.put(ctx, r, revision, changed(events.AccountChangedType, r.Name, fields...))
		if errors.Is(err, state.ErrConflict) {
			continue
		}
		if err != nil {
			return Account{}, err
		}
		return a.Get(ctx, r.Name)
	}
}

// Unlocked notes that an administrator lifted a lock, which is not in the store.
func (a *Accounts) Unlocked(ctx context.Context, name string) (Account, error) {
	found, err := a.Get(ctx, name)
	if err != nil {
		return Account{}, err
	}
	return found, a.outbox.Store(ctx, changed(events.AccountUnlockedType, found.Name))
}

// Mailed notes that credentials were mailed, or could not be.
func (a *Accounts) Mailed(ctx context.Context, name string, contents []string, sent bool) error {
	state := events.MailFailedType
	if sent {
		state = events.MailSentType
	}
	return a.outbox.Store(ctx, &events.Mail{State: state, Account: name, Contents: contents})
}

// Generate makes a password that is long enough for the account.
func (a *Accounts) Generate(one Account) secret.Text {
	return policy.Generate(a.rules.Load().of(one).MinimumLength)
}

// maxAttributes and the other limits of one account.
const (
	maxAttributes = 32
	maxSources    = 64
	maxText       = 1024
	maxUnusedDays = 3650
)

func (a *Accounts) validate(account *Account) error {
	name, err := policy.Username(account.Name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := policy.PathElement(name); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	account.Name = name
	if len(account.Groups) == 0 {
		account.Groups = []string{"default"}
	}
	for _, group := range account.Groups {
		if !slices.Contains(a.rules.Load().Groups, group) {
			return fmt.Errorf("%w: group %q is not in the configuration; there are %q", ErrInvalid, group, a.rules.Load().Groups)
		}
	}
	if account.MustChange {
		if err := a.canChange(*account); err != nil {
			return err
		}
	}
	if account.Email != "" {
		if address, err := mail.ParseAddress(account.Email); err != nil || address.Address != account.Email || len(account.Email) > maxText {
			return fmt.Errorf("%w: e-mail address %q; expected is something like alice@example.org", ErrInvalid, account.Email)
		}
	}
	if account.Home != "" && !filepath.IsAbs(account.Home) {
		return fmt.Errorf("%w: home folder %q; expected is an absolute path", ErrInvalid, account.Home)
	}
	if account.Home != "" {
		account.Home = filepath.Clean(account.Home)
	}
	if _, err := policy.ParsePermissions(account.Permissions); len(account.Permissions) > 0 && err != nil {
		return fmt.Errorf("%w: permissions: %w", ErrInvalid, err)
	}
	if account.UnusedDays < 0 || account.UnusedDays > maxUnusedDays {
		return fmt.Errorf("%w: %d days without a login; 1 to %d are expected, or 0 for never", ErrInvalid, account.UnusedDays, maxUnusedDays)
	}
	for key, value := range account.Attributes {
		if len(account.Attributes) > maxAttributes || len(key) > maxText || len(value) > maxText {
			return fmt.Errorf("%w: at most %d attributes, of at most %d bytes each", ErrInvalid, maxAttributes, maxText)
		}
	}
	if err := validateLimits(account.Limits); err != nil {
		return err
	}
	if err := a.validateFactors(account.SecondFactors); err != nil {
		return err
	}
	return validateSources(account.Sources)
}

func validateLimits(l policy.Limits) error {
	for _, n := range []int64{l.UploadRate, l.DownloadRate, l.Bytes, l.Files} {
		if n < policy.Unlimited || n > 1<<50 {
			return fmt.Errorf("%w: a limit of %d; 1 to %d are expected, 0 for that of the group, or %d for none", ErrInvalid, n, int64(1)<<50, policy.Unlimited)
		}
	}
	return nil
}

func (a *Accounts) validateFactors(ids []string) error {
	methods := a.rules.Load().Methods
	for _, id := range ids {
		if id == policy.NoFactor && len(ids) == 1 {
			continue
		}
		if !slices.Contains(methods, id) {
			return fmt.Errorf("%w: %q can't be a second factor; there are the methods %q that no service asks first, or %q alone", ErrInvalid, id, methods, policy.NoFactor)
		}
	}
	return nil
}

// canChange refuses what would keep the user out: having to change a password that only an administrator can change.
func (a *Accounts) canChange(account Account) error {
	if a.rules.Load().mayChange(account) {
		return nil
	}
	return fmt.Errorf("%w: %s has to change the password, and can't: set allow_own_password_change = true in group %q first", ErrInvalid, account.Name, account.Groups[0])
}

func validateSources(sources []string) error {
	if len(sources) > maxSources {
		return fmt.Errorf("%w: %d source networks; at most %d are allowed", ErrInvalid, len(sources), maxSources)
	}
	for _, text := range sources {
		if _, err := policy.ParseNetwork(text); err != nil {
			return fmt.Errorf("%w: source %q; expected is a network such as 192.0.2.0/24 or 2001:db8::/32, or an address", ErrInvalid, text)
		}
	}
	return nil
}

// Refusal is why an account may not log in at all, whatever its password; empty: it may. An invalid source is an
// administrator who tries.
func (a Account) Refusal(now time.Time, source netip.Addr) events.Reason {
	last := a.Created
	for _, t := range []time.Time{a.LastLogin, a.EnabledSince} {
		if t.After(last) {
			last = t
		}
	}
	switch {
	case !a.Enabled:
		return events.AccountDisabled
	case !a.Expires.IsZero() && !now.Before(a.Expires):
		return events.AccountExpired
	case a.UnusedDays > 0 && now.Sub(last) > time.Duration(a.UnusedDays)*24*time.Hour:
		return events.AccountUnused
	case source.IsValid() && len(a.Sources) > 0 && !slices.ContainsFunc(a.Sources, func(text string) bool {
		prefix, err := policy.ParseNetwork(text)
		return err == nil && prefix.Contains(source.Unmap().WithZone(""))
	}):
		return events.SourceNotAllowed
	}
	return ""
}
