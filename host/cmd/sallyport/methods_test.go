package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/admin"
	"github.com/sallyport-ftps/sallyport/plugins/ldap/slapdtest"
)

// peer is a server that does one thing wrong, on a port of its own.
type peer struct{ address string }

// faultyTCP runs misbehave on each connection; with a certificate, after the handshake.
func faultyTCP(t *testing.T, pair *tls.Certificate, misbehave func(conn net.Conn)) peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = raw.Close() }()
				defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
				if pair == nil {
					misbehave(raw)
					return
				}
				secured := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{*pair}})
				if secured.Handshake() == nil {
					misbehave(secured)
					_ = secured.Close()
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); cancel(); serving.Wait() })
	return peer{l.Addr().String()}
}

// faultyUDP answers each datagram with what it is given.
func faultyUDP(t *testing.T, answer []byte) peer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 4096)
		for {
			_, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return peer{conn.LocalAddr().String()}
}

func pairFor(t *testing.T, until time.Time, name string) (*tls.Certificate, []byte) {
	t.Helper()
	certificate, key := slapdtest.KeyPair(t, until, name)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return &pair, certificate
}

// readSome waits for the request, so that the fault comes in answer to it.
func readSome(conn net.Conn) { _, _ = conn.Read(make([]byte, 64<<10)) }

