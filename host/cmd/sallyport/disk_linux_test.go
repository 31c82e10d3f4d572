package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// On a full disk logins are refused, quickly, and when there is room they go on by themselves, with events that say so.
func TestFullDisk(t *testing.T) {
	needPrograms(t, "curl")
	s := newServer(t, "")
	s.addAccount("alice")
	_ = s.kill(syscall.SIGTERM)
	data, aside := s.path("data"), s.path("aside")
	if err := os.Rename(data, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=160m"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("a small disk can't be made (%v): run this test as root", err)
		}
		t.Skipf("a small disk can't be made (%v): run this test as root", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(data, syscall.MNT_DETACH) })
	if out, err := exec.Command("cp", "-a", aside+"/.", data).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.start()
	login := func() bool {
		out, err := s.try("curl", "-sS", "--ssl-reqd", "-k", "--max-time", "30", "--user", "alice:"+goodPassword, "ftp://"+s.explicit+"/")
		if err != nil && !strings.Contains(out, "530") {
			t.Errorf("%v: %s", err, out)
		}
		return err == nil
	}
	if !login() {
		t.Fatal("no login on a disk with room")
	}
	ballast, err := os.Create(filepath.Clean(s.path("data", "ballast")))
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = ballast.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	_ = ballast.Close()
	refused := false
	for range 200 { // what the stream has reserved is used up first
		if refused = !login(); refused {
			break
		}
	}
	if !refused {
		t.Fatal("the disk is full, and logins go on")
	}
	if login() {
		t.Error("a login was let in although its event can't be stored")
	}
	if !strings.Contains(s.log.String(), "reason=event_not_stored") {
		t.Error("the log does not say why")
	}
	if err := os.Remove(ballast.Name()); err != nil {
		t.Fatal(err)
	}
	back := false
	for deadline := time.Now().Add(time.Minute); !back && time.Now().Before(deadline); {
		back = login()
	}
	if !back {
		t.Fatal("there is room, and logins do not go on")
	}
	tail := s.sallyport("", "events", "tail", "--since", "10m", "--no-follow", "--json", "--type", "server")
	if !strings.Contains(tail, `"reason":"event_not_stored","since":`) || !strings.Contains(tail, `"lost":`) {
		t.Errorf("no event tells of it: %s", tail)
	}
	s.sallyport(goodPassword+"\n", "login", "--user", "alice", "--password-stdin")
	if err := s.kill(syscall.SIGTERM); err != nil { // and what is stored can be read by the next run
		t.Error(err)
	}
	s.start()
	if !login() {
		t.Error("no login after a restart")
	}
}
