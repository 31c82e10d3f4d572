package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/sallyport-ftps/sallyport/events"
)

// A login is approved, and denied, by the example program; nobody else's word counts, and it can do nothing else.
func TestApprover(t *testing.T) {
	needPrograms(t, "curl")
	port := freePort(t)
	s := newServer(t, fmt.Sprintf(`
service "ftps" "asks" {
  listen          = "127.0.0.1:%s"
  authentications = ["two"]
}
authentication "two" {
  plugin        = "local"
  second_factor = ["desk"]
}
authentication "desk" {
  plugin   = "push"
  timeout  = "20s"
  remember = "0s"
}
approvals {
  per_person = 20
  pause      = "0s"
}
`, port))
	s.addAccount("alice")
	s.sallyport(goodPassword+"\n", "account", "add", "bob", "--password-stdin", "--email", "bob@example.org")
	curl := func(from, user string) error {
		out, err := exec.Command("curl", "-sS", "--interface", from, "--ssl-reqd", "--cacert", s.path("data", "tls.crt"), "--user", user+":"+goodPassword, "ftp://127.0.0.1:"+port+"/").CombinedOutput()
		if err != nil && !strings.Contains(string(out), "530") {
			t.Errorf("%v: %s", err, out)
		}
		return err
	}
	if err := curl("127.0.0.1", "alice"); err == nil {
		t.Error("nobody is enrolled, and it is accepted")
	}
	if out, err := s.try("sallyport", "approver", "enroll", "bot", "--seed", s.path("bot.nk"), "--config", s.path("config.hcl")); err == nil || !strings.Contains(out, "for whom?") {
		t.Errorf("got %v: %s", err, out)
	}
	s.sallyport("", "approver", "enroll", "bot", "--seed", s.path("bot.nk"), "--account", "alice")
	program := filepath.Join(t.TempDir(), "approver")
	build := exec.Command("go", "build", "-o", program, "./examples/subscribers/approver")
	build.Dir = repository(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	bot := exec.Command(program, "-url", "nats://"+s.events, "-seed", s.path("bot.nk"), "-network", "127.0.0.0/31")
	var said syncBuffer
	bot.Stdout, bot.Stderr = &said, &said
	if err := bot.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bot.Process.Kill(); _ = bot.Wait() }()
	if err := curl("127.0.0.1", "alice"); err != nil {
		t.Errorf("approved: %v; %s", err, said.String())
	}
	if err := curl("127.0.0.9", "alice"); err == nil {
		t.Error("denied, and it is accepted")
	}
	if err := curl("127.0.0.1", "bob"); err == nil {
		t.Error("it decides for somebody whom it is not enrolled for")
	}
	if got := s.approvalEvents(t); got != "requested approved requested denied" {
		t.Errorf("events %q", got)
	}
	approverCan(t, s)

	// A terminal does it too.
	_ = bot.Process.Kill()
	terminal := s.command("approve", "--seed", s.path("bot.nk"))
	in, err := terminal.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var screen syncBuffer
	terminal.Stdout, terminal.Stderr = &screen, &screen
	if err := terminal.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = terminal.Wait() }()
	waiting := make(chan error, 1)
	go func() { waiting <- curl("127.0.0.1", "alice") }()
	for range 200 {
		if strings.Contains(screen.String(), `Log in as alice to asks from 127.0.0.1?`) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	_, _ = in.Write([]byte("y\n"))
	if err := <-waiting; err != nil {
		t.Errorf("%v: %s", err, screen.String())
	}
	s.sallyport("", "approver", "revoke", "bot")
	if out := s.sallyport("", "approver", "list"); strings.Contains(out, "bot") {
		t.Errorf("revoked: %s", out)
	}
	if err := curl("127.0.0.1", "alice"); err == nil {
		t.Error("revoked, and it is accepted")
	}
}

// approverCan tries what an approver's key must not do.
func approverCan(t *testing.T, s *server) {
	t.Helper()
	seed, err := os.ReadFile(s.path("bot.nk"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.FromSeed([]byte(strings.TrimSpace(string(seed))))
	if err != nil {
		t.Fatal(err)
	}
	key, _ := pair.PublicKey()
	denied := make(chan error, 20)
	conn, err := nats.Connect("nats://"+s.events, nats.Nkey(key, pair.Sign), nats.CustomInboxPrefix(events.ApproverInbox(key)), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	want := 0
	for _, subject := range []string{"sallyport.v1.>", "ask.>", "decide.>", "_INBOX.>", "$JS.>", "ingest.>"} {
		if _, err := conn.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		want++
	}
	for _, subject := range []string{"decide.UOTHER", "ask." + key, "ingest.sallyport.v1.login.accepted", "sallyport.v1.login.accepted", "$JS.API.CONSUMER.CREATE.asks", "$JS.API.STREAM.INFO.audit", "$JS.API.CONSUMER.MSG.NEXT.audit.x"} {
		if err := conn.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		want++
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	for range want {
		select {
		case err := <-denied:
			if !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("something was allowed")
		}
	}
	// What it may publish counts only with a signature.
	if err := conn.Publish(events.DecidePrefix+key, []byte(`{"approve":true}`)); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if strings.Contains(s.sallyport("", "events", "tail", "--since", "10m", "--no-follow", "--json"), `"reason":"bad_signature"`) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("no event says that a decision was refused")
}
