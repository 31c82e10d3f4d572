package account

import "context"

// DummyHash is what unknown names are checked against.
func (a *Accounts) DummyHash(ctx context.Context) (string, error) { return a.dummyHash(ctx) }
