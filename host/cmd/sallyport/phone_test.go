package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/plugins/secsign/idserver"
)

// newPhone runs a server with a push as second factor, and an ID server.
func newPhone(t *testing.T, settings string) (s *server, ids *idserver.Server, url string) {
	t.Helper()
	needPrograms(t, "curl")
	ids = idserver.New(idserver.Options{}, "alice-at-example", "bob-at-example")
	web := httptest.NewTLSServer(ids.Handler())
	t.Cleanup(web.Close)
	ca := t.TempDir() + "/ca.pem"
	writeFile(t, ca, bytes.NewReader(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})))
	port := freePort(t)
	s = newServer(t, fmt.Sprintf(`
service "ftps" "phones" {
  listen          = "127.0.0.1:%s"
  authentications = ["two"]
}
authentication "two" {
  plugin        = "local"
  second_factor = ["phone"]
}
authentication "phone" {
  plugin  = "secsign"
  timeout = "60s"
  settings = {
    server       = %[2]q
    service_name = "Partner FTP"
    users        = { alice = "alice-at-example" }
    poll         = "1s"
    wait         = "50s"
  }
  grant {
    http = [%[2]q]
    ca   = file(%[3]q)
  }
  %[4]s
}
attempts {
  per_account = 50
  per_source  = 500
}
`, port, web.URL, ca, settings))
	s.addAccount("alice")
	s.sallyport(goodPassword+"\n", "account", "add", "bob", "--password-stdin", "--attribute", "secsign_id=bob-at-example")
	return s, ids, "ftp://127.0.0.1:" + port + "/"
}

func (s *server) phoneCurl(user, url string, more ...string) *exec.Cmd {
	args := append([]string{"-sS", "--ssl-reqd", "--cacert", s.path("data", "tls.crt"), "--user", user + ":" + goodPassword}, more...)
	return exec.Command("curl", append(args, url)...)
}

