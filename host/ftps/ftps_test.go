package ftps_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/ftps"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority is a stand-in for the real one: the user "alice" gets in, "panic" panics, "wait" waits
// until the client is gone.
type authority struct {
	t         testing.TB
	home      string
	access    policy.Access
	folders   []policy.VirtualFolder
	limits    policy.Limits
	noHome    bool // a home that is not there is not made
	structure []string
	trace     []auth.Trace // of those that are refused by Prepare
	mu        sync.Mutex
	tries     []auth.Attempt
	left      chan error
}

func (*authority) ChangePassword(_ context.Context, grant auth.Grant, _ netip.Addr, old, password secret.Text) error {
	switch {
	case grant.User == "bob":
		return auth.ErrNotYours
	case password.Reveal() == "panic":
		panic("in the authority")
	case old.Reveal() != `the "old" one`:
		return auth.ErrOldPassword
	case password.Reveal() != "new":
		return policy.Reused(8)
	}
	return nil
}

func (a *authority) Login(ctx context.Context, attempt auth.Attempt) auth.Outcome {
	a.mu.Lock()
	a.tries = append(a.tries, attempt)
	a.mu.Unlock()
	switch attempt.Typed {
	case "panic":
		panic("the password is " + attempt.Password.Reveal())
	case "wait":
		<-ctx.Done()
		a.left <- context.Cause(ctx)
		return auth.Outcome{Reason: events.ClientLeft}
	case "slow stranger":
		time.Sleep(2 * time.Second)
		return auth.Outcome{Reason: events.UnknownUser}
	case "alice", "slow":
		if attempt.Typed == "slow" {
			time.Sleep(2 * time.Second)
		}
		grant := auth.Grant{LoginID: "login", User: "alice", Home: a.home, CreateHome: new(!a.noHome), Structure: a.structure, Access: a.access, Folders: a.folders, Limits: a.limits}
		if err := attempt.Prepare(grant); err != nil {
			a.t.Log(err)
			reason := events.HomeUnavailable
			if errors.Is(err, auth.ErrTooManySessions) {
				reason = events.TooManySessions
			}
			return auth.Outcome{Reason: reason, Detail: err.Error(), Trace: a.trace}
		}
		return auth.Outcome{Accepted: true, Grant: grant}
	}
	return auth.Outcome{Reason: events.UnknownUser, Detail: "nobody of that name"}
}

func (a *authority) Opened(auth.Grant, netip.Addr) func() { return func() {} }

func (a *authority) seen() []auth.Attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tries
}

type notes struct {
	mu  sync.Mutex
	all []events.Payload
}

func (n *notes) Note(e events.Payload) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, e)
}

func (n *notes) events() []events.Payload {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all
}

type fixture struct {
	testing.TB
	service   *ftps.Service
	authority *authority
	notes     *notes
	log       *bytes.Buffer
	addr      string
	home      string
	implicit  bool
}

func newFixture(t testing.TB, change ...func(*ftps.Options)) *fixture {
	t.Helper()
	return newFixtureOn(t, "127.0.0.1:0", change...)
}

func newFixtureOn(t testing.TB, addr string, change ...func(*ftps.Options)) *fixture {
	t.Helper()
	dir := t.TempDir()
	home, private := filepath.Join(dir, "home"), filepath.Join(dir, "private")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	certificate, _, err := ftps.SelfSigned(filepath.Join(private, "crt"), filepath.Join(private, "key"), "test")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{TB: t, authority: &authority{t: t, home: home, access: policy.FullAccess(), left: make(chan error, 9)}, notes: &notes{}, log: &bytes.Buffer{}, addr: listener.Addr().String(), home: home}
	o := ftps.Options{
		Name: "main", Banner: "Sallyport", Listener: listener, Boot: "BOOT", Private: private, Quotas: ftps.NewQuotas(), Ports: ftps.NewPorts(), Limits: ftps.DefaultLimits(), Log: slog.New(slog.NewTextHandler(f.log, nil)),
		Settings: ftps.Settings{
			Certificates: []tls.Certificate{certificate}, Chain: auth.Fixed(), LoginTimeout: 30 * time.Second, IdleTimeout: time.Minute,
			MaxConnections: 100, MaxPerSource: 50, AtomicUpload: true, Umask: 0o027,
		},
	}
	for _, c := range change {
		c(&o)
	}
	f.implicit = o.Implicit
	f.service = ftps.New(o, f.authority, f.notes)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- f.service.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		f.service.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Error(err)
		}
		if strings.Contains(f.log.String(), "canary") {
			t.Errorf("the password is in the log: %s", f.log)
		}
	})
	return f
}

