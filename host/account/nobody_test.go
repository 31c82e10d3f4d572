package account_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// Names that nobody has get hashes of all kinds that there are, in proportion, and the same one each time.
func TestHashOfNobody(t *testing.T) {
	accounts, _ := newAccounts(t)
	sha, bcrypt := "$6$rounds=5000$0123456789abcdef$", "$2b$10$"
	var all []account.Portable
	for i := range 40 {
		hash := sha + strings.Repeat("a", 86)
		if i < 10 {
			hash = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
		}
		all = append(all, account.Portable{Name: fmt.Sprintf("user%d", i), Hash: hash})
	}
	if _, done, err := accounts.Import(t.Context(), all, true); err != nil || !done {
		t.Fatal(done, err)
	}
	counts := map[string]int{}
	for i := range 1000 {
		name := fmt.Sprintf("nobody%d", i)
		hash, err := accounts.HashOfNobody(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := accounts.HashOfNobody(t.Context(), name); again != hash {
			t.Fatalf("%s has another hash now", name)
		}
		switch {
		case strings.HasPrefix(hash, sha):
			counts["sha"]++
		case strings.HasPrefix(hash, bcrypt):
			counts["bcrypt"]++
		default:
			t.Fatalf("%s: a hash of no account's kind: %s", name, hash)
		}
	}
	if counts["bcrypt"] < 180 || counts["bcrypt"] > 320 { // a quarter
		t.Errorf("%v", counts)
	}
	// When accounts come and go, few names get another kind.
	moved := 0
	before := map[string]string{}
	for i := range 1000 {
		before[fmt.Sprint(i)], _ = accounts.HashOfNobody(t.Context(), fmt.Sprintf("nobody%d", i))
	}
	if _, err := accounts.Remove(t.Context(), "user20"); err != nil {
		t.Fatal(err)
	}
	if err := accounts.Survey(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if now, _ := accounts.HashOfNobody(t.Context(), fmt.Sprintf("nobody%d", i)); now[:4] != before[fmt.Sprint(i)][:4] {
			moved++
		}
	}
	if moved > 30 {
		t.Errorf("%d of 1000 names have another kind", moved)
	}
	// The password of the account whose hash it is is right for nobody.
	if check, err := accounts.Verify(t.Context(), "nobody1", source, secret.New("x")); err != nil || check.Enrolled || check.Right || check.Reason != events.UnknownUser {
		t.Errorf("%+v, %v", check, err)
	}
}

// An invitation is good for choosing a password, once, and not for long.
func TestInvitation(t *testing.T) {
	accounts, _ := newAccounts(t)
	accounts.SetRules(account.Rules{Passwords: policy.Passwords{MinimumLength: 11}, Groups: []string{"default"}, OwnChange: []string{"default"}})
	for name, until := range map[string]time.Time{"alice": time.Now().Add(time.Hour), "late": time.Now().Add(-time.Second)} {
		if _, err := accounts.Add(t.Context(), account.Account{Name: name, MustChange: true, PasswordUntil: until}, good); err != nil {
			t.Fatal(err)
		}
	}
	if check, err := accounts.Verify(t.Context(), "late", source, good); err != nil || check.Right || check.Reason != events.PasswordExpired {
		t.Errorf("too late: %+v, %v", check, err)
	}
	if err := accounts.ChangeOwn(t.Context(), "late", source, good, password(1)); err == nil {
		t.Error("it was used too late")
	}
	if check, err := accounts.Verify(t.Context(), "alice", source, good); err != nil || !check.Right || !check.MustChange {
		t.Errorf("in time: %+v, %v", check, err)
	}
	if err := accounts.ChangeOwn(t.Context(), "alice", source, good, password(1)); err != nil {
		t.Fatal(err)
	}
	if check, err := accounts.Verify(t.Context(), "alice", source, good); err != nil || check.Right {
		t.Errorf("used twice: %+v, %v", check, err)
	}
	if check, err := accounts.Verify(t.Context(), "alice", source, password(1)); err != nil || !check.Right || check.MustChange {
		t.Errorf("her own: %+v, %v", check, err)
	}
	// An administrator can't make a password of the code, nor lift its end, by accident.
	if _, err := accounts.Change(t.Context(), "late", account.Change{MustChange: new(false)}); !errors.Is(err, account.ErrInvalid) {
		t.Errorf("%v", err)
	}
	if _, err := accounts.Change(t.Context(), "late", account.Change{MustChange: new(true), Email: new("late@example.org")}); err != nil {
		t.Error(err)
	}
	if check, err := accounts.Verify(t.Context(), "late", source, good); err != nil || check.Right {
		t.Errorf("its end was lifted: %+v, %v", check, err)
	}
	// Who has to change it has to, also without a history.
	if _, err := accounts.SetPassword(t.Context(), "alice", good, account.Terms{MustChange: true}); err != nil {
		t.Fatal(err)
	}
	if err := accounts.ChangeOwn(t.Context(), "alice", source, good, good); err == nil {
		t.Error("it was changed to itself")
	}
	exported, err := accounts.Export(t.Context(), "", 10)
	if err != nil || !exported[0].PasswordUntil.IsZero() || exported[1].PasswordUntil.IsZero() {
		t.Errorf("%+v, %v", exported, err)
	}
}
