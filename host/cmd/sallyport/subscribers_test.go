package main

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
)

// buildExample builds a program of examples/subscribers.
func buildExample(t *testing.T, s *server, name string) string {
	t.Helper()
	program := s.path(name)
	build := exec.Command("go", "build", "-o", program, "./examples/subscribers/"+name)
	build.Dir = repository(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// printed runs a program until the test ends, and waits for lines that it prints, in order.
func printed(t *testing.T, command *exec.Cmd) (expect func(part string)) {
	t.Helper()
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var problems strings.Builder
	command.Stderr = &problems
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	lines := bufio.NewScanner(out)
	return func(part string) {
		t.Helper()
		stop := time.AfterFunc(30*time.Second, func() { _ = command.Process.Kill() })
		defer stop.Stop()
		for lines.Scan() {
			if strings.Contains(lines.Text(), part) {
				return
			}
		}
		t.Fatalf("no line with %q; %s", part, problems.String())
	}
}

// Programs of the user's own see what happens: in Go, and in Node.js.
func TestSubscribers(t *testing.T) {
	needPrograms(t, "curl", "node")
	s := newServer(t, "")
	s.addAccount("alice")
	seed := s.path("data", "private", seedFile)
	modules := filepath.Join(repository(t), "bin/tools/node_modules")
	if _, err := os.Stat(filepath.Join(modules, "nats")); err != nil {
		t.Fatal("npm's package nats is not there: make deps installs it")
	}
	script, err := os.ReadFile(filepath.Join(repository(t), "examples/subscribers/node/main.js"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.path("node", "main.js"), strings.NewReader(string(script)))
	writeFile(t, s.path("node", "package.json"), strings.NewReader(`{"type": "module"}`))
	if err := os.Symlink(modules, s.path("node", "node_modules")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		command         *exec.Cmd
		refused, closed string
	}{
		"go":   {exec.Command(buildExample(t, s, "go"), "-url", "nats://"+s.events, "-seed", seed), "alice was refused from 127.0.0.1:", "sallyport.v1.session.closed"},
		"node": {exec.Command("node", s.path("node", "main.js"), seed, "nats://"+s.events), "alice was refused from 127.0.0.1:", "session.closed"},
	} {
		t.Run(name, func(t *testing.T) {
			s.sallyport("", "events", "replay", "subscriber", "--since", "1s")
			expect := printed(t, c.command)
			expect("subscribed")
			_, _ = s.try("curl", "-sS", "--ssl-reqd", "-k", "--user", "alice:wrong", "ftp://"+s.explicit+"/")
			expect(c.refused)
			s.run("curl", "-sS", "--ssl-reqd", "-k", "--user", "alice:"+goodPassword, "ftp://"+s.explicit+"/")
			expect("alice logged in from 127.0.0.1:")
			expect(c.closed)
			_ = c.command.Process.Kill()
			_ = c.command.Wait()
		})
	}
}

// receiver is a webhook that takes events, fails, or refuses, and checks signatures.
type receiver struct {
	t      *testing.T
	secret string

	mu    sync.Mutex
	fails int    // of the next requests
	never string // the type that it refuses
	got   []events.Event
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(q.Body)
	var at int64
	var signature string
	_, _ = fmt.Sscanf(q.Header.Get("Sallyport-Signature"), "t=%d,v1=%s", &at, &signature)
	mac := hmac.New(sha256.New, []byte(r.secret))
	_, _ = fmt.Fprintf(mac, "%d.%s", at, body)
	if hex.EncodeToString(mac.Sum(nil)) != signature || time.Since(time.Unix(at, 0)).Abs() > time.Minute {
		r.t.Errorf("wrong signature %q", q.Header.Get("Sallyport-Signature"))
	}
	var e events.Event
	if err := json.Unmarshal(body, &e); err != nil {
		r.t.Error(err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.fails > 0:
		r.fails--
		w.WriteHeader(http.StatusServiceUnavailable)
	case strings.HasSuffix(string(e.Data.EventType()), r.never):
		w.WriteHeader(http.StatusUnprocessableEntity)
	default:
		r.got = append(r.got, e)
	}
}

// types lists what was taken.
func (r *receiver) types() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, e := range r.got {
		all = append(all, strings.TrimPrefix(string(e.Data.EventType()), events.Root+"."))
	}
	return strings.Join(all, " ")
}

// The webhook forwarder retries, keeps dead letters, goes on where it stopped, and signs.
func TestWebhook(t *testing.T) {
	s := newServer(t, "")
	r := &receiver{t: t, secret: strings.Repeat("s3cret", 8), fails: 3, never: "account.disabled"}
	hook := httptest.NewServer(r)
	defer hook.Close()
	writeFile(t, s.path("hook.secret"), strings.NewReader(r.secret+"\n"))
	program := buildExample(t, s, "webhook")
	start := func(more ...string) *exec.Cmd {
		args := []string{"-url", "nats://" + s.events, "-seed", s.path("data", "private", seedFile), "-to", hook.URL, "-secret-file", s.path("hook.secret"), "-types", "account", "-dead-letters", s.path("dead.jsonl")}
		command := exec.Command(program, append(args, more...)...)
		printed(t, command)("subscribed")
		return command
	}
	wait := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); r.types() != want; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("got %q, want %q", r.types(), want)
			}
		}
	}
	forwarder := start()
	s.addAccount("alice")
	s.sallyport("", "account", "disable", "alice") // which the receiver never takes
	s.sallyport("", "account", "enable", "alice")
	wait("account.created account.enabled")
	if dead, err := os.ReadFile(s.path("dead.jsonl")); err != nil || strings.Count(string(dead), "\n") != 1 || !strings.Contains(string(dead), "account.disabled") {
		t.Errorf("dead letters: %q, %v", dead, err)
	}
	_ = forwarder.Process.Signal(syscall.SIGTERM)
	_ = forwarder.Wait()
	s.addAccount("bob") // nobody listens
	start()
	wait("account.created account.enabled account.created")
	if r.got[2].Data.(*events.AccountChanged).Account != "bob" {
		t.Errorf("%+v", r.got[2])
	}
}
