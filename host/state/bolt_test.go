package state_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/state"
	"github.com/sallyport-ftps/sallyport/host/state/statetest"
)

func open(t *testing.T, path string) *state.Bolt {
	t.Helper()
	s, err := state.OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestBoltConforms(t *testing.T) {
	statetest.Run(t, func(t *testing.T) state.Store { return open(t, filepath.Join(t.TempDir(), "state.db")) })
}

func TestBoltKeepsRecordsOverAReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	r, err := s.Put(t.Context(), "b", "k", []byte("v"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := open(t, path).Get(t.Context(), "b", "k")
	if err != nil || string(got.Value) != "v" || got.Revision != r {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A damaged file is refused with a sentence, whatever the damage, and is not touched.
func TestBoltRefusesADamagedFile(t *testing.T) {
	good := filepath.Join(t.TempDir(), "state.db")
	s := open(t, good)
	for i := range 300 {
		if _, err := s.Put(t.Context(), "accounts", fmt.Sprintf("user-%03d", i), []byte(strings.Repeat("MARK", 50)), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(content)
	flipped[bytes.LastIndex(flipped, []byte("MARKMARK"))] ^= 1
	for name, damaged := range map[string][]byte{
		"not a database": []byte(strings.Repeat("hello ", 4000)),
		"cut in half":    content[:len(content)/2],
		"cut to a page":  content[:4096],
		"flipped bit":    flipped,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := state.OpenBolt(path)
			if err == nil {
				_ = s.Close()
				t.Fatal("a damaged file was opened")
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "backup") {
				t.Errorf("the message does not help: %v", err)
			}
			after, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(after, damaged) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestBoltInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	open(t, path)
	if _, err := state.OpenBolt(path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second open: got %v", err)
	}
}
