package bus_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/bus"
)

// smallDisk is a file system of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("a small disk can't be made (%v): run this test as root", err)
		}
		t.Skipf("a small disk can't be made (%v): run this test as root", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// On a full disk events fail at once, nothing is corrupted, and when there is room it goes on by itself, telling what
// was lost.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "48m")
	o := options(t)
	o.Dir = filepath.Join(disk, "events")
	b := open(t, o)
	for range 20 {
		if err := b.Store(t.Context(), refused("before")); err != nil {
			t.Fatal(err)
		}
	}
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	var failed error
	for range 20_000 { // until what the stream had reserved is used up
		if failed = b.Store(t.Context(), refused("meanwhile")); failed != nil {
			break
		}
	}
	if failed == nil {
		t.Fatal("the disk is full, and events are stored")
	}
	t.Log("first failure:", failed)
	start := time.Now()
	var storing sync.WaitGroup
	for range 100 {
		storing.Go(func() {
			if err := b.Store(t.Context(), refused("lost")); !errors.Is(err, bus.ErrBroken) {
				t.Errorf("got %v", err)
			}
		})
	}
	storing.Wait()
	if b.Healthy() == nil {
		t.Error("it says that it is healthy")
	}
	t.Log("100 failures took", time.Since(start))
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); b.Healthy() != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not go on although there is room")
		}
	}
	if err := b.Store(t.Context(), refused("after")); err != nil {
		t.Fatal(err)
	}
	var degraded, restored bool
	last := map[string]uint64{}
	err := b.Follow(t.Context(), bus.FollowOptions{Since: time.Now().Add(-time.Hour)}, func(e events.Event) error {
		if e.Sequence < last[e.Stream] {
			t.Errorf("%s has the sequence number %d after %d", e.ID, e.Sequence, last[e.Stream])
		}
		last[e.Stream] = e.Sequence
		switch d := e.Data.(type) {
		case *events.ServerDegraded:
			degraded = d.Reason == events.EventNotStored && !d.Since.IsZero()
		case *events.ServerRestored:
			restored = d.Reason == events.EventNotStored && d.Lost >= 100
		}
		return nil
	})
	if err != nil || !degraded || !restored {
		t.Errorf("degraded %v, restored %v, %v", degraded, restored, err)
	}
	if got := collect(t, b, time.Now().Add(-time.Hour)); got[0] != "before" || got[len(got)-1] != "after" {
		t.Errorf("%d events, %s to %s", len(got), got[0], got[len(got)-1])
	}
}

func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(filepath.Clean(name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); err != nil {
			if errors.Is(err, syscall.ENOSPC) {
				return
			}
			t.Fatal(err)
		}
	}
}

// Before the oldest audit events have to go, it is said.
func TestNearlyFull(t *testing.T) {
	o := options(t)
	o.Size = 1 << 20
	b := open(t, o)
	for range 3000 { // more than it holds
		if err := b.Store(t.Context(), &events.LoginAccepted{Method: "accounts"}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		told := 0
		err := b.Follow(t.Context(), bus.FollowOptions{Since: time.Now().Add(-time.Hour)}, func(e events.Event) error {
			if d, ok := e.Data.(*events.ServerDegraded); ok && d.Reason == events.EventsFull {
				told++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if told == 1 {
			break
		}
		if told > 1 || time.Now().After(deadline) {
			t.Fatalf("told %d times", told)
		}
	}
	info := b.Streams(t.Context())[events.StreamAudit]
	if info.State.Bytes > 1<<20 {
		t.Errorf("it has %d bytes", info.State.Bytes)
	}
}
