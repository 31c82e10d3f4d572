package auth

import (
	"context"
	"errors"
	"net/netip"

	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// Passwords changes the passwords of the host's own accounts.
type Passwords interface {
	// ChangeOwn changes it by the user. The error is ErrOldPassword, ErrNotYours, *policy.Refusal, or says why it
	// could not be changed.
	ChangeOwn(ctx context.Context, name string, source netip.Addr, old, password secret.Text) error
}

// Errors of ChangePassword.
var (
	ErrOldPassword = errors.New("the old password is wrong")
	ErrNotYours    = errors.New("this password can't be changed here")
)

// ChangePassword changes the password of who is logged in. A wrong old one counts as a wrong login: a session that is left
// open is no way to guess.
func (a *Authority) ChangePassword(ctx context.Context, grant Grant, source netip.Addr, old, password secret.Text) error {
	if grant.Own == "" || a.Passwords == nil {
		return ErrNotYours
	}
	r, err := a.Attempts.Reserve(ctx, policy.Try{Account: grant.User, Source: source, Password: old})
	if err != nil {
		return err
	}
	counted := policy.NotCounted
	defer func() { r.Settle(counted) }()
	err = a.Passwords.ChangeOwn(ctx, grant.Own, source, old, password)
	if errors.Is(err, ErrOldPassword) {
		counted = policy.Failed
	}
	return err
}
