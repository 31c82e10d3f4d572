package account_test

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/host/state"
)

func password(n int) secret.Text {
	return secret.New(fmt.Sprintf("gravel umbrella ninety tango %d", n))
}

// told are the events that wait in the outbox, in short.
func told(t *testing.T, store state.Store) (all []string) {
	t.Helper()
	records, err := store.List(t.Context(), "outbox", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		var e events.Event
		if err := e.UnmarshalJSON(r.Value); err != nil {
			t.Fatal(err)
		}
		text := strings.TrimPrefix(string(e.Data.EventType()), events.Root+".")
		switch d := e.Data.(type) {
		case *events.AccountChanged:
			text += " " + d.Account + " " + strings.Join(d.Fields, ",")
		case *events.PasswordChanged:
			text += fmt.Sprintf(" %s %v %s", d.Account, d.Self, strings.Join(d.Rules, ","))
		}
		all = append(all, strings.TrimSpace(text))
	}
	return all
}

func TestEveryChangeHasItsEvent(t *testing.T) {
	accounts, store := newAccounts(t)
	accounts.SetRules(account.Rules{Passwords: policy.Passwords{MinimumLength: 11, MinimumStrength: 3}, Groups: []string{"default", "uk"}, OwnChange: []string{"uk"}})
	ctx := t.Context()
	must := func(_ account.Account, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	must(accounts.Add(ctx, account.Account{Name: "Alice"}, good))
	must(accounts.Change(ctx, "ALICE", account.Change{Email: new("a@example.org"), Groups: &[]string{"uk"}, Attributes: map[string]string{"x": "1"}}))
	must(accounts.Change(ctx, "alice", account.Change{Email: new("a@example.org")})) // nothing
	must(accounts.SetEnabled(ctx, "alice", false))
	must(accounts.SetEnabled(ctx, "alice", true))
	must(accounts.SetPassword(ctx, "alice", password(1), account.Terms{MustChange: true}))
	if _, err := accounts.SetPassword(ctx, "alice", secret.New("alice1"), account.Terms{}); err == nil {
		t.Error("a bad password is taken")
	}
	must(accounts.Unlocked(ctx, "alice"))
	must(accounts.Remove(ctx, "alice"))
	want := []string{
		"account.created alice", "account.changed alice attributes,email,groups", "account.disabled alice", "account.enabled alice", "password.changed alice false",
		"password.refused alice false length,strength", "account.unlocked alice", "account.deleted alice",
	}
	if got := told(t, store); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, r := range told(t, store) {
		if strings.Contains(r, "gravel") {
			t.Error("a password is in an event")
		}
	}
}

func TestWhoMayLogIn(t *testing.T) {
	accounts, _ := newAccounts(t)
	ctx := t.Context()
	yesterday, tomorrow := time.Now().Add(-24*time.Hour), time.Now().Add(24*time.Hour)
	for name, c := range map[string]struct {
		change account.Change
		source string
		want   events.Reason
	}{
		"nothing said":     {account.Change{}, "192.0.2.1", ""},
		"expired":          {account.Change{Expires: &yesterday}, "192.0.2.1", events.AccountExpired},
		"not yet expired":  {account.Change{Expires: &tomorrow}, "192.0.2.1", ""},
		"from there":       {account.Change{Sources: &[]string{"198.51.100.0/24", "192.0.2.1"}}, "192.0.2.1", ""},
		"from elsewhere":   {account.Change{Sources: &[]string{"198.51.100.0/24", "2001:db8::/32"}}, "192.0.2.1", events.SourceNotAllowed},
		"from IPv6":        {account.Change{Sources: &[]string{"2001:db8::/32"}}, "2001:db8:1::5", ""},
		"mapped IPv4":      {account.Change{Sources: &[]string{"192.0.2.0/24"}}, "::ffff:192.0.2.7", ""},
		"used recently":    {account.Change{UnusedDays: new(1)}, "192.0.2.1", ""},
		"changed, in time": {account.Change{Expires: &time.Time{}}, "192.0.2.1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			user := strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ",", "")
			if _, err := accounts.Add(ctx, account.Account{Name: user}, good); err != nil {
				t.Fatal(err)
			}
			if _, err := accounts.Change(ctx, user, c.change); err != nil {
				t.Fatal(err)
			}
			got, err := accounts.Verify(ctx, user, netip.MustParseAddr(c.source), good)
			if err != nil || got.Right != (c.want == "") || got.Reason != c.want {
				t.Errorf("got %+v, %v; want %q", got, err, c.want)
			}
			if got, err := accounts.Verify(ctx, user, netip.MustParseAddr(c.source), password(7)); err != nil || got.Reason != events.WrongPassword {
				t.Errorf("with a wrong password the reason is told: %+v, %v", got, err)
			}
		})
	}
	a := account.Account{Enabled: true, UnusedDays: 90, Created: yesterday.AddDate(0, 0, -100)}
	if got := a.Refusal(time.Now(), netip.Addr{}); got != events.AccountUnused {
		t.Errorf("unused: %q", got)
	}
	a.EnabledSince = yesterday
	if got := a.Refusal(time.Now(), netip.Addr{}); got != "" {
		t.Errorf("enabled again: %q", got)
	}
}

