// Package statetest is the conformance suite that every [state.Store] must pass.
package statetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/state"
)

// Run runs the suite; open returns an empty store for each test.
func Run(t *testing.T, open func(t *testing.T) state.Store) {
	t.Run("put and get", func(t *testing.T) { putAndGet(t, open(t)) })
	t.Run("compare and swap", func(t *testing.T) { compareAndSwap(t, open(t)) })
	t.Run("additions", func(t *testing.T) { additions(t, open(t)) })
	t.Run("delete", func(t *testing.T) { deletes(t, open(t)) })
	t.Run("list in pages", func(t *testing.T) { lists(t, open(t)) })
	t.Run("limits", func(t *testing.T) { limits(t, open(t)) })
	t.Run("one of many writers wins", func(t *testing.T) { racers(t, open(t)) })
	t.Run("cancelled", func(t *testing.T) { cancelled(t, open(t)) })
}

func putAndGet(t *testing.T, s state.Store) {
	ctx := t.Context()
	if _, err := s.Get(ctx, "accounts", "alice"); !errors.Is(err, state.ErrNotFound) {
		t.Fatalf("empty store: got %v, want ErrNotFound", err)
	}
	value := []byte("one")
	r, err := s.Put(ctx, "accounts", "alice", value, 0)
	must(t, err)
	value[0] = 'X' // the store must have its own copy
	got, err := s.Get(ctx, "accounts", "alice")
	must(t, err)
	if string(got.Value) != "one" || got.Revision != r || got.Key != "alice" {
		t.Errorf("got %+v", got)
	}
	got.Value[0] = 'Y' // and give one
	again, err := s.Get(ctx, "accounts", "alice")
	must(t, err)
	if string(again.Value) != "one" {
		t.Error("a caller can change what is stored")
	}
	if _, err := s.Get(ctx, "other", "alice"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("other bucket: got %v, want ErrNotFound", err)
	}
}

func compareAndSwap(t *testing.T, s state.Store) {
	ctx := t.Context()
	r1, err := s.Put(ctx, "b", "k", []byte("1"), 0)
	must(t, err)
	if _, err := s.Put(ctx, "b", "k", []byte("2"), 0); !errors.Is(err, state.ErrConflict) {
		t.Errorf("create over an existing record: got %v, want ErrConflict", err)
	}
	r2, err := s.Put(ctx, "b", "k", []byte("2"), r1)
	must(t, err)
	if _, err := s.Put(ctx, "b", "k", []byte("3"), r1); !errors.Is(err, state.ErrConflict) {
		t.Errorf("stale revision: got %v, want ErrConflict", err)
	}
	got, err := s.Get(ctx, "b", "k")
	must(t, err)
	if string(got.Value) != "2" || got.Revision != r2 {
		t.Errorf("a refused write left %+v", got)
	}
}

func additions(t *testing.T, s state.Store) {
	ctx := t.Context()
	one := state.Addition{Bucket: "other", Key: "1", Value: []byte("x")}
	r, err := s.Put(ctx, "b", "k", []byte("1"), 0, one)
	must(t, err)
	if got, err := s.Get(ctx, "other", "1"); err != nil || string(got.Value) != "x" {
		t.Errorf("got %+v, %v", got, err)
	}
	two := state.Addition{Bucket: "other", Key: "2", Value: []byte("y")}
	if _, err := s.Put(ctx, "b", "k", []byte("2"), r, two, one); !errors.Is(err, state.ErrConflict) {
		t.Errorf("over an existing one: got %v, want ErrConflict", err)
	}
	if err := s.Delete(ctx, "b", "k", r+1000, two); !errors.Is(err, state.ErrConflict) {
		t.Errorf("stale revision: got %v, want ErrConflict", err)
	}
	if _, err := s.Get(ctx, "other", "2"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("a refused write left its addition: %v", err)
	}
	if got, err := s.Get(ctx, "b", "k"); err != nil || string(got.Value) != "1" {
		t.Errorf("a refused addition left %+v, %v", got, err)
	}
	must(t, s.Delete(ctx, "b", "k", r, two))
	if got, err := s.Get(ctx, "other", "2"); err != nil || string(got.Value) != "y" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func deletes(t *testing.T, s state.Store) {
	ctx := t.Context()
	if err := s.Delete(ctx, "b", "k", 0); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("delete nothing: got %v, want ErrNotFound", err)
	}
	r, err := s.Put(ctx, "b", "k", nil, 0)
	must(t, err)
	if err := s.Delete(ctx, "b", "k", r+1); !errors.Is(err, state.ErrConflict) {
		t.Errorf("stale delete: got %v, want ErrConflict", err)
	}
	must(t, s.Delete(ctx, "b", "k", r))
	again, err := s.Put(ctx, "b", "k", nil, 0)
	must(t, err)
	if again == r {
		t.Error("a record made anew has the revision of the deleted one")
	}
	must(t, s.Delete(ctx, "b", "k", again))
	if _, err := s.Get(ctx, "b", "k"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("after delete: got %v, want ErrNotFound", err)
	}
}

func lists(t *testing.T, s state.Store) {
	ctx := t.Context()
	if got, err := s.List(ctx, "none", "", 10); err != nil || len(got) != 0 {
		t.Errorf("empty bucket: got %v, %v", got, err)
	}
	for i := range 25 {
		_, err := s.Put(ctx, "b", fmt.Sprintf("k%02d", i), []byte{byte(i)}, 0)
		must(t, err)
	}
	var keys []string
	for after := ""; ; {
		page, err := s.List(ctx, "b", after, 10)
		must(t, err)
		for _, r := range page {
			keys = append(keys, r.Key)
		}
		if len(page) < 10 {
			break
		}
		after = page[len(page)-1].Key
	}
	if len(keys) != 25 || keys[0] != "k00" || keys[24] != "k24" {
		t.Errorf("got %v", keys)
	}
}

func limits(t *testing.T, s state.Store) {
	for name, key := range map[string]string{"empty": "", "long": strings.Repeat("k", state.MaxKey+1)} {
		if _, err := s.Put(t.Context(), "b", key, nil, 0); err == nil {
			t.Errorf("%s key: want an error", name)
		}
	}
	if _, err := s.Put(t.Context(), "b", "k", make([]byte, state.MaxValue+1), 0); err == nil {
		t.Error("long value: want an error")
	}
}

func racers(t *testing.T, s state.Store) {
	r, err := s.Put(t.Context(), "b", "k", nil, 0)
	must(t, err)
	var wg sync.WaitGroup
	won := make(chan int, 16)
	for i := range 16 {
		wg.Go(func() {
			switch _, err := s.Put(t.Context(), "b", "k", []byte{byte(i)}, r); {
			case err == nil:
				won <- i
			case !errors.Is(err, state.ErrConflict):
				t.Errorf("got %v, want ErrConflict", err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d writers won, want 1", len(won))
	}
}

func cancelled(t *testing.T, s state.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(ctx, "b", "k", nil, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
