package account

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/go-crypt/crypt"

	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/host/state"
)

// A name that no account has must not be told from others by how long its password takes. So each such name gets, for
// good, a hash of one of the kinds that accounts have, and each kind in proportion. RATIONALE.md, "How long does nobody's password take?".

// kind are the accounts whose hashes cost the same.
type kind struct {
	name  string // scheme and cost
	hash  string // of one of them
	count int
}

// Survey looks at what hashes accounts have.
func (a *Accounts) Survey(ctx context.Context) error {
	found := map[string]kind{}
	for stored, err := range a.all(ctx) {
		if err != nil {
			return err
		}
		r, err := decode(stored)
		if err != nil {
			continue // its logins are refused before any hash
		}
		if _, err := crypt.Decode(r.Hash); err != nil || bearable(r.Hash) != nil {
			continue // so are those of these
		}
		name := kindOf(r.Hash)
		found[name] = kind{name, r.Hash, found[name].count + 1}
	}
	kinds := make([]kind, 0, len(found))
	for _, k := range found {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(x, y kind) int { return cmp.Compare(x.name, y.name) })
	a.kinds.Store(&kinds)
	return nil
}

// kindOf is a hash without salt and digest.
func kindOf(hash string) string {
	fields := strings.Split(hash, "$")
	keep := max(0, len(fields)-2)
	if strings.HasPrefix(hash, "$2") { // bcrypt has no $ between the two
		keep = min(len(fields), 3)
	}
	return strings.Join(fields[:keep], "$")
}

// hashOfNobody is a hash for a name that no account has. Its password is right for nobody, whatever Match says.
func (a *Accounts) hashOfNobody(ctx context.Context, name string) (string, error) {
	kinds := a.kinds.Load()
	total := 0
	if kinds != nil {
		for _, k := range *kinds {
			total += k.count
		}
	}
	if total == 0 {
		return a.dummyHash(ctx)
	}
	part, _ := bits.Mul64(binary.BigEndian.Uint64(a.draw(name)), uint64(total)) // when accounts come and go, few names get another kind
	at := int(part)
	for _, k := range *kinds {
		if at -= k.count; at < 0 {
			return k.hash, nil
		}
	}
	return a.dummyHash(ctx)
}

// The secret that draws are made with. It lies in the store, and is not exchanged with the key: the draws would be others.
const (
	secretsBucket = "secrets"
	drawSecret    = "unknown names"
)

// loadDraw reads the secret, and makes it if there is none.
func (a *Accounts) loadDraw(ctx context.Context) error {
	stored, err := a.store.Get(ctx, secretsBucket, drawSecret)
	if errors.Is(err, state.ErrNotFound) {
		made := make([]byte, sha256.Size)
		_, _ = rand.Read(made) // never fails
		if _, err = a.store.Put(ctx, secretsBucket, drawSecret, made, 0); errors.Is(err, state.ErrConflict) {
			return a.loadDraw(ctx)
		}
		stored.Value = made
	}
	if err != nil {
		return fmt.Errorf("secret of the unknown names: %w", err)
	}
	a.drawKey = stored.Value
	return nil
}

// draw turns a name into a number that nobody foresees, and that is the same each time.
func (a *Accounts) draw(name string) []byte {
	mac := hmac.New(sha256.New, a.drawKey)
	_, _ = mac.Write([]byte(name))
	return mac.Sum(nil)
}

// owner keeps the checks of a name that nobody has apart from those of the account whose hash they use.
func owner(r record, name string) string {
	if r.Name == "" {
		return "nobody " + name
	}
	return r.Name
}

// dummy is a hash of the configured scheme, for when there are no accounts.
type dummy struct {
	hashing policy.Hashing
	hash    string
}

// dummyHash is one of the configured scheme. The first after a change costs a hash.
func (a *Accounts) dummyHash(ctx context.Context) (string, error) {
	hashing := a.rules.Load().Passwords.Hashing
	if d := a.dummy.Load(); d != nil && d.hashing == hashing {
		return d.hash, nil
	}
	hash, err := a.hasher.Hash(ctx, hashing, secret.New("the password of nobody"))
	if err != nil {
		return "", err
	}
	a.dummy.Store(&dummy{hashing, hash})
	return hash, nil
}
