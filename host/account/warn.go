package account

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/state"
)

// ahead is how long before an account or a password ends it is told.
const ahead = 14 * 24 * time.Hour

// warned are the ends that were told of.
type warned struct {
	Password time.Time `json:"password,omitzero"`
	Account  time.Time `json:"account,omitzero"`
}

// Warn tells of the accounts and passwords that end within two weeks, of each end once. It returns how many there were.
func (a *Accounts) Warn(ctx context.Context) (n int, err error) {
	for stored, err := range a.all(ctx) {
		if err != nil {
			return n, err
		}
		r, err := decode(stored)
		if err != nil {
			continue // its logins are refused, and say so
		}
		told, err := a.warn(ctx, r, stored.Revision)
		if err != nil {
			return n, err
		}
		n += told
	}
	return n, nil
}

func (a *Accounts) warn(ctx context.Context, r record, revision state.Revision) (n int, err error) {
	now := a.now()
	due := func(end, told time.Time) bool {
		return r.Enabled && !end.IsZero() && now.Before(end) && end.Sub(now) <= ahead && !end.Equal(told)
	}
	var tell []events.Payload
	if due(r.Expires, r.Warned.Account) {
		r.Warned.Account = r.Expires
		tell = append(tell, &events.AccountChanged{Change: events.AccountExpiringType, Account: r.Name, Until: r.Expires.UTC()})
	}
	if lifetime := a.rules.Load().of(r.Account).Lifetime; lifetime > 0 {
		if end := r.PasswordChanged.Add(lifetime); due(end, r.Warned.Password) {
			r.Warned.Password = end
			tell = append(tell, &events.PasswordChanged{Change: events.PasswordExpiringType, Account: r.Name, Until: end.UTC()})
		}
	}
	if len(tell) == 0 {
		return 0, nil
	}
	err = a.put(ctx, r, revision, tell...)
	if errors.Is(err, state.ErrConflict) {
		return 0, nil // the next time
	}
	return len(tell), err
}
