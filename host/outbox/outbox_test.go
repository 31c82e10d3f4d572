package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/outbox"
	"github.com/sallyport-ftps/sallyport/host/state"
)

// What is written is published in order, with its ID, again and again until somebody has it, and then no more.
func TestPublishes(t *testing.T) {
	store, err := state.OpenBolt(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	synctest.Test(t, func(t *testing.T) {
		o := outbox.New(store, "VP server")
		var written []string
		write := func(from, to int) {
			for i := from; i < to; i++ {
				entry, err := o.Entry(&events.AccountChanged{Change: events.AccountCreatedType, Account: fmt.Sprint("user", i)})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := store.Put(t.Context(), "accounts", fmt.Sprint("user", i), []byte("x"), 0, entry); err != nil {
					t.Fatal(err)
				}
				written = append(written, entry.Key)
			}
			o.Wake()
		}
		write(0, 250) // before anybody publishes
		ctx, cancel := context.WithCancel(t.Context())
		var published []string
		var fails atomic.Int32
		fails.Store(3)
		var done sync.WaitGroup
		done.Go(func() {
			o.Run(ctx, func(_ context.Context, e events.Event) error {
				if len(published) == 100 && fails.Load() > 0 {
					fails.Add(-1)
					return errors.New("no room")
				}
				if e.Source != "/sallyport/VP server" || e.Data.(*events.AccountChanged).Account != fmt.Sprint("user", len(published)) {
					t.Errorf("got %+v", e)
				}
				published = append(published, e.ID)
				return nil
			}, slog.New(slog.DiscardHandler))
		})
		for fails.Load() > 0 {
			time.Sleep(time.Second)
		}
		time.Sleep(5 * time.Second) // the last one is tried again
		write(250, 260)
		synctest.Wait()
		cancel()
		done.Wait()
		if !slices.Equal(published, written) {
			t.Errorf("%d published of %d, or in another order", len(published), len(written))
		}
		if left, err := store.List(t.Context(), "outbox", "", 10); err != nil || len(left) != 0 {
			t.Errorf("%d are left, %v", len(left), err)
		}
	})
}

// A change that does not happen has no event.
func TestRefusedChange(t *testing.T) {
	store, err := state.OpenBolt(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	o := outbox.New(store, "x")
	entry, err := o.Entry(&events.AccountChanged{Change: events.AccountDeletedType, Account: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), "accounts", "alice", nil, 7, entry); !errors.Is(err, state.ErrConflict) {
		t.Errorf("got %v", err)
	}
	if err := store.Delete(t.Context(), "accounts", "alice", 7, entry); !errors.Is(err, state.ErrConflict) {
		t.Errorf("got %v", err)
	}
	if left, err := store.List(t.Context(), "outbox", "", 10); err != nil || len(left) != 0 {
		t.Errorf("%d are there, %v", len(left), err)
	}
}