func hang(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// drip sends one byte after the other, for ever.
func drip(start string) func(net.Conn) {
	return func(conn net.Conn) {
		readSome(conn)
		for i := 0; ; i++ {
			b := byte('x')
			if i < len(start) {
				b = start[i]
			}
			if _, err := conn.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func say(text []byte) func(net.Conn) {
	return func(conn net.Conn) { readSome(conn); _, _ = conn.Write(text) }
}

// A method that can't ask lets nobody in, whatever went wrong: not by itself, and not by the method behind it, which
// knows the user and the password. It says so at the deadline, and logins of other services go on.
func TestMethodFailures(t *testing.T) {
	good, goodCA := pairFor(t, time.Now().Add(time.Hour), "127.0.0.1")
	other, otherCA := pairFor(t, time.Now().Add(time.Hour), "other.example")
	expired, expiredCA := pairFor(t, time.Now().Add(-time.Hour), "127.0.0.1")
	large := bytes.Repeat([]byte("x"), 10<<20)
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
	closed := peer{"127.0.0.1:" + freePort(t)}
	tcp := map[string]peer{
		"down":       closed,
		"dns":        {"nowhere.invalid:443"},
		"wrong-name": faultyTCP(t, other, hang),
		"expired":    faultyTCP(t, expired, hang),
		"garbage":    faultyTCP(t, good, say([]byte("\x00\xff garbage \r\n\r\n"))),
		"no-answer":  faultyTCP(t, good, readSome),
		"hang":       faultyTCP(t, nil, hang),
		"hang-later": faultyTCP(t, good, hang),
	}
	faults := map[string]map[string]peer{
		"http": {
			"truncated": faultyTCP(t, good, say([]byte(ok+`{"account"`))),
			"large":     faultyTCP(t, good, say(append([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n"), large...))),
			"slow":      faultyTCP(t, good, drip(ok)),
		},
		"ldap": {
			"truncated": faultyTCP(t, good, say([]byte{0x30, 0x0c, 0x02, 0x01, 0x01, 0x61})),
			"large":     faultyTCP(t, good, say(append([]byte{0x30, 0x84, 0x00, 0xa0, 0x00, 0x00}, large...))),
			"huge":      faultyTCP(t, good, say([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff})),
			"slow":      faultyTCP(t, good, drip("\x30\x84\x00\x00\x40\x00")),
			"referral":  faultyTCP(t, good, say([]byte{0x30, 0x0c, 0x02, 0x01, 0x01, 0x61, 0x07, 0x0a, 0x01, 0x0a, 0x04, 0x00, 0x04, 0x00})),
		},
		"radius": {
			"down": closed, "dns": {"nowhere.invalid:1812"}, "garbage": faultyUDP(t, []byte("garbage")), "hang": faultyUDP(t, nil), "large": faultyUDP(t, large[:60_000]),
		},
	}
	for name, p := range tcp {
		faults["http"][name], faults["ldap"][name] = p, p
	}
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, bundle, io.MultiReader(bytes.NewReader(goodCA), bytes.NewReader(otherCA), bytes.NewReader(expiredCA)))
	settings := map[string]string{
		"http": `settings = { urls = ["https://ADDRESS/check"] }
  grant {
    http        = ["https://ADDRESS"]
    password_to = ["https://ADDRESS"]
    groups      = ["default"]
    ca          = file("BUNDLE")
  }`,
		"ldap": `settings = { servers = ["ldaps://ADDRESS"], bind_dn_template = "uid={username},dc=example", timeout = "1s" }
  grant {
    network  = ["ldaps://ADDRESS"]
    password = true
    groups   = ["default"]
    ca       = file("BUNDLE")
  }`,
		"radius": `settings = { server = "udp://ADDRESS", secret = "shared", timeout = "500ms", tries = 2 }
  grant {
    network  = ["udp://ADDRESS"]
    password = true
    groups   = ["default"]
  }`,
	}
	var conf strings.Builder
	var methods []string
	for kind, some := range faults {
		for fault, p := range some {
			id := kind + "-" + fault
			methods = append(methods, id)
			fmt.Fprintf(&conf, "authentication %q {\n  plugin  = %q\n  timeout = \"4s\"\n  debug   = true\n  limits {\n    http_timeout = \"3s\"\n  }\n  ", id, kind)
			fmt.Fprint(&conf, strings.NewReplacer("ADDRESS", p.address, "BUNDLE", bundle).Replace(settings[kind]))
			fmt.Fprintf(&conf, "\n}\nservice \"ftps\" %q {\n  listen = \"127.0.0.1:%s\"\n  authentications = [%q, \"accounts\"]\n}\n", id, freePort(t), id)
		}
	}
	s := newServer(t, conf.String())
	s.addAccount("alice")
	client := admin.NewClient(func(ctx context.Context) (net.Conn, error) { return dialSocket(ctx, s.path("data")) })
	ctx, cancel := context.WithCancel(t.Context())
	var trying, others sync.WaitGroup
	others.Go(func() {
		for ctx.Err() == nil {
			if result, err := client.TryLogin(ctx, admin.Login{User: "alice", Password: goodPassword, Service: "explicit"}); ctx.Err() == nil && (err != nil || !result.Accepted) {
				t.Errorf("another service: %+v, %v", result, err)
			}
		}
	})
	for _, id := range methods {
		trying.Go(func() {
			start := time.Now()
			result, err := client.TryLogin(t.Context(), admin.Login{User: "alice", Password: goodPassword, Service: id})
			took := time.Since(start)
			if err != nil {
				t.Errorf("%s: %v", id, err)
				return
			}
			if result.Accepted || len(result.Steps) != 1 || result.Method != id || result.Steps[0].Verdict != "failed" || result.Detail == "" {
				t.Errorf("%s: %+v", id, result)
			}
			if result.Reason != "method_failed" && result.Reason != "timed_out" { // not limit_exceeded, not a crash
				t.Errorf("%s: reason %s: %s", id, result.Reason, result.Detail)
			}
			if took > 15*time.Second { // its time-out is 4 s, on a machine that has time
				t.Errorf("%s: it took %v", id, took)
			}
			t.Logf("%-18s %-13s %5.1f s  %s", id, result.Reason, took.Seconds(), result.Detail)
		})
	}
	trying.Wait()
	cancel()
	others.Wait()
	tail := s.sallyport("", "events", "tail", "--since", "10m", "--no-follow", "--json")
	for _, id := range methods {
		if !strings.Contains(tail, `"method":"`+id+`"`) {
			t.Errorf("no event names the method %s", id)
		}
	}
	s.grepForSecrets(t, goodPassword, "debug")
}

// grepForSecrets looks for a password in all the ways in which it could be written, in the server's log.
func (s *server) grepForSecrets(t *testing.T, password string, mustHave ...string) {
	t.Helper()
	log := s.log.String()
	inJSON, _ := json.Marshal(password)
	for _, form := range []string{
		password, url.QueryEscape(password), url.PathEscape(password), hex.EncodeToString([]byte(password)),
		base64.StdEncoding.EncodeToString([]byte(password)), string(inJSON[1 : len(inJSON)-1]),
	} {
		if strings.Contains(log, form) {
			t.Errorf("the log holds the password as %q", form)
		}
	}
	for _, want := range mustHave {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %q", want)
		}
	}
}

// Methods in a chain, from a client's point of view: who is denied, who is a guest, whom the web service knows, and
// what they may do.
func TestMethodsInAChain(t *testing.T) {
	needPrograms(t, "curl")
	homes := t.TempDir()
	var asked []string
	var mu sync.Mutex
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		asked = append(asked, string(body))
		mu.Unlock()
		var q struct {
			Credentials struct{ Username, Content string }
		}
		_ = json.Unmarshal(body, &q)
		switch {
		case q.Credentials.Username != "kevin":
			w.WriteHeader(http.StatusUnauthorized)
		case q.Credentials.Content != "sésame \"öffne\"":
			w.WriteHeader(http.StatusForbidden)
		default:
			w.Header().Set("X-Echo", q.Credentials.Content) // a server that tells what it was told
			_, _ = fmt.Fprintf(w, `{"account": {"home_folder_path": %q, "group": "partners", "home_folder_structure": ["in"], "virtual_folders": [["/shared", %q]],
			  "permissions": [["allow-read", "allow-list", "allow-traverse"], ["/in/*", "allow-write", "allow-list"]]}}`, homes+"/kevin", homes+"/shared")
		}
	}))
	defer web.Close()
	for _, dir := range []string{"shared", "public"} {
		if err := os.Mkdir(filepath.Join(homes, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(homes, "shared", "news.txt"), strings.NewReader("news"))
	writeFile(t, filepath.Join(homes, "public", "welcome.txt"), strings.NewReader("welcome"))
	ca := filepath.Join(homes, "ca.pem")
	writeFile(t, ca, bytes.NewReader(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})))
	port := freePort(t)
	s := newServer(t, fmt.Sprintf(`
service "ftps" "chain" {
  listen          = "127.0.0.1:%s"
  authentications = ["deny", "web", "guests", "accounts"]
}
authentication "deny" {
  plugin   = "deny"
  settings = { usernames = ["root"] }
}
authentication "web" {
  plugin        = "http"
  settings      = { urls = [%[2]q] }
  debug         = true
  test_at_start = true
  grant {
    http        = [%[2]q]
    password_to = [%[2]q]
    groups      = ["partners"]
    home_under  = %[3]q
    ca          = file(%[4]q)
  }
}
authentication "guests" {
  plugin   = "anonymous"
  settings = { account = "public" }
  grant {
    accounts = ["public"]
  }
}
group "partners" {
  permissions = ["allow-full-control"]
  path "*.exe" {
    permissions = ["deny-full-control"]
  }
}
`, port, web.URL, homes, ca))
	s.addAccount("alice")
	s.sallyport(goodPassword+"\n", "account", "add", "public", "--home", filepath.Join(homes, "public"), "--password-stdin")
	curl := func(user, password string, args ...string) (string, error) {
		common := []string{"-sS", "--ssl-reqd", "--cacert", s.path("data", "tls.crt"), "--user", user + ":" + password}
		args[len(args)-1] = "ftp://127.0.0.1:" + port + args[len(args)-1]
		return s.try("curl", append(common, args...)...)
	}
	const password = "sésame \"öffne\""
	for _, c := range []struct {
		user, password string
		args           []string
		want           string // empty: it is refused
	}{
		{"kevin", password, []string{"/shared/news.txt"}, "news"},
		{"kevin", password, []string{"-T", s.path("config.hcl"), "/in/a.txt"}, "\n"},
		{"kevin", password, []string{"/in/a.txt"}, ""}, // write only
		{"kevin", password, []string{"-l", "/in/"}, "a.txt\n"},
		{"kevin", password, []string{"-T", s.path("config.hcl"), "/in/a.exe"}, ""},     // the group's rule
		{"kevin", password, []string{"-T", s.path("config.hcl"), "/shared/x.txt"}, ""}, // read only
		{"kevin", "wrong", []string{"/"}, ""},
		{"root", goodPassword, []string{"/"}, ""},
		{"anonymous", "me@example.org", []string{"/welcome.txt"}, "welcome"},
		{"anonymous", "me@example.org", []string{"-T", s.path("config.hcl"), "/x.txt"}, ""},
		{"alice", goodPassword, []string{"-T", s.path("config.hcl"), "/x.txt"}, "\n"},
	} {
		what := strings.Join(append([]string{c.user}, c.args...), " ")
		got, err := curl(c.user, c.password, c.args...)
		got = strings.ReplaceAll(got, "\r", "")
		if (err == nil) != (c.want != "") || err == nil && strings.TrimSpace(got) != strings.TrimSpace(c.want) {
			t.Errorf("%s: got %q, %v; want %q", what, got, err, c.want)
		}
	}
	mu.Lock()
	if len(asked) == 0 || !strings.Contains(asked[len(asked)-1], `"type":"password"`) {
		t.Errorf("asked: %q", asked)
	}
	mu.Unlock()
	s.grepForSecrets(t, password, "http: answered 200", "http: header X-Echo: [secret]")
	tail := s.sallyport("", "events", "tail", "--since", "10m", "--no-follow", "--json")
	for _, want := range []string{`"account":"public"`, `"reason":"name_not_allowed"`, `"groups":["partners"]`} {
		if !strings.Contains(tail, want) {
			t.Errorf("no event has %s", want)
		}
	}
	report := s.sallyport("", "check", "--connect")
	for _, want := range []string{"TLS 1.3", "2084-01-29", "web     yes"} {
		if !strings.Contains(report, want) {
			t.Errorf("check --connect does not say %q:\n%s", want, report)
		}
	}
	web.Close()
	if out, err := s.try("sallyport", "check", "--connect", "--config", s.path("config.hcl")); err == nil || !strings.Contains(out, "connection refused") {
		t.Errorf("check --connect of a server that is down: %v\n%s", err, out)
	}
	if out, err := s.try("sallyport", "reload", "--config", s.path("config.hcl")); err == nil || !strings.Contains(out, "connection refused") {
		t.Errorf("reload with test_at_start of a server that is down: %v\n%s", err, out)
	}
}
