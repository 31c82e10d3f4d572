package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/sallyport-ftps/sallyport/events"
)

// A copy of what happens is on another NATS, which knows the server by its key; while that is down the metrics say how much waits.
func TestForwardedEvents(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "nats-server")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := pair.Seed()
	key, _ := pair.PublicKey()
	port, metricsPort := freePort(t), freePort(t)
	writeFile(t, filepath.Join(dir, "nats.conf"), strings.NewReader(fmt.Sprintf(
		"listen: \"127.0.0.1:%s\"\njetstream { store_dir: %q }\nauthorization { users: [ { nkey: %s } ] }\n", port, filepath.Join(dir, "store"), key)))
	var other *exec.Cmd
	start := func() {
		t.Helper()
		other = exec.Command(binary, "-c", filepath.Join(dir, "nats.conf"))
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
	}
	kill := func() { _ = other.Process.Kill(); _ = other.Wait() }
	start()
	t.Cleanup(func() { kill() })
	s := newServer(t, fmt.Sprintf("metrics {\n  listen = \"127.0.0.1:%s\"\n}\n", metricsPort))
	text := s.sallyport("", "check") // it must stay good
	if !strings.Contains(text, "good") {
		t.Fatal(text)
	}
	s.reconfigure(t, fmt.Sprintf("  forward {\n    url  = \"nats://127.0.0.1:%s\"\n    seed = %q\n  }\n", port, string(seed)))
	if out, err := s.attempt("", "check", "--connect"); err != nil || !strings.Contains(out, "forward to nats://127.0.0.1:"+port+": works") {
		t.Errorf("%v: %s", err, out)
	}
	s.addAccount("alice")
	lag := func() string {
		response, err := http.Get("http://127.0.0.1:" + metricsPort + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(response.Body)
		found := regexp.MustCompile(`sallyport_event_forward_lag\{stream="audit"\} (\d+)`).FindSubmatch(body)
		if found == nil {
			t.Fatalf("no lag in the metrics:\n%s", body)
		}
		return string(found[1])
	}
	created := func(want int) {
		t.Helper()
		option := nats.Nkey(key, pair.Sign)
		conn, err := nats.Connect("nats://127.0.0.1:"+port, option, nats.RetryOnFailedConnect(true), nats.ReconnectWait(50*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		js, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for deadline := time.Now().Add(30 * time.Second); got != want && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
			stream, err := js.Stream(t.Context(), "sallyport")
			if err != nil {
				continue
			}
			info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("sallyport.from.*.audit.account.created"))
			if err != nil {
				continue
			}
			got = 0
			for _, n := range info.State.Subjects {
				got += int(n)
			}
		}
		if got != want {
			t.Errorf("%d events account.created came, want %d", got, want)
		}
	}
	created(1)
	kill()
	if out, err := s.attempt("", "check", "--connect"); err == nil || !strings.Contains(out, "forward to nats://127.0.0.1:"+port+": nats: no servers available") {
		t.Errorf("%v: %s", err, out)
	}
	s.addAccount("bob")
	for deadline := time.Now().Add(10 * time.Second); lag() == "0" && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
	}
	if lag() == "0" {
		t.Error("the metrics do not say that something waits")
	}
	start()
	created(2)
	for deadline := time.Now().Add(20 * time.Second); lag() != "0" && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
	}
	if n := lag(); n != "0" {
		t.Errorf("the lag is %s", n)
	}
	if strings.Contains(s.log.String(), string(seed)) {
		t.Error("the seed is in the log")
	}
	if tail := s.sallyport("", "events", "tail", "--since", "10m", "--no-follow", "--type", string(events.AccountCreatedType)); strings.Count(tail, "account.created") != 2 {
		t.Error(tail)
	}
}

// reconfigure adds lines to the block events { } and restarts the server.
func (s *server) reconfigure(t *testing.T, lines string) {
	t.Helper()
	_ = s.kill(syscall.SIGTERM)
	conf, err := os.ReadFile(s.path("config.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.path("config.hcl"), strings.NewReader(strings.Replace(string(conf), "events {\n", "events {\n"+lines, 1)))
	s.start()
}
