package account

import "context"

// DummyHash is what unknown names are checked against.
func (a *Accounts) DummyHash(ctx context.Context) (string, error) { return a.dummyHash(ctx) }

// HashOfNobody is what one unknown name is checked against.
func (a *Accounts) HashOfNobody(ctx context.Context, name string) (string, error) {
	return a.hashOfNobody(ctx, name)
}