// client is a bare FTP client, so that tests can say what no decent client would.
type client struct {
	f    *fixture
	raw  net.Conn
	text *textproto.Conn
}

func (f *fixture) dial() *client {
	f.Helper()
	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
	c := &client{f: f, raw: raw}
	if f.implicit {
		c.raw = tls.Client(raw, clientTLS())
	}
	c.text = textproto.NewConn(c.raw)
	c.expect(220)
	return c
}

func clientTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

func (c *client) expect(code int) string {
	c.f.Helper()
	_, message, err := c.text.ReadResponse(code)
	if err != nil {
		c.f.Fatalf("want %d: %v", code, err)
	}
	return message
}

func (c *client) cmd(code int, format string, args ...any) string {
	c.f.Helper()
	if err := c.text.PrintfLine(format, args...); err != nil {
		c.f.Fatal(err)
	}
	return c.expect(code)
}

func (c *client) gone() {
	c.f.Helper()
	if line, err := c.text.ReadLine(); err == nil {
		c.f.Errorf("the connection lives: %q", line)
	}
}

func (f *fixture) secure() *client {
	f.Helper()
	c := f.dial()
	if !f.implicit {
		c.cmd(234, "AUTH TLS")
		c.raw = tls.Client(c.raw, clientTLS())
		c.text = textproto.NewConn(c.raw)
	}
	return c
}

func (f *fixture) login() *client {
	f.Helper()
	c := f.secure()
	c.cmd(331, "USER alice")
	c.cmd(230, "PASS canary-4711")
	c.cmd(200, "PBSZ 0")
	c.cmd(200, "PROT P")
	return c
}

var epsvReply = regexp.MustCompile(`\|\|\|(\d+)\|`)

func (c *client) epsv() string {
	c.f.Helper()
	port := epsvReply.FindStringSubmatch(c.cmd(229, "EPSV"))[1]
	host, _, _ := net.SplitHostPort(c.f.addr)
	return net.JoinHostPort(host, port)
}

// connect opens a secured data connection, without waiting for the handshake.
func (c *client) connect(addr string) (conn *tls.Conn, done func()) {
	c.f.Helper()
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		c.f.Fatal(err)
	}
	_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
	return tls.Client(raw, clientTLS()), func() { _ = raw.Close() }
}

// data sends a transfer command and returns its secured data connection.
func (c *client) data(format string, args ...any) *tls.Conn {
	c.f.Helper()
	addr := c.epsv()
	if err := c.text.PrintfLine(format, args...); err != nil {
		c.f.Fatal(err)
	}
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		c.f.Fatal(err)
	}
	_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
	c.expect(150)
	conn := tls.Client(raw, clientTLS())
	if err := conn.Handshake(); err != nil {
		c.f.Fatal(err)
	}
	return conn
}

func (c *client) store(command, content string) {
	c.f.Helper()
	conn := c.data("%s", command)
	if _, err := io.WriteString(conn, content); err != nil {
		c.f.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		c.f.Fatal(err)
	}
	c.expect(226)
}

func (c *client) fetch(command string) string {
	c.f.Helper()
	conn := c.data("%s", command)
	content, err := io.ReadAll(conn)
	if err != nil {
		c.f.Fatal(err)
	}
	_ = conn.Close()
	c.expect(226)
	return string(content)
}

// mustHome makes the home, which the first login would.
func (f *fixture) mustHome() string {
	f.Helper()
	if err := os.MkdirAll(f.home, 0o755); err != nil {
		f.Fatal(err)
	}
	return f.home
}

func (f *fixture) file(name string) string {
	f.Helper()
	content, err := os.ReadFile(filepath.Join(f.home, name))
	if err != nil {
		f.Error(err)
	}
	return string(content)
}
