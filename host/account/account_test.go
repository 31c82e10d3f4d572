package account_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/outbox"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/host/state"
)

var (
	good   = secret.New("gravel umbrella ninety tango")
	source = netip.MustParseAddr("192.0.2.1")
)

func newAccounts(t *testing.T) (*account.Accounts, state.Store) {
	t.Helper()
	store, err := state.OpenBolt(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	hasher := account.NewHasher(2)
	accounts, err := account.New(t.Context(), store, outbox.New(store, "test"), hasher, testKey(t), account.Rules{Passwords: policy.Passwords{MinimumLength: 11, MinimumStrength: 3}, Groups: []string{"default", "uk"}})
	if err != nil {
		t.Fatal(err)
	}
	return accounts, store
}

func TestLifeOfAnAccount(t *testing.T) {
	accounts, _ := newAccounts(t)
	ctx := t.Context()
	added, err := accounts.Add(ctx, account.Account{Name: "ALICE", Email: "alice@example.org"}, good)
	if err != nil {
		t.Fatal(err)
	}
	if added.Name != "alice" || !added.Enabled || len(added.Groups) != 1 || added.Groups[0] != "default" {
		t.Errorf("added %+v", added)
	}
	check := func(name string, password secret.Text, want account.Check) {
		t.Helper()
		got, err := accounts.Verify(ctx, name, source, password)
		got.Account = account.Account{}
		if err != nil || got.Enrolled != want.Enrolled || got.Right != want.Right || got.Reason != want.Reason {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
	}
	check("alice", good, account.Check{Enrolled: true, Right: true})
	check("alice", secret.New("wrong"), account.Check{Enrolled: true, Reason: events.WrongPassword})
	check("bob", good, account.Check{Reason: events.UnknownUser})

	if _, err := accounts.SetEnabled(ctx, "alice", false); err != nil {
		t.Fatal(err)
	}
	check("alice", good, account.Check{Enrolled: true, Reason: events.AccountDisabled})
	check("alice", secret.New("wrong"), account.Check{Enrolled: true, Reason: events.WrongPassword})
	if _, err := accounts.SetEnabled(ctx, "Alice", true); err != nil {
		t.Fatal(err)
	}
	other := secret.New("seven marble lantern forks")
	if _, err := accounts.SetPassword(ctx, "alice", other, account.Terms{}); err != nil {
		t.Fatal(err)
	}
	check("alice", good, account.Check{Enrolled: true, Reason: events.WrongPassword})
	check("alice", other, account.Check{Enrolled: true, Right: true})

	if _, err := accounts.Remove(ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := accounts.Get(ctx, "alice"); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("after remove: %v", err)
	}
	check("alice", other, account.Check{Reason: events.UnknownUser})
}

func TestBadInputIsExplained(t *testing.T) {
	accounts, _ := newAccounts(t)
	if _, err := accounts.Add(t.Context(), account.Account{Name: "alice"}, good); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		account  account.Account
		password secret.Text
		want     string
		is       error
	}{
		"taken":        {account.Account{Name: "Alice"}, good, "exists", account.ErrExists},
		"blank":        {account.Account{Name: "two words"}, good, "RFC 8265", account.ErrInvalid},
		"not a folder": {account.Account{Name: "../x"}, good, "folder", account.ErrInvalid},
		"group":        {account.Account{Name: "bob", Groups: []string{"us"}}, good, `["default" "uk"]`, account.ErrInvalid},
		"email":        {account.Account{Name: "bob", Email: "bob"}, good, "alice@example.org", account.ErrInvalid},
		"home":         {account.Account{Name: "bob", Home: "files"}, good, "absolute", account.ErrInvalid},
		"password":     {account.Account{Name: "bob"}, secret.New("password123"), "too easy", nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := accounts.Add(t.Context(), c.account, c.password)
			if err == nil || !strings.Contains(err.Error(), c.want) || (c.is != nil && !errors.Is(err, c.is)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if list, err := accounts.List(t.Context(), "", 10); err != nil || len(list) != 1 {
		t.Errorf("a refused account was kept: %v, %v", list, err)
	}
}

func TestNothingShowsTheHash(t *testing.T) {
	accounts, store := newAccounts(t)
	added, err := accounts.Add(t.Context(), account.Account{Name: "alice"}, good)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := store.Get(t.Context(), "accounts", "alice")
	if err != nil || !strings.Contains(string(stored.Value), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("stored %s, %v", stored.Value, err)
	}
	if strings.Contains(string(stored.Value), good.Reveal()) {
		t.Error("the password is stored")
	}
	shown, err := json.Marshal(added)
	if err != nil || strings.Contains(string(shown), "argon2") {
		t.Errorf("shown %s, %v", shown, err)
	}
}

// A record or a hash that can't be read refuses; it is never "no such user" or "no password".
func TestADamagedAccountIsRefused(t *testing.T) {
	accounts, store := newAccounts(t)
	for name, value := range map[string]string{
		"record": `{"name":"record"`,
		"moved":  `{"name":"somebody else","enabled":true,"hash":"x"}`,
		"hash":   `{"name":"hash","enabled":true,"hash":"$argon2id$v=19$m=19456"}`,
		"nohash": `{"name":"nohash","enabled":true}`,
	} {
		if _, err := store.Put(t.Context(), "accounts", name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
		for _, password := range []string{"", "x", good.Reveal()} {
			check, err := accounts.Verify(t.Context(), name, source, secret.New(password))
			if !errors.Is(err, account.ErrDamaged) || check.Right {
				t.Errorf("%s: got %+v, %v; want ErrDamaged", name, check, err)
			}
		}
	}
}

func TestConcurrentChangesLoseNothing(t *testing.T) {
	accounts, _ := newAccounts(t)
	if _, err := accounts.Add(t.Context(), account.Account{Name: "alice"}, good); err != nil {
		t.Fatal(err)
	}
	other := secret.New("seven marble lantern forks")
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := accounts.SetPassword(t.Context(), "alice", other, account.Terms{}); err != nil {
			t.Error(err)
		}
	})
	for range 20 {
		wg.Go(func() {
			if _, err := accounts.SetEnabled(t.Context(), "alice", false); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	check, err := accounts.Verify(t.Context(), "alice", source, other)
	if err != nil || check.Reason != events.AccountDisabled {
		t.Errorf("got %+v, %v: one change undid the other", check, err)
	}
}

func TestListPages(t *testing.T) {
	accounts, _ := newAccounts(t)
	for i := range 5 {
		if _, err := accounts.Add(t.Context(), account.Account{Name: fmt.Sprint("user", i)}, good); err != nil {
			t.Fatal(err)
		}
	}
	page, err := accounts.List(t.Context(), "user1", 2)
	if err != nil || len(page) != 2 || page[0].Name != "user2" || page[1].Name != "user3" {
		t.Errorf("got %+v, %v", page, err)
	}
}
