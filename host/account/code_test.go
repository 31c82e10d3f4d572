package account_test

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/outbox"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/host/state"
)

// withCodes is an account "alice" with one-time codes, and "bob" without, and what her app shows at a time.
func withCodes(t *testing.T) (accounts *account.Accounts, given account.Enrolment, at func(time.Time) string) {
	t.Helper()
	dir := t.TempDir()
	key, err := account.LoadKey(filepath.Join(dir, "codes.key"))
	if err != nil {
		t.Fatal(err)
	}
	accounts = openCodes(t, filepath.Join(dir, "state.db"), key)
	for _, name := range []string{"alice", "bob"} {
		if _, err := accounts.Add(t.Context(), account.Account{Name: name}, secret.New("gravel umbrella ninety")); err != nil {
			t.Fatal(err)
		}
	}
	if _, given, err = accounts.EnrolCodes(t.Context(), "Alice", "VP server & co"); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(given.URL)
	if err != nil || u.Query().Get("issuer") != "VP server & co" || u.Path != "/VP server & co:alice" {
		t.Fatalf("%s: %v", given.URL, err)
	}
	return accounts, given, func(when time.Time) string {
		code, err := totp.GenerateCode(u.Query().Get("secret"), when)
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
}

func openCodes(t *testing.T, file string, key *account.Key) *account.Accounts {
	t.Helper()
	store, err := state.OpenBolt(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	hasher := account.NewHasher(2)
	accounts, err := account.New(t.Context(), store, outbox.New(store, "test"), hasher, key, account.Rules{Passwords: policy.Passwords{MinimumLength: 11}, Groups: []string{"default"}})
	if err != nil {
		t.Fatal(err)
	}
	return accounts
}

func TestSplitCode(t *testing.T) {
	accounts, given, at := withCodes(t)
	now := at(time.Now())
	wrong := "000000"
	for _, c := range []string{at(time.Now()), at(time.Now().Add(-30 * time.Second)), at(time.Now().Add(30 * time.Second)), at(time.Now().Add(60 * time.Second))} {
		if c == wrong {
			wrong = "111111"
		}
	}
	for name, c := range map[string]struct{ user, typed, rest, code string }{
		"right":                        {"alice", "secret" + now, "secret", now},
		"of the step before":           {"alice", "secret" + at(time.Now().Add(-30*time.Second)), "secret", at(time.Now().Add(-30 * time.Second))},
		"too old":                      {"alice", "secret" + at(time.Now().Add(-5*time.Minute)), "secret" + at(time.Now().Add(-5*time.Minute)), ""},
		"wrong: part of the password":  {"alice", "secret" + wrong, "secret" + wrong, ""},
		"on paper":                     {"alice", "secret" + given.Recovery[3], "secret", given.Recovery[3]},
		"nothing else":                 {"alice", now, now, ""},
		"none":                         {"alice", "secret", "secret", ""},
		"not enrolled":                 {"bob", "secret" + now, "secret" + now, ""},
		"nobody":                       {"nobody", "secret" + now, "secret" + now, ""},
		"digits of a password, and it": {"alice", "secret999999" + now, "secret999999", now},
	} {
		rest, code, ok, err := accounts.SplitCode(t.Context(), c.user, secret.New(c.typed), false)
		if err != nil || rest.Reveal() != c.rest || code != c.code || ok != (c.code != "") {
			t.Errorf("%s: got %q, %q, %v, %v", name, rest.Reveal(), code, ok, err)
		}
	}
}

// Each code is used once, whoever comes with it at the same time; and is still split off for who used it.
func TestUseCode(t *testing.T) {
	accounts, given, at := withCodes(t)
	for _, code := range []string{at(time.Now()), given.Recovery[0]} {
		var right atomic.Int64
		var using sync.WaitGroup
		for range 20 {
			using.Go(func() {
				check, err := accounts.UseCode(t.Context(), "alice", code)
				if err != nil || !check.Enrolled {
					t.Error(check, err)
				}
				if check.Right {
					right.Add(1)
				}
			})
		}
		using.Wait()
		if right.Load() != 1 {
			t.Errorf("%s was right %d times", code, right.Load())
		}
		if rest, _, ok, err := accounts.SplitCode(t.Context(), "alice", secret.New("secret"+code), false); err != nil || !ok || rest.Reveal() != "secret" {
			t.Errorf("a used code is not split off: %v, %v", ok, err)
		}
	}
	if check, err := accounts.UseCode(t.Context(), "alice", at(time.Now().Add(-30*time.Second))); err != nil || check.Right {
		t.Errorf("a code from before the last one: %+v, %v", check, err)
	}
	if check, err := accounts.UseCode(t.Context(), "alice", ""); err != nil || !check.Enrolled || check.Right {
		t.Errorf("no code: %+v, %v", check, err)
	}
	if check, err := accounts.UseCode(t.Context(), "bob", at(time.Now())); err != nil || check.Enrolled {
		t.Errorf("not enrolled: %+v, %v", check, err)
	}
	if _, err := accounts.RemoveCodes(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if check, err := accounts.UseCode(t.Context(), "alice", given.Recovery[1]); err != nil || check.Enrolled {
		t.Errorf("removed: %+v, %v", check, err)
	}
}

// Without the key nobody with codes gets in; and the store holds neither a seed nor a code on paper.
func TestAnotherKey(t *testing.T) {
	dir := t.TempDir()
	file, db := filepath.Join(dir, "codes.key"), filepath.Join(dir, "state.db")
	key, err := account.LoadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	accounts := openCodes(t, db, key)
	if _, err := accounts.Add(t.Context(), account.Account{Name: "alice"}, secret.New("gravel umbrella ninety")); err != nil {
		t.Fatal(err)
	}
	_, given, err := accounts.EnrolCodes(t.Context(), "alice", "x")
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(given.URL)
	raw, err := os.ReadFile(db)
	if err != nil || strings.Contains(string(raw), u.Query().Get("secret")) || strings.Contains(string(raw), given.Recovery[0]) {
		t.Errorf("the store holds a secret: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	other, err := account.LoadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	accounts = reopenCodes(t, db, other)
	if _, _, _, err := accounts.SplitCode(t.Context(), "alice", secret.New("secret123456"), false); !errors.Is(err, account.ErrDamaged) {
		t.Errorf("got %v", err)
	}
	if _, err := accounts.UseCode(t.Context(), "alice", "123456"); !errors.Is(err, account.ErrDamaged) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := account.LoadKey(file); err == nil {
		t.Error("a short key was taken")
	}
}

// reopenCodes opens a copy: the store is locked by who has it open.
func reopenCodes(t *testing.T, db string, key *account.Key) *account.Accounts {
	t.Helper()
	raw, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "state.db")
	if err := os.WriteFile(again, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return openCodes(t, again, key)
}

func testKey(t *testing.T) *account.Key {
	t.Helper()
	key, err := account.LoadKey(filepath.Join(t.TempDir(), "codes.key"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}