// waitOpen waits until so many sessions wait for a person.
func waitOpen(t *testing.T, ids *idserver.Server, n int) []idserver.Session {
	t.Helper()
	for range 400 {
		if open := ids.Open(); len(open) == n {
			return open
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("there are %d open sessions, want %d", len(ids.Open()), n)
	return nil
}

func (s *server) approvalEvents(t *testing.T) string {
	t.Helper()
	var all []string
	for line := range strings.Lines(s.sallyport("", "events", "tail", "--since", "10m", "--no-follow", "--json")) {
		if _, rest, ok := strings.Cut(line, `"type":"sallyport.v1.approval.`); ok {
			name, _, _ := strings.Cut(rest, `"`)
			all = append(all, name)
		}
	}
	return strings.Join(all, " ")
}

func TestPhoneApproves(t *testing.T) {
	s, ids, url := newPhone(t, "")
	// Ten connections at once, as clients open them, are one push.
	var logins sync.WaitGroup
	for range 10 {
		logins.Go(func() {
			if out, err := s.phoneCurl("alice", url).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	open := waitOpen(t, ids, 1)
	if open[0].SecSignID != "alice-at-example" || open[0].Name != "Partner FTP" {
		t.Errorf("got %+v", open[0])
	}
	if list := s.sallyport("", "approval", "list"); !strings.Contains(list, "alice") || !strings.Contains(list, "requested") {
		t.Errorf("approval list: %s", list)
	}
	time.Sleep(2 * time.Second)
	if err := ids.Answer(open[0].ID, idserver.Authenticated); err != nil {
		t.Fatal(err)
	}
	logins.Wait()
	if n := ids.Count("ReqRequestAuthSession"); n != 1 {
		t.Errorf("%d pushes", n)
	}
	// For a while nobody is asked again, but for another user.
	if out, err := s.phoneCurl("alice", url).CombinedOutput(); err != nil || ids.Count("ReqRequestAuthSession") != 1 {
		t.Errorf("remembered: %v: %s", err, out)
	}
	if got := s.approvalEvents(t); !strings.HasPrefix(got, "requested approved remembered") {
		t.Errorf("events %q", got)
	}
	if list := s.sallyport("", "approval", "revoke", "alice"); !strings.Contains(list, "1 taken back") {
		t.Errorf("revoke: %s", list)
	}
	s.grepForSecrets(t, goodPassword)
}

func TestPhoneDenies(t *testing.T) {
	s, ids, url := newPhone(t, "")
	login := s.phoneCurl("alice", url)
	var out bytes.Buffer
	login.Stderr = &out
	if err := login.Start(); err != nil {
		t.Fatal(err)
	}
	open := waitOpen(t, ids, 1)
	if err := ids.Answer(open[0].ID, idserver.Denied); err != nil {
		t.Fatal(err)
	}
	if err := login.Wait(); err == nil || !strings.Contains(out.String(), "530") {
		t.Errorf("got %v: %s", err, out.String())
	}
	// And is left alone for a while, whoever has the password.
	if out, err := s.phoneCurl("alice", url).CombinedOutput(); err == nil || ids.Count("ReqRequestAuthSession") != 1 {
		t.Errorf("got %v: %s, %d pushes", err, out, ids.Count("ReqRequestAuthSession"))
	}
	// A wrong password sends no push at all.
	if out, err := exec.Command("curl", "-sS", "--ssl-reqd", "--cacert", s.path("data", "tls.crt"), "--user", "bob:wrong", url).CombinedOutput(); err == nil || ids.Count("ReqRequestAuthSession") != 1 {
		t.Errorf("got %v: %s", err, out)
	}
	if got := s.approvalEvents(t); got != "requested denied" {
		t.Errorf("events %q", got)
	}
	tail := s.sallyport("", "events", "tail", "--since", "10m", "--no-follow", "--json")
	for _, want := range []string{`"reason":"approval_denied"`, `"reason":"approvals_paused"`} {
		if !strings.Contains(tail, want) {
			t.Errorf("no event has %s", want)
		}
	}
}

// A client that gives up and comes back needs one push only; one that stays away leaves none behind.
func TestPhoneAndClientsThatGiveUp(t *testing.T) {
	s, ids, url := newPhone(t, `linger = "5s"`)
	if out, err := s.phoneCurl("alice", url, "--max-time", "3").CombinedOutput(); err == nil {
		t.Errorf("it did not give up: %s", out)
	}
	again := s.phoneCurl("alice", url)
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	open := waitOpen(t, ids, 1)
	if err := ids.Answer(open[0].ID, idserver.Authenticated); err != nil {
		t.Fatal(err)
	}
	if err := again.Wait(); err != nil || ids.Count("ReqRequestAuthSession") != 1 {
		t.Errorf("got %v, %d pushes", err, ids.Count("ReqRequestAuthSession"))
	}
	if out, err := s.phoneCurl("bob", url, "--max-time", "3").CombinedOutput(); err == nil {
		t.Errorf("it did not give up: %s", out)
	}
	waitOpen(t, ids, 0)
	if n := ids.Count("ReqCancelAuthSession"); n != 1 {
		t.Errorf("%d cancels", n)
	}
	if got := s.approvalEvents(t); got != "requested approved requested cancelled" {
		t.Errorf("events %q", got)
	}
	// So does a shutdown.
	last := s.phoneCurl("bob", url)
	if err := last.Start(); err != nil {
		t.Fatal(err)
	}
	waitOpen(t, ids, 1)
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = last.Wait()
	waitOpen(t, ids, 0)
}

// Two users with one SecSign ID are one person: a second request would freeze the ID.
func TestPhoneOfTwoUsers(t *testing.T) {
	for setting, reason := range map[string]string{"refuse": "approver_busy", "wait": ""} {
		t.Run(setting, func(t *testing.T) {
			s, ids, url := newPhone(t, fmt.Sprintf("on_other_source = %q\nlinger = \"1s\"", setting))
			s.sallyport(goodPassword+"\n", "account", "add", "carol", "--password-stdin", "--attribute", "secsign_id=bob-at-example")
			first := s.phoneCurl("bob", url)
			if err := first.Start(); err != nil {
				t.Fatal(err)
			}
			open := waitOpen(t, ids, 1)
			second := s.phoneCurl("carol", url)
			if err := second.Start(); err != nil {
				t.Fatal(err)
			}
			if reason != "" {
				if err := second.Wait(); err == nil {
					t.Error("the second is let in")
				}
				if tail := s.sallyport("", "events", "tail", "--since", "10m", "--no-follow", "--json"); !strings.Contains(tail, `"reason":"`+reason+`"`) {
					t.Errorf("no event has %s", reason)
				}
			}
			time.Sleep(time.Second)
			if err := ids.Answer(open[0].ID, idserver.Authenticated); err != nil { // it was not suspended
				t.Fatal(err)
			}
			if err := first.Wait(); err != nil {
				t.Errorf("the first: %v", err)
			}
			if reason == "" {
				if err := ids.Answer(waitOpen(t, ids, 1)[0].ID, idserver.Authenticated); err != nil {
					t.Fatal(err)
				}
				if err := second.Wait(); err != nil {
					t.Errorf("the second: %v", err)
				}
			}
			if ids.Frozen("bob-at-example") {
				t.Error("the ID is frozen")
			}
		})
	}
}

// Real clients through the whole dialogue, each with one push; one of them is killed while it waits.
func TestPhoneClients(t *testing.T) {
	needPrograms(t, "lftp", "python3")
	s, ids, url := newPhone(t, `linger = "3s"`)
	for i := range 8 {
		writeFile(t, s.path("data", "files", "alice", fmt.Sprintf("file%d.txt", i)), strings.NewReader("content"))
	}
	ids.SetRule("alice-at-example", &idserver.Rule{After: 2 * time.Second, State: idserver.Authenticated})
	address := strings.TrimSuffix(strings.TrimPrefix(url, "ftp://"), "/")
	ca := s.path("data", "tls.crt")
	s.run("lftp", "-u", "alice,"+goodPassword, "-e", "set ftp:ssl-force true; set ssl:ca-file "+ca+"; mirror --parallel=4 / "+s.path("mirrored")+"; exit", "ftp://"+address)
	if got := readTree(t, s.path("mirrored")); strings.Count(got, "file") != 8 {
		t.Errorf("mirrored: %q", got)
	}
	if n := ids.Count("ReqRequestAuthSession"); n != 1 {
		t.Errorf("lftp with four connections: %d pushes", n)
	}
	s.sallyport("", "approval", "revoke", "alice")
	host, port, _ := strings.Cut(address, ":")
	s.run("python3", "-c", `
import ftplib, ssl, sys
host, port, ca, password = sys.argv[1:]
f = ftplib.FTP_TLS(context=ssl.create_default_context(cafile=ca))
f.connect(host, int(port)); f.login("alice", password); f.prot_p()
assert len(f.nlst()) == 8
f.quit()`, host, port, ca, goodPassword)
	if n := ids.Count("ReqRequestAuthSession"); n != 2 {
		t.Errorf("ftplib: %d pushes", n-1)
	}
	killed := s.phoneCurl("bob", url)
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	waitOpen(t, ids, 1)
	_ = killed.Process.Kill()
	_ = killed.Wait()
	waitOpen(t, ids, 0)
	if n := ids.Count("ReqCancelAuthSession"); n != 1 {
		t.Errorf("%d cancels", n)
	}
}