func TestBadChanges(t *testing.T) {
	accounts, _ := newAccounts(t)
	ctx := t.Context()
	added, err := accounts.Add(ctx, account.Account{Name: "alice", Attributes: map[string]string{"a": "1", "b": "2"}}, good)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]account.Change{
		"group":       {Groups: &[]string{"us"}},
		"e-mail":      {Email: new("alice")},
		"home":        {Home: new("x")},
		"permission":  {Permissions: &[]string{"allow-everything"}},
		"source":      {Sources: &[]string{"192.0.2.0/33"}},
		"must change": {MustChange: new(true)},
		"days":        {UnusedDays: new(-1)},
		"attribute":   {Attributes: map[string]string{"x": strings.Repeat("x", 2000)}},
	} {
		if _, err := accounts.Change(ctx, "alice", c); !errors.Is(err, account.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, err := accounts.Get(ctx, "alice")
	added.Revision = got.Revision
	if err != nil || !reflect.DeepEqual(got, added) {
		t.Errorf("got %+v, %v; want %+v", got, err, added)
	}
	changed, err := accounts.Change(ctx, "alice", account.Change{Attributes: map[string]string{"a": "", "c": "3"}, Revision: got.Revision})
	if err != nil || !reflect.DeepEqual(changed.Attributes, map[string]string{"b": "2", "c": "3"}) {
		t.Errorf("got %+v, %v", changed, err)
	}
	if _, err := accounts.Change(ctx, "alice", account.Change{Email: new("a@example.org"), Revision: got.Revision}); !errors.Is(err, state.ErrConflict) {
		t.Errorf("at another revision: %v", err)
	}
}

// Several administrators at once: what each changes is there afterwards.
func TestConcurrentChanges(t *testing.T) {
	accounts, _ := newAccounts(t)
	ctx := t.Context()
	if _, err := accounts.Add(ctx, account.Account{Name: "alice"}, good); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			if _, err := accounts.Change(ctx, "alice", account.Change{Attributes: map[string]string{fmt.Sprint(i): "x"}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, err := accounts.Get(ctx, "alice"); err != nil || len(got.Attributes) != 16 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestHistory(t *testing.T) {
	accounts, _ := newAccounts(t)
	ctx := t.Context()
	rules := account.Rules{Passwords: policy.Passwords{MinimumLength: 11, History: 3}, Groups: []string{"default"}, OwnChange: []string{"default"}}
	accounts.SetRules(rules)
	if _, err := accounts.Add(ctx, account.Account{Name: "alice"}, password(0)); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		next int
		ok   bool
	}{{0, false}, {1, true}, {0, false}, {2, true}, {0, false}, {1, false}, {3, true}, {0, true}, {2, false}} {
		_, err := accounts.SetPassword(ctx, "alice", password(c.next), account.Terms{})
		var refusal *policy.Refusal
		if (err == nil) != c.ok || err != nil && !errors.As(err, &refusal) {
			t.Errorf("step %d, password %d: %v", i, c.next, err)
		}
	}
	rules.Passwords.History = 0
	accounts.SetRules(rules)
	if _, err := accounts.SetPassword(ctx, "alice", password(0), account.Terms{}); err != nil {
		t.Errorf("without a history: %v", err)
	}
}

func TestChangeOwn(t *testing.T) {
	accounts, store := newAccounts(t)
	ctx := t.Context()
	rules := account.Rules{Passwords: policy.Passwords{MinimumLength: 11, Lifetime: time.Hour}, Groups: []string{"default", "uk"}, OwnChange: []string{"uk"}}
	accounts.SetRules(rules)
	for name, group := range map[string]string{"alice": "uk", "bob": "default"} {
		rules.OwnChange = []string{"uk", "default"}
		accounts.SetRules(rules)
		if _, err := accounts.Add(ctx, account.Account{Name: name, Groups: []string{group}, MustChange: true}, good); err != nil {
			t.Fatal(err)
		}
		rules.OwnChange = []string{"uk"} // it may become so later
		accounts.SetRules(rules)
		got, err := accounts.Verify(ctx, name, source, good)
		if err != nil || got.Right != (name == "alice") || got.MustChange != got.Right || got.Reason != events.MustChange {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if err := accounts.ChangeOwn(ctx, "bob", source, good, password(1)); !errors.Is(err, account.ErrNotAllowed) {
		t.Errorf("bob: %v", err)
	}
	if _, err := accounts.SetEnabled(ctx, "alice", false); err != nil {
		t.Fatal(err)
	}
	if err := accounts.ChangeOwn(ctx, "alice", source, good, password(1)); !errors.Is(err, account.ErrNotAllowed) {
		t.Errorf("disabled meanwhile: %v", err)
	}
	if _, err := accounts.SetEnabled(ctx, "alice", true); err != nil {
		t.Fatal(err)
	}
	if err := accounts.ChangeOwn(ctx, "alice", source, password(9), password(1)); !errors.Is(err, account.ErrOldPassword) {
		t.Errorf("wrong old one: %v", err)
	}
	var refusal *policy.Refusal
	if err := accounts.ChangeOwn(ctx, "alice", source, good, secret.New("short")); !errors.As(err, &refusal) {
		t.Errorf("bad new one: %v", err)
	}
	if err := accounts.ChangeOwn(ctx, "alice", source, good, password(1)); err != nil {
		t.Error(err)
	}
	if got, err := accounts.Verify(ctx, "alice", source, password(1)); err != nil || !got.Right || got.MustChange {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
	rules.Passwords.Lifetime = time.Nanosecond
	accounts.SetRules(rules)
	if got, err := accounts.Verify(ctx, "alice", source, password(1)); err != nil || !got.MustChange || got.Reason != events.PasswordExpired {
		t.Errorf("too old: %+v, %v", got, err)
	}
	if got := strings.Join(told(t, store), "; "); !strings.Contains(got, "password.changed alice true") || !strings.Contains(got, "password.refused alice true length") {
		t.Errorf("events %s", got)
	}
}

// Two changes of a password at once: one is made, the other one hears so.
func TestConcurrentPasswords(t *testing.T) {
	accounts, _ := newAccounts(t)
	ctx := t.Context()
	if _, err := accounts.Add(ctx, account.Account{Name: "alice"}, good); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var made []int
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			_, err := accounts.SetPassword(ctx, "alice", password(i), account.Terms{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made = append(made, i)
			} else if !errors.Is(err, state.ErrConflict) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(made) == 0 {
		t.Fatal("none was made")
	}
	right := 0
	for i := range 4 {
		if got, err := accounts.Verify(ctx, "alice", source, password(i)); err != nil {
			t.Error(err)
		} else if got.Right {
			right++
		}
	}
	if right != 1 {
		t.Errorf("%d passwords are right", right)
	}
}

// Whatever scheme a hash has, the password is right, and the hash is the configured one afterwards.
func TestSchemes(t *testing.T) {
	accounts, store := newAccounts(t)
	ctx := t.Context()
	hash := func() string {
		r, err := store.Get(ctx, "accounts", "alice")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(r.Value), `"hash":"`)
		rest, _, _ = strings.Cut(rest, `"`)
		return rest
	}
	use := func(h policy.Hashing) {
		accounts.SetRules(account.Rules{Passwords: policy.Passwords{Hashing: h}, Groups: []string{"default"}})
	}
	if _, err := accounts.Add(ctx, account.Account{Name: "alice"}, good); err != nil {
		t.Fatal(err)
	}
	for _, scheme := range policy.Schemes() {
		_, _, least, _ := scheme.Cost()
		more := 1
		if scheme == policy.Argon2id {
			more = 15 // it counts in steps of 8
		}
		for _, cost := range []int{least, least + more} {
			before := hash()
			use(policy.Hashing{Scheme: scheme, Cost: cost})
			for range 2 {
				if got, err := accounts.Verify(ctx, "alice", source, good); err != nil || !got.Right {
					t.Errorf("%s: %+v, %v", scheme, got, err)
				}
			}
			after := hash()
			if before == after && !(scheme == policy.Argon2id && cost == least) {
				t.Errorf("%s, cost %d: the hash is still %.20s", scheme, cost, after)
			}
			if got, err := accounts.Verify(ctx, "alice", source, good); err != nil || !got.Right || hash() != after {
				t.Errorf("%s, cost %d: made anew although it is current: %.40s, %.40s; %+v, %v", scheme, cost, after, hash(), got, err)
			}
			if got, err := accounts.Verify(ctx, "alice", source, password(1)); err != nil || got.Right {
				t.Errorf("%s: a wrong password: %+v, %v", scheme, got, err)
			}
		}
	}
	long := strings.Repeat("x", 80)
	use(policy.Hashing{Scheme: policy.BcryptSHA256, Cost: 10})
	if _, err := accounts.SetPassword(ctx, "alice", secret.New(long+"a"), account.Terms{}); err != nil {
		t.Fatal(err)
	}
	if got, err := accounts.Verify(ctx, "alice", source, secret.New(long+"b")); err != nil || got.Right {
		t.Errorf("a password is cut: %+v, %v", got, err)
	}
}

func TestWarnings(t *testing.T) {
	accounts, store := newAccounts(t)
	ctx := t.Context()
	accounts.SetRules(account.Rules{
		Passwords: policy.Passwords{MinimumLength: 11}, Groups: []string{"default", "uk"}, ByGroup: map[string]policy.Passwords{"uk": {Lifetime: 10 * 24 * time.Hour}},
	})
	for name, c := range map[string]account.Change{
		"soon":     {Expires: new(time.Now().Add(13 * 24 * time.Hour))},
		"later":    {Expires: new(time.Now().Add(15 * 24 * time.Hour))},
		"past":     {Expires: new(time.Now().Add(-time.Hour))},
		"password": {Groups: &[]string{"uk"}},
		"never":    {},
	} {
		if _, err := accounts.Add(ctx, account.Account{Name: name}, good); err != nil {
			t.Fatal(err)
		}
		if _, err := accounts.Change(ctx, name, c); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{2, 0} {
		if n, err := accounts.Warn(ctx); err != nil || n != want {
			t.Errorf("%d warnings, %v; want %d", n, err, want)
		}
	}
	if _, err := accounts.Change(ctx, "soon", account.Change{Expires: new(time.Now().Add(12 * 24 * time.Hour))}); err != nil {
		t.Fatal(err)
	}
	if n, err := accounts.Warn(ctx); err != nil || n != 1 {
		t.Errorf("of another end: %d warnings, %v", n, err)
	}
	got := strings.Join(told(t, store), "; ")
	if strings.Count(got, "account.expiring soon") != 2 || strings.Count(got, "password.expiring password") != 1 || strings.Contains(got, "expiring later") {
		t.Errorf("events %s", got)
	}
}

// An unknown name is checked against a hash of the scheme that accounts have now.
func TestUnknownNamesCostTheSame(t *testing.T) {
	accounts, store := newAccounts(t)
	ctx := t.Context()
	hasher := account.NewHasher(1)
	for _, hashing := range []policy.Hashing{{Scheme: policy.Argon2id}, {Scheme: policy.BcryptSHA256, Cost: 10}} {
		accounts.SetRules(account.Rules{Passwords: policy.Passwords{Hashing: hashing}, Groups: []string{"default"}})
		want, err := hasher.Hash(ctx, hashing, good)
		if err != nil {
			t.Fatal(err)
		}
		got, err := accounts.DummyHash(ctx)
		if err != nil || got[:12] != want[:12] {
			t.Errorf("%s: got %.20s, %v; want %.20s", hashing.Scheme, got, err, want)
		}
		if check, err := accounts.Verify(ctx, "nobody", source, good); err != nil || check.Enrolled || check.Reason != events.UnknownUser {
			t.Errorf("got %+v, %v", check, err)
		}
	}
	if all := told(t, store); len(all) != 0 {
		t.Errorf("events %q", all)
	}
}

// Who lets the policy refuse passwords all day fills no stream with that.
func TestRefusedPasswordsAreSummedUp(t *testing.T) {
	accounts, store := newAccounts(t)
	if _, err := accounts.Add(t.Context(), account.Account{Name: "alice"}, good); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if _, err := accounts.SetPassword(t.Context(), "alice", secret.New("short"), account.Terms{}); err == nil {
			t.Fatal("it was taken")
		}
	}
	refused := 0
	for _, one := range told(t, store) {
		if strings.Contains(one, "password.refused") {
			refused++
		}
	}
	if refused != 5 {
		t.Errorf("%d events", refused)
	}
}
