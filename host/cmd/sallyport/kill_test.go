package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
)

// A server that is killed while a password changes has the old one or the new one, and an event for each change that it
// has, once, and for no other.
func TestKilledWhileAPasswordChanges(t *testing.T) { killWhileChanging(t, 6) }

func killWhileChanging(t *testing.T, rounds int) {
	s := newServer(t, `
password_policy {
  history = 0
}
`)
	password := func(n int) string { return fmt.Sprintf("gravel umbrella ninety tango %d", n) }
	s.sallyport(password(0)+"\n", "account", "add", "alice", "--password-stdin")
	right := func(n int) bool {
		cmd := s.command("login", "--user", "alice", "--password-stdin", "--json")
		cmd.Stdin = strings.NewReader(password(n) + "\n")
		out, _ := cmd.Output()
		return strings.Contains(string(out), `"accepted": true`)
	}
	random := rand.New(rand.NewPCG(1, 2))
	now, changes, lost := 0, 0, 0
	for round := 1; round <= rounds; round++ {
		cmd := s.command("account", "passwd", "alice", "--password-stdin")
		cmd.Stdin = strings.NewReader(password(round) + "\n")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond)
		_ = s.kill(syscall.SIGKILL)
		acknowledged := cmd.Wait() == nil
		s.start()
		was, is := right(now), right(round)
		switch {
		case was == is:
			t.Fatalf("round %d: old password %v, new one %v", round, was, is)
		case acknowledged && !is:
			t.Fatalf("round %d: the change was acknowledged, and is lost", round)
		case is:
			now = round
			changes++
		default:
			lost++
		}
	}
	t.Logf("%d changes made, %d not", changes, lost)
	told := map[string]bool{}
	for range 50 { // what waited is stored soon after the start
		for line := range strings.Lines(s.sallyport("", "events", "tail", "--since", "1h", "--no-follow", "--json")) {
			var e events.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			if e.Data.EventType() == events.PasswordChangedType {
				told[e.ID] = true
			}
		}
		if len(told) >= changes {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if len(told) != changes {
		t.Errorf("%d events of %d changes", len(told), changes)
	}
}
