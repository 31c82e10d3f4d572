//go:build bench

package account_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/outbox"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/host/state"
)

// TestBenchAccounts prints what 100,000 accounts cost, and whether time tells which names there are.
func TestBenchAccounts(t *testing.T) {
	const count = 100_000
	file := filepath.Join(t.TempDir(), "state.db")
	store, err := state.OpenBolt(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	rules := account.Rules{Passwords: policy.Passwords{}, Groups: []string{"default"}}
	accounts, err := account.New(t.Context(), store, outbox.New(store, "bench"), account.NewHasher(runtime.GOMAXPROCS(0)), testKey(t), rules)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := accounts.Add(t.Context(), account.Account{Name: "model"}, good); err != nil {
		t.Fatal(err)
	}
	model, err := accounts.Export(t.Context(), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	row := func(what string, value any, unit string) { fmt.Printf("accounts  %-44s %12v %s\n", what, value, unit) }
	start := time.Now()
	for at := 0; at < count; at += account.MaxImport {
		batch := make([]account.Portable, account.MaxImport)
		for i := range batch {
			batch[i] = model[0]
			batch[i].Name = fmt.Sprintf("user%06d", at+i)
		}
		if _, done, err := accounts.Import(t.Context(), batch, true); err != nil || !done {
			t.Fatal(err)
		}
	}
	row("100,000 accounts imported", time.Since(start).Round(time.Millisecond), "")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	row("state file, with an event for each", info.Size()>>20, "MiB")
	took := func(n int, f func(i int)) time.Duration {
		start := time.Now()
		for i := range n {
			f(i)
		}
		return time.Since(start) / time.Duration(n)
	}
	row("add one, without its hash", took(50, func(i int) {
		one := model[0]
		one.Name = fmt.Sprint("more", i)
		if _, _, err := accounts.Import(t.Context(), []account.Portable{one}, true); err != nil {
			t.Fatal(err)
		}
	}).Round(time.Microsecond), "")
	row("find one", took(1000, func(i int) {
		if _, err := accounts.Get(t.Context(), fmt.Sprintf("user%06d", i*97%count)); err != nil {
			t.Fatal(err)
		}
	}).Round(time.Microsecond), "")
	row("list a page of 500", took(20, func(int) {
		if _, err := accounts.List(t.Context(), "user050000", 500); err != nil {
			t.Fatal(err)
		}
	}).Round(time.Microsecond), "")
	row("look at all for what expires", took(1, func(int) {
		if _, err := accounts.Warn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}).Round(time.Millisecond), "")
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	row("heap", memory.HeapAlloc>>20, "MiB")
	timing(t, accounts, "user%06d", row)
}

// TestBenchMixedHashes prints whether time tells which names there are while a third of the accounts was imported with a hash
// that costs a fifth, and another is made anew as its user logs in.
func TestBenchMixedHashes(t *testing.T) {
	store, err := state.OpenBolt(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	cheap := policy.Passwords{Hashing: policy.Hashing{Scheme: policy.Argon2id, Cost: 4096}}
	accounts, err := account.New(t.Context(), store, outbox.New(store, "bench"), account.NewHasher(runtime.GOMAXPROCS(0)), testKey(t), account.Rules{Passwords: cheap, Groups: []string{"default"}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if i == 100 {
			accounts.SetRules(account.Rules{Passwords: policy.Passwords{}, Groups: []string{"default"}})
		}
		// in an order that has nothing to do with the hash
		if _, err := accounts.Add(t.Context(), account.Account{Name: fmt.Sprintf("user%03d", i*7%300)}, good); err != nil {
			t.Fatal(err)
		}
	}
	if err := accounts.Survey(t.Context()); err != nil {
		t.Fatal(err)
	}
	row := func(what string, value any, unit string) {
		fmt.Printf("accounts  mixed hashes: %-30s %12v %s\n", what, value, unit)
	}
	timing(t, accounts, "user%03d", row)
}

// timing compares a wrong password of known and of unknown names. The difference is in standard errors of the mean: up to
// two or three is noise.
func timing(t *testing.T, accounts *account.Accounts, known string, row func(string, any, string)) {
	const tries = 300
	random := rand.New(rand.NewPCG(1, 2))
	var took [2][]float64
	for i := range tries {
		for _, kind := range random.Perm(2) { // in turn, one kind would have all the garbage collections
			name := []string{fmt.Sprintf(known, i), fmt.Sprintf("nobody%04d", i)}[kind]
			start := time.Now()
			if _, err := accounts.Verify(t.Context(), name, netip.MustParseAddr("192.0.2.1"), secret.New(fmt.Sprint("wrong", i, kind))); err != nil {
				t.Fatal(err)
			}
			took[kind] = append(took[kind], float64(time.Since(start).Microseconds()))
		}
	}
	mean := func(all []float64) (m, variance float64) {
		slices.Sort(all)
		all = all[:len(all)*9/10] // without what the machine did meanwhile
		for _, v := range all {
			m += v / float64(len(all))
		}
		for _, v := range all {
			variance += (v - m) * (v - m) / float64(len(all)-1) / float64(len(all))
		}
		return m, variance
	}
	there, v1 := mean(took[0])
	unknown, v2 := mean(took[1])
	row("wrong password, known name", fmt.Sprintf("%.2f", there/1000), "ms")
	row("wrong password, unknown name", fmt.Sprintf("%.2f", unknown/1000), "ms")
	row("difference", fmt.Sprintf("%+.1f", (unknown-there)/math.Sqrt(v1+v2)), "standard errors")
}
