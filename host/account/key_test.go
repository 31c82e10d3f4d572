package account_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// keyed is a store with its key file, and alice with codes.
func keyed(t *testing.T) (accounts *account.Accounts, keyFile, db string, given account.Enrolment) {
	t.Helper()
	dir := t.TempDir()
	keyFile, db = filepath.Join(dir, "codes.key"), filepath.Join(dir, "state.db")
	key, err := account.LoadKey(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	accounts = openCodes(t, db, key)
	for _, name := range []string{"alice", "bob"} {
		if _, err := accounts.Add(t.Context(), account.Account{Name: name}, secret.New("gravel umbrella ninety")); err != nil {
			t.Fatal(err)
		}
	}
	if _, given, err = accounts.EnrolCodes(t.Context(), "alice", "x"); err != nil {
		t.Fatal(err)
	}
	return accounts, keyFile, db, given
}

// seedIn finds the sealed seed of alice in the store.
func seedIn(t *testing.T, db string) []byte {
	t.Helper()
	raw, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`"codes":\{"seed":"([^"]+)"`).FindSubmatch(raw)
	if found == nil {
		t.Fatal("there is no seed in the store")
	}
	return found[1]
}

func TestRotateKey(t *testing.T) {
	accounts, keyFile, db, given := keyed(t)
	use := func(accounts *account.Accounts, i int) {
		t.Helper()
		if check, err := accounts.UseCode(t.Context(), "alice", given.Recovery[i]); err != nil || !check.Right {
			t.Errorf("code %d: %+v, %v", i, check, err)
		}
	}
	use(accounts, 0) // one is spent: it is sealed too
	first := seedIn(t, db)
	before, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	n, lost, err := accounts.RotateKey(t.Context())
	if err != nil || n != 1 || lost != nil {
		t.Fatalf("%d, %v, %v", n, lost, err)
	}
	after, err := os.ReadFile(keyFile)
	if err != nil || len(after) != 32 || bytes.Equal(before, after) {
		t.Fatalf("the key file has %d bytes: %v", len(after), err)
	}
	if info, err := os.Stat(keyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	sealed, err := os.ReadFile(db)
	if err != nil || bytes.Contains(sealed, first) {
		t.Errorf("what the key before opens is still in the file: %v", err)
	}
	if left, _ := filepath.Glob(keyFile + ".*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	use(accounts, 1)
	fresh, err := account.LoadKey(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	use(reopenCodes(t, db, fresh), 2)
	if _, _, ok, err := accounts.SplitCode(t.Context(), "alice", secret.New("secret"+given.Recovery[1]), false); err != nil || !ok {
		t.Errorf("the code that was used last is not split off: %v", err)
	}
	old := filepath.Join(t.TempDir(), "old.key")
	if err := os.WriteFile(old, before, 0o600); err != nil {
		t.Fatal(err)
	}
	stale, err := account.LoadKey(old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reopenCodes(t, db, stale).UseCode(t.Context(), "alice", "123456"); !errors.Is(err, account.ErrDamaged) {
		t.Errorf("the old key still opens: %v", err)
	}
}

// A rotation that is cut anywhere loses nothing, and the next one ends it.
func TestRotateKeyCut(t *testing.T) {
	accounts, keyFile, db, given := keyed(t)
	for i := range 20 {
		name := fmt.Sprintf("user%02d", i)
		if _, err := accounts.Add(t.Context(), account.Account{Name: name}, secret.New("gravel umbrella ninety")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := accounts.EnrolCodes(t.Context(), name, "x"); err != nil {
			t.Fatal(err)
		}
	}
	for cut := range 6 {
		ctx := &dying{Context: t.Context(), left: int64(1 + 7*cut)}
		if _, _, err := accounts.RotateKey(ctx); err == nil {
			t.Fatalf("cut %d: the rotation went through", cut)
		}
		raw, err := os.ReadFile(keyFile)
		if err != nil || len(raw) != 64 {
			t.Fatalf("cut %d: %d bytes, %v", cut, len(raw), err)
		}
		key, err := account.LoadKey(keyFile) // another process, after a crash
		if err != nil {
			t.Fatal(err)
		}
		if check, err := reopenCodes(t, db, key).UseCode(t.Context(), "alice", given.Recovery[cut]); err != nil || !check.Right {
			t.Errorf("cut %d: %+v, %v", cut, check, err)
		}
		if n, lost, err := accounts.RotateKey(t.Context()); err != nil || n != 21 || lost != nil {
			t.Fatalf("cut %d: %d, %v, %v", cut, n, lost, err)
		}
	}
}

// dying is a context that ends after it was asked so many times.
type dying struct {
	context.Context
	left int64
}

func (d *dying) Err() error {
	if atomic.AddInt64(&d.left, -1) < 0 {
		return context.Canceled
	}
	return nil
}

// While keys are exchanged, codes are used and given out: none is lost.
func TestRotateKeyMeanwhile(t *testing.T) {
	accounts, _, _, given := keyed(t)
	stop := make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() {
		defer close(stop)
		for range 20 {
			if _, lost, err := accounts.RotateKey(t.Context()); err != nil || lost != nil {
				t.Error(lost, err)
			}
		}
	})
	working.Go(func() {
		for _, code := range given.Recovery {
			if check, err := accounts.UseCode(t.Context(), "alice", code); err != nil || !check.Right {
				t.Errorf("%+v, %v", check, err)
			}
			time.Sleep(time.Millisecond)
		}
	})
	working.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_, given, err := accounts.EnrolCodes(t.Context(), "bob", "x")
			if err != nil {
				t.Error(err)
				return
			}
			if check, err := accounts.UseCode(t.Context(), "bob", given.Recovery[0]); err != nil || !check.Right {
				t.Errorf("%+v, %v", check, err)
			}
		}
	})
	working.Wait()
}
