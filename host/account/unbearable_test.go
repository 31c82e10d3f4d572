package account_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// A hash from elsewhere that nothing can compute, or that costs too much, ends no process and is not imported.
func TestUnbearableHashes(t *testing.T) {
	const salt, digest = "MDEyMzQ1Njc4OWFiY2RlZg", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
	accounts, _ := newAccounts(t)
	h := account.NewHasher(1)
	for _, hash := range []string{
		"$scrypt$ln=16,r=8,p=0$" + salt + "$" + salt, "$scrypt$ln=50,r=8,p=1$" + salt + "$" + salt, "$scrypt$ln=16,r=9999999,p=999999$" + salt + "$" + salt, "$scrypt$ln=20,r=64,p=1$" + salt + "$" + salt,
		"$argon2id$v=19$m=4194304,t=20,p=1$" + salt + "$" + digest, "$argon2id$v=19$m=65536,t=1000,p=1$" + salt + "$" + digest, "$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + digest,
		"$2b$31$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", "$pbkdf2-sha512$2000000000$" + salt + "$" + digest, "$6$rounds=999999999$rounds=7$" + strings.Repeat("a", 86), "$6$rounds=999999999$0123456789abcdef$" + strings.Repeat("a", 86),
	} {
		if _, err := h.Match(t.Context(), netip.Addr{}, "x", hash, secret.New("x")); !errors.Is(err, account.ErrDamaged) {
			t.Errorf("%s: %v", hash, err)
		}
		all, done, err := accounts.Import(t.Context(), []account.Portable{{Name: "old", Hash: hash}}, true)
		if err != nil || done || all[0].Problem == "" {
			t.Errorf("%s was imported: %v, %v", hash, all, err)
		}
	}
	for _, hash := range []string{"$scrypt$ln=17,r=8,p=1$" + salt + "$" + salt, "$argon2id$v=19$m=65536,t=3,p=4$" + salt + "$" + digest, "$2b$12$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", "$5$0123456789abcdef$" + strings.Repeat("a", 43)} {
		if all, _, err := accounts.Import(t.Context(), []account.Portable{{Name: "new", Hash: hash}}, false); err != nil || all[0].Problem != "" {
			t.Errorf("%s: %v, %v", hash, all, err)
		}
	}
}
