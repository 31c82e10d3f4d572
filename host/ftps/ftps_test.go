package ftps_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/ftps"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority is a stand-in for the real one: the user "alice" gets in, "panic" panics, "wait" waits
// until the client is gone.
type authority struct {
	t     testing.TB
	home  string
	may   policy.Permissions
	mu    sync.Mutex
	tries []auth.Attempt
	left  chan error
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
		grant := auth.Grant{LoginID: "login", User: "alice", Home: a.home, Permissions: a.may}
		if err := attempt.Prepare(grant); err != nil {
			a.t.Log(err)
			return auth.Outcome{Reason: events.HomeUnavailable, Detail: err.Error()}
		}
		return auth.Outcome{Accepted: true, Grant: grant}
	}
	return auth.Outcome{Reason: events.UnknownUser, Detail: "nobody of that name"}
}

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
	*testing.T
	service   *ftps.Service
	authority *authority
	notes     *notes
	log       *bytes.Buffer
	addr      string
	home      string
	implicit  bool
}

func newFixture(t *testing.T, change ...func(*ftps.Options)) *fixture {
	t.Helper()
	return newFixtureOn(t, "127.0.0.1:0", change...)
}

func newFixtureOn(t *testing.T, addr string, change ...func(*ftps.Options)) *fixture {
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
	f := &fixture{T: t, authority: &authority{t: t, home: home, may: policy.FullControl, left: make(chan error, 9)}, notes: &notes{}, log: &bytes.Buffer{}, addr: listener.Addr().String(), home: home}
	o := ftps.Options{
		Name: "main", Banner: "Sallyport", Listener: listener, Certificate: certificate, LoginTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		MaxConnections: 100, MaxPerSource: 50, Boot: "BOOT", AtomicUpload: true, Private: private, Limits: ftps.DefaultLimits(), Log: slog.New(slog.NewTextHandler(f.log, nil)),
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

func (f *fixture) file(name string) string {
	f.Helper()
	content, err := os.ReadFile(filepath.Join(f.home, name))
	if err != nil {
		f.Error(err)
	}
	return string(content)
}

// --- what the library lets through (each of these fails without our guard) ---

func TestPassWithoutUserOrTLSIsRefused(t *testing.T) {
	f := newFixture(t)
	c := f.dial()
	if got := c.cmd(530, "PASS canary-4711"); got != "Login refused." {
		t.Errorf("got %q", got)
	}
	c.gone()
	c = f.secure()
	c.cmd(530, "PASS canary-4711")
	c = f.dial()
	if got := c.cmd(530, "USER alice"); !strings.Contains(got, "AUTH TLS") {
		t.Errorf("got %q", got)
	}
	if tries := f.authority.seen(); len(tries) != 0 {
		t.Errorf("the authority was asked: %+v", tries)
	}
}

func TestPanicShowsNothing(t *testing.T) {
	f := newFixture(t)
	c := f.secure()
	c.cmd(331, "USER panic")
	if got := c.cmd(530, "PASS canary-4711"); got != "Login refused." {
		t.Errorf("got %q", got)
	}
	if !strings.Contains(f.log.String(), "panicked") {
		t.Error("not logged")
	} // the fixture looks for the password in the log
}

func TestOneTextForEveryRefusal(t *testing.T) {
	f := newFixture(t)
	for _, user := range []string{"nobody", "two words", "*)(uid=*", strings.Repeat("x", 500)} {
		c := f.secure()
		c.cmd(331, "USER %s", user)
		if got := c.cmd(530, "PASS canary-4711"); got != "Login refused." {
			t.Errorf("%.20q: got %q", user, got)
		}
		c.gone()
	}
}

func TestUserAfterLoginIsRefused(t *testing.T) {
	c := newFixture(t).login()
	c.cmd(530, "USER bob")
	c.gone()
}

func TestPassAfterLoginIsRefused(t *testing.T) {
	c := newFixture(t).login()
	c.cmd(530, "PASS canary-4711")
	c.gone()
}

func TestAuthOnlyTLSAndOnce(t *testing.T) {
	f := newFixture(t)
	c := f.dial()
	for _, line := range []string{"AUTH KERBEROS_V4", "AUTH", "auth gssapi", "AUTH TLS extra"} {
		c.cmd(504, "%s", line)
	}
	c.cmd(200, "NOOP") // the connection goes on
	c = f.login()
	c.cmd(550, "AUTH TLS")
	c.cmd(257, "PWD")
	implicit := newFixture(t, func(o *ftps.Options) { o.Implicit = true })
	implicit.login().cmd(550, "AUTH TLS")
}

// STARTTLS injection: what is sent behind AUTH in clear text must not be run under TLS.
func TestCommandsBehindAuthAreNotRun(t *testing.T) {
	f := newFixture(t)
	c := f.dial()
	if err := c.text.PrintfLine("AUTH TLS\r\nUSER alice\r\nPASS canary-4711"); err != nil {
		t.Fatal(err)
	}
	c.expect(234)
	conn := tls.Client(c.raw, clientTLS())
	if err := conn.Handshake(); err == nil {
		t.Error("the handshake went through")
	}
	if tries := f.authority.seen(); len(tries) != 0 {
		t.Errorf("the authority was asked: %+v", tries)
	}
}

func TestSilentClientsAreDisconnected(t *testing.T) {
	short := func(o *ftps.Options) { o.IdleTimeout, o.LoginTimeout = 2*time.Second, time.Second }
	c := newFixture(t, short).dial()
	c.expect(421)
	f := newFixture(t, func(o *ftps.Options) { o.Implicit, o.Limits.Handshake = true, 500*time.Millisecond })
	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Read(make([]byte, 1)); !errors.Is(err, io.EOF) { // the library sets no deadline there
		t.Errorf("no handshake: %v", err)
	}
	_ = raw.Close()
	f = newFixture(t, func(o *ftps.Options) { o.Limits.PreLogin = 500 * time.Millisecond })
	c = f.secure() // and talks, but does not log in
	for {
		if err := c.text.PrintfLine("NOOP"); err != nil {
			break
		}
		if _, err := c.text.ReadLine(); err != nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	f = newFixture(t, short)
	c = f.login()
	c.expect(421)
	waitFor(t, func() bool { return len(f.notes.events()) == 2 })
	if e := f.notes.events()[1].(*events.SessionClosed); e.Reason != events.IdleTimeout {
		t.Errorf("got %+v", e)
	}
}

// The reply to PASS comes even when the login took longer than the idle time, which the library
// counts from before PASS.
func TestTheReplyToASlowLoginIsDelivered(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.IdleTimeout, o.Limits.PreLogin = time.Second, time.Second })
	for user, code := range map[string]int{"slow": 230, "slow stranger": 530} {
		c := f.secure()
		c.cmd(331, "USER %s", user)
		c.cmd(code, "PASS canary-4711")
	}
}

// A data connection on which nothing moves is given up; the library would wait for ever.
func TestStalledTransferIsGivenUp(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.Limits.DataIdle = 500 * time.Millisecond })
	c := f.login()
	conn := c.data("STOR x")
	if _, err := io.WriteString(conn, "half"); err != nil {
		t.Fatal(err)
	}
	c.expect(550)
	f.nothingAside()
}

func TestHangingUpEndsTheLogin(t *testing.T) {
	f := newFixture(t)
	c := f.secure()
	c.cmd(331, "USER wait")
	if err := c.text.PrintfLine("PASS canary-4711"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return len(f.authority.seen()) == 1 })
	_ = c.raw.Close()
	select {
	case err := <-f.authority.left:
		if err == nil || !strings.Contains(err.Error(), "hung up") {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("not noticed")
	}
}

func TestActiveModeIsOff(t *testing.T) {
	c := newFixture(t).login()
	c.cmd(229, "EPSV")
	c.cmd(421, "PORT 127,0,0,1,200,10")
	c.cmd(421, "EPRT |1|127.0.0.1|50000|")
}

func TestPasvOnIPv6IsRefusedAndLeaksNoPort(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatalf("this test needs IPv6 on loopback: %v", err)
	}
	_ = l.Close()
	f := newFixtureOn(t, "[::1]:0", func(o *ftps.Options) { o.PassiveFirst, o.PassiveLast = 42117, 42117 })
	c := f.login()
	for range 3 {
		c.cmd(421, "PASV")
	}
	c.store("STOR x", "over IPv6")
	if f.file("x") != "over IPv6" {
		t.Error("not stored")
	}
}

func TestPassiveFloodHoldsOnePort(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.PassiveFirst, o.PassiveLast = 42200, 42202 })
	c := f.login()
	for range 20 {
		c.epsv()
	}
	c.store("STOR x", "content")
	other := f.login()
	other.store("STOR y", "content")
}

func TestPassiveListenerIsOnTheServicesAddressOnly(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	_, port, _ := net.SplitHostPort(c.epsv())
	if conn, err := net.DialTimeout("tcp", "127.0.0.2:"+port, time.Second); err == nil {
		_ = conn.Close()
		t.Error("the passive port is open on another address")
	}
}

// A connection from elsewhere neither takes nor spoils the transfer.
func TestDataConnectionFromElsewhereIsDropped(t *testing.T) {
	f := newFixtureOn(t, "127.0.0.1:0")
	c := f.login()
	addr := c.epsv()
	stranger := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	foreign, err := stranger.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = foreign.Close() }()
	if err := c.text.PrintfLine("STOR mine"); err != nil {
		t.Fatal(err)
	}
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.expect(150)
	conn := tls.Client(raw, clientTLS())
	if _, err := io.WriteString(conn, "content"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	c.expect(226)
	if f.file("mine") != "content" {
		t.Error("not stored")
	}
}

func TestBinaryIsTheDefault(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	c.store("STOR x", "a\r\nb\nc")
	if got := f.file("x"); got != "a\r\nb\nc" {
		t.Errorf("got %q", got)
	}
	c.cmd(200, "TYPE A")
	c.store("STOR y", "a\r\nb\r\n"+strings.Repeat("long ", 100_000)+"\r\n")
	if got := f.file("y"); !strings.HasPrefix(got, "a\nb\nlong ") || strings.Contains(got, "\r") || len(got) != 4+500_000+1 {
		t.Errorf("ASCII mode: %d bytes", len(got))
	}
}

func TestPROTPIsRequired(t *testing.T) {
	f := newFixture(t)
	c := f.secure()
	c.cmd(331, "USER alice")
	c.cmd(230, "PASS canary-4711")
	c.cmd(229, "EPSV")
	c.cmd(421, "STOR x")
	c.cmd(200, "PROT C")
	c.cmd(229, "EPSV")
	c.cmd(421, "LIST")
}

// An upload that ends without TLS's close_notify is not complete: nothing of it stays.
func TestCutUploadIsNotKept(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	c.store("STOR x", "old content")
	conn := c.data("STOR x")
	if _, err := io.WriteString(conn, "half of it"); err != nil {
		t.Fatal(err)
	}
	_ = conn.NetConn().Close() // a bare FIN
	c.expect(550)
	if got := f.file("x"); got != "old content" {
		t.Errorf("got %q", got)
	}
	f.nothingAside()
}

func (f *fixture) nothingAside() {
	f.Helper()
	if left, err := os.ReadDir(filepath.Join(f.home, ".sallyport-uploads")); err != nil || len(left) != 0 {
		f.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAbortedUploadIsNotKept(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	conn := c.data("STOR x")
	if _, err := io.WriteString(conn, "half of it"); err != nil {
		t.Fatal(err)
	}
	c.cmd(426, "ABOR")
	c.expect(226)
	_ = conn.Close()
	waitFor(t, func() bool {
		left, _ := os.ReadDir(filepath.Join(f.home, ".sallyport-uploads"))
		return len(left) == 0
	})
	if _, err := os.Stat(filepath.Join(f.home, "x")); err == nil {
		t.Error("half a file")
	}
}

func TestLostClientLeavesNothing(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	conn := c.data("STOR x")
	if _, err := io.WriteString(conn, "half of it"); err != nil {
		t.Fatal(err)
	}
	_ = conn.NetConn().Close()
	_ = c.raw.Close()
	waitFor(t, func() bool { return len(f.notes.events()) == 2 })
	f.nothingAside()
}

func TestSITE(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	c.store("STOR x", "content")
	c.cmd(504, "SITE SYMLINK x y")
	c.cmd(504, "SITE SYMLINK /etc/passwd y")
	c.cmd(504, "SITE CHOWN 0 x")
	c.cmd(504, "SITE RMDIR /")
	c.cmd(504, "SITE MKDIR a/b")
	c.cmd(501, "SITE CHMOD 600")
	c.cmd(501, "SITE CHMOD rwx x")
	c.cmd(504, "SITE")
	c.cmd(214, "SITE HELP")
	c.cmd(501, "SITE CHMOD 4755 x")
	c.cmd(200, "SITE CHMOD 755 x")
	if info, err := os.Stat(filepath.Join(f.home, "x")); err != nil || info.Mode() != 0o755 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// --- the home folder ---

func TestNobodyGetsOut(t *testing.T) {
	f := newFixture(t)
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := f.login()
	c.cmd(257, "MKD inside")
	for name, target := range map[string]string{
		"abs": secret, "absdir": outside, "rel": "../../../../../../.." + secret, "up": "..", "loop": "loop", "inner": "inside",
	} {
		if err := os.Symlink(target, filepath.Join(f.home, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"abs", "rel", "absdir/secret", "up/private/key", "loop", "../secret", "../../../../etc/passwd", "/../etc/passwd", "/etc/passwd", "inside/../../home/../private/key", "..", "....//etc/passwd"} {
		for _, command := range []string{"SIZE", "MDTM", "DELE", "RMD", "RNFR", "HASH", "XSHA256"} {
			if path == ".." && command != "SIZE" && command != "HASH" && command != "DELE" && command != "RMD" {
				continue // the root itself
			}
			if (path == "abs" || path == "rel" || path == "loop") && command == "DELE" {
				continue // a link may be removed; what it leads to stays
			}
			if err := c.text.PrintfLine("%s %s", command, path); err != nil {
				t.Fatal(err)
			}
			if code, message, _ := c.text.ReadResponse(0); code < 500 {
				t.Errorf("%s %s: %d %s", command, path, code, message)
			}
		}
		c.epsv()
		c.cmd(550, "RETR %s", path)
		if path == "../secret" { // is /secret, and may be stored
			continue
		}
		c.epsv()
		if err := c.text.PrintfLine("STOR %s", path); err != nil {
			t.Fatal(err)
		}
		if code, message, _ := c.text.ReadResponse(0); code < 500 {
			t.Fatalf("STOR %s: %d %s", path, code, message)
		}
	}
	for _, path := range []string{"abs", "absdir", "up", "rel", "absdir/.."} {
		if err := c.text.PrintfLine("CWD %s", path); err != nil {
			t.Fatal(err)
		}
		if code, message, _ := c.text.ReadResponse(0); code < 500 && !strings.HasSuffix(message, "on /") {
			t.Errorf("CWD %s: %d %s", path, code, message)
		}
	}
	c.cmd(250, "CWD /inner") // a link that stays inside is fine
	if got, err := os.ReadFile(secret); err != nil || string(got) != "secret" {
		t.Errorf("outside: %q, %v", got, err)
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 1 {
		t.Errorf("outside: %v", entries)
	}
}

func TestPrivateDataIsNoHome(t *testing.T) {
	f := newFixture(t)
	private := filepath.Join(filepath.Dir(f.home), "private")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(private, link); err != nil {
		t.Fatal(err)
	}
	for _, home := range []string{private, filepath.Dir(private), filepath.Join(private, "sub"), link, filepath.Join(link, "sub"), "/"} {
		f.authority.home = home
		c := f.secure()
		c.cmd(331, "USER alice")
		c.cmd(530, "PASS canary-4711")
	}
}

func TestTheReservedFolderIsHidden(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	c.store("STOR x", "content")
	c.cmd(550, "CWD .sallyport-uploads")
	c.cmd(550, "RMD .sallyport-uploads")
	c.cmd(550, "MKD .sallyport-uploads/x")
	c.cmd(350, "RNFR x")
	c.cmd(550, "RNTO .sallyport-uploads/x")
	if list := c.fetch("LIST -a"); strings.Contains(list, "sallyport") {
		t.Errorf("listed: %s", list)
	}
}

func TestLeftoversOfACrashAreSwept(t *testing.T) {
	f := newFixture(t)
	aside := filepath.Join(f.home, ".sallyport-uploads")
	if err := os.MkdirAll(aside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(aside, "OLDBOOT-X"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := f.login()
	f.nothingAside()
	conn := c.data("STOR x") // another login must not sweep what is under way
	f.login()
	if _, err := io.WriteString(conn, "content"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	c.expect(226)
	if f.file("x") != "content" {
		t.Error("swept away")
	}
}

func TestResume(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	c.store("STOR x", "0123456789")
	c.cmd(350, "REST 4")
	if got := c.fetch("RETR x"); got != "456789" {
		t.Errorf("download: got %q", got)
	}
	c.cmd(350, "REST 4")
	c.store("STOR x", "ab")
	if got := f.file("x"); got != "0123ab" {
		t.Errorf("upload: got %q", got)
	}
	c.store("APPE x", "cd")
	c.store("APPE new", "ef")
	if f.file("x") != "0123abcd" || f.file("new") != "ef" {
		t.Errorf("append: got %q %q", f.file("x"), f.file("new"))
	}
	for _, command := range []string{"RETR", "STOR"} { // no holes
		c.cmd(350, "REST 1000")
		c.epsv()
		c.cmd(550, "%s x", command)
	}
	c.cmd(350, "REST -5")
	c.epsv()
	c.cmd(550, "RETR x")
}

func TestNotAtomicWhenSwitchedOff(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.AtomicUpload = false })
	c := f.login()
	conn := c.data("STOR x")
	if _, err := io.WriteString(conn, strings.Repeat("x", 1<<20)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { info, err := os.Stat(filepath.Join(f.home, "x")); return err == nil && info.Size() > 0 })
	_ = conn.Close()
	c.expect(226)
}

func TestUploadKeepsTheModeOfWhatItReplaces(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	c.store("STOR x", "old")
	c.cmd(200, "SITE CHMOD 600 x")
	c.store("STOR x", "new")
	if info, err := os.Stat(filepath.Join(f.home, "x")); err != nil || info.Mode().Perm() != 0o600 || f.file("x") != "new" {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestUploadBelowMinFreeIsRefused(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.MinFree = 1 << 60 })
	c := f.login()
	c.epsv()
	c.cmd(552, "STOR x")
}

func TestHashIsOfTheFileInTheWorkingFolder(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	c.cmd(257, "MKD sub")
	c.store("STOR x", "a longer file of the same name")
	c.cmd(250, "CWD sub")
	c.store("STOR x", "abc")
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got := c.cmd(213, "HASH x"); !strings.Contains(got, want) || !strings.Contains(got, "0-3") {
		t.Errorf("got %q", got)
	}
}

func TestPermissions(t *testing.T) {
	f := newFixture(t)
	full := f.login()
	full.store("STOR x", "content")
	full.cmd(257, "MKD sub")
	code := func(c *client, command string) int {
		t.Helper()
		if strings.HasPrefix(command, "STOR") || strings.HasPrefix(command, "RETR") || strings.HasPrefix(command, "LIST") || strings.HasPrefix(command, "APPE") {
			c.epsv()
		}
		if err := c.text.PrintfLine("%s", command); err != nil {
			t.Fatal(err)
		}
		code, _, err := c.text.ReadResponse(0)
		var protocol *textproto.Error
		if err != nil && !errors.As(err, &protocol) {
			t.Fatal(err)
		}
		return code
	}
	f.authority.may = policy.Read | policy.List
	reader := f.login()
	for command, want := range map[string]int{
		"STOR y": 550, "APPE x": 550, "DELE x": 550, "RMD sub": 550, "MKD z": 550, "RNTO z": 503, "SITE CHMOD 600 x": 550, "MFMT 20200101000000 x": 550, "SIZE x": 213,
	} {
		if got := code(reader, command); got != want {
			t.Errorf("reader: %s: %d, want %d", command, got, want)
		}
	}
	reader.cmd(350, "RNFR x")
	reader.cmd(550, "RNTO y")
	if got := reader.fetch("RETR x"); got != "content" {
		t.Errorf("reader: got %q", got)
	}
	for command, want := range map[string]int{"CWD sub": 250, "CWD /sub/deep": 550, "SIZE /sub/x": 550} { // no allow-traverse
		if got := code(reader, command); got != want {
			t.Errorf("reader: %s: %d, want %d", command, got, want)
		}
	}
	f.authority.may = policy.Write
	if got := code(f.login(), "SIZE x"); got != 550 {
		t.Errorf("who may only write learns of files: %d", got)
	}
	f.authority.may = policy.Write | policy.Rename
	dropbox := f.login()
	for command, want := range map[string]int{"RETR x": 550, "LIST": 450, "DELE x": 550} {
		if got := code(dropbox, command); got != want {
			t.Errorf("dropbox: %s: %d, want %d", command, got, want)
		}
	}
	dropbox.store("STOR y", "new")
	dropbox.cmd(350, "RNFR y")
	dropbox.cmd(550, "RNTO x") // that would delete x
	dropbox.cmd(350, "RNFR y")
	dropbox.cmd(250, "RNTO z")
	f.authority.may = 0
	if got := code(f.login(), "SIZE x"); got != 550 {
		t.Errorf("nothing: SIZE: %d", got)
	}
}

func TestWildcards(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	c.cmd(257, "MKD sub")
	for _, name := range []string{"a.txt", "b.txt", "c.bin", "sub/d.txt", "[x].txt"} {
		c.store("STOR "+name, name)
	}
	if err := os.Symlink("/nowhere", filepath.Join(f.home, "dangling")); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"NLST *.txt": "[x].txt\r\na.txt\r\nb.txt\r\n", "NLST sub/*.txt": "sub/d.txt\r\n", "NLST *.none": "", "NLST [x].txt": "[x].txt\r\n", "NLST ../*.bin": "c.bin\r\n",
	} {
		lines := strings.SplitAfter(c.fetch(command), "\n")
		slices.Sort(lines)
		if got := strings.Join(lines, ""); got != want {
			t.Errorf("%s: got %q, want %q", command, got, want)
		}
	}
	if list := c.fetch("LIST"); !strings.Contains(list, "-rwxrwxrwx 1 ftp ftp") || !strings.Contains(list, "dangling") {
		t.Errorf("LIST: %s", list)
	}
}

// Two services on one home: a login on one must not sweep what goes up on the other.
func TestServicesShareUnfinishedUploads(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	other.authority.home = f.home
	c := f.login()
	conn := c.data("STOR x")
	if _, err := io.WriteString(conn, "content"); err != nil {
		t.Fatal(err)
	}
	other.login()
	_ = conn.Close()
	c.expect(226)
	if f.file("x") != "content" {
		t.Error("swept away")
	}
}

func TestTooManyConnectionsOfOneSource(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.MaxPerSource = 1 })
	f.dial()
	from := func(ip string) string {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		raw, err := dialer.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = raw.Close() }()
		line, _ := textproto.NewConn(raw).ReadLine()
		return line[:min(3, len(line))]
	}
	if got := from("127.0.0.1"); got != "421" {
		t.Errorf("the same source: %s", got)
	}
	if got := from("127.0.0.2"); got != "220" {
		t.Errorf("another source: %s", got)
	}
}

// A single passive port serves a session for ever, failed transfers or not.
func TestOnePassivePortIsEnough(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.PassiveFirst, o.PassiveLast = 42311, 42311 })
	c := f.login()
	for range 3 {
		c.epsv()
		c.cmd(550, "RETR nothing")
		c.store("STOR x", "content")
	}
}

func TestErrorsShowNoPathsOfTheServer(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	for _, command := range []string{"SIZE nope", "CWD nope", "DELE nope", "RMD nope", "RNFR nope", "MDTM nope", "MKD a/b/c", "HASH nope"} {
		if err := c.text.PrintfLine("%s", command); err != nil {
			t.Fatal(err)
		}
		_, message, _ := c.text.ReadResponse(0)
		if strings.Contains(message, filepath.Dir(f.home)) || strings.Contains(message, "openat") || strings.Contains(message, "statat") {
			t.Errorf("%s: %s", command, message)
		}
	}
}

func TestOddNames(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	for _, name := range []string{" leading", "trailing ", "two  blanks", "日本語.txt", "имя", "quote\"s", "-la", "ünï", strings.Repeat("n", 255), "%s%n", "a'b;c&d"} {
		c.store("STOR "+name, name)
		if got := c.fetch("RETR " + name); got != name {
			t.Errorf("%q: got %q", name, got)
		}
		if !strings.Contains(c.fetch("MLSD"), "; "+name+"\r\n") {
			t.Errorf("%q is not listed", name)
		}
		c.cmd(250, "DELE %s", name)
	}
	c.epsv()
	c.cmd(553, "STOR a\tb")
	c.epsv()
	c.cmd(550, "STOR %s", strings.Repeat("n", 256))
}

// --- sessions ---

func TestSessionEvents(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	c.store("STOR x", "0123456789")
	c.fetch("RETR x")
	c.cmd(213, "HASH x")
	c.cmd(221, "QUIT")
	waitFor(t, func() bool { return len(f.notes.events()) == 2 })
	opened, closed := f.notes.events()[0].(*events.SessionOpened), f.notes.events()[1].(*events.SessionClosed)
	if opened.User != "alice" || opened.TLS != "TLS 1.3" || opened.LoginID != "login" || opened.SessionID == "" {
		t.Errorf("opened %+v", opened)
	}
	if closed.SessionID != opened.SessionID || closed.Reason != events.ClientQuit || closed.FilesUp != 1 || closed.FilesDown != 1 || closed.BytesReceived != 10 || closed.BytesSent != 10 {
		t.Errorf("closed %+v", closed)
	}
}

func TestShutdownLetsTransfersFinish(t *testing.T) {
	f := newFixture(t)
	idle, c := f.login(), f.login()
	conn := c.data("STOR x")
	if _, err := io.WriteString(conn, "half"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	down := make(chan struct{})
	go func() { f.service.Shutdown(ctx); close(down) }()
	idle.expect(421)
	if _, err := idle.text.ReadLine(); !errors.Is(err, io.EOF) { // and TLS says goodbye
		t.Errorf("got %v", err)
	}
	if _, err := net.Dial("tcp", f.addr); err == nil {
		t.Error("a new connection was taken")
	}
	if _, err := io.WriteString(conn, " and half"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	c.expect(226)
	<-down
	if f.file("x") != "half and half" {
		t.Errorf("got %q", f.file("x"))
	}
}

func TestShutdownEndsAtItsTime(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	conn := c.data("STOR x")
	if _, err := io.WriteString(conn, "half"); err != nil {
		t.Fatal(err)
	}
	waiting := f.login() // for a data connection that never comes
	waiting.epsv()
	if err := waiting.text.PrintfLine("STOR y"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	f.service.Shutdown(ctx)
	f.nothingAside()
	if _, err := os.Stat(filepath.Join(f.home, "x")); err == nil {
		t.Error("half a file")
	}
}

func TestTooManyConnections(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.MaxConnections = 2 })
	f.dial()
	c := f.dial()
	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	if reply, _ := io.ReadAll(raw); !strings.HasPrefix(string(reply), "421 ") {
		t.Errorf("got %q", reply)
	}
	_ = raw.Close()
	c.cmd(221, "QUIT")
	waitFor(t, func() bool {
		raw, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = raw.Close() }()
		line, _ := textproto.NewConn(raw).ReadLine()
		return strings.HasPrefix(line, "220 ")
	})
}

func TestTLSVersions(t *testing.T) {
	f := newFixture(t)
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		c := f.dial()
		c.cmd(234, "AUTH TLS")
		conn := tls.Client(c.raw, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if err := conn.Handshake(); (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

func TestCertificateErrors(t *testing.T) {
	dir := t.TempDir()
	crt, key := filepath.Join(dir, "crt"), filepath.Join(dir, "key")
	if _, err := ftps.LoadCertificate(crt, key); err == nil || !strings.Contains(err.Error(), crt) {
		t.Errorf("missing: %v", err)
	}
	if _, made, err := ftps.SelfSigned(crt, key, "x"); err != nil || !made {
		t.Fatal(made, err)
	}
	if _, made, err := ftps.SelfSigned(crt, key, "x"); err != nil || made {
		t.Errorf("made again: %v, %v", made, err)
	}
	if _, err := ftps.LoadCertificate(crt, key); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(crt, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ftps.LoadCertificate(crt, key); err == nil {
		t.Error("damaged certificate loaded")
	}
	if _, _, err := ftps.SelfSigned(crt, key, "x"); err == nil || !strings.Contains(err.Error(), "remove") {
		t.Errorf("damaged self-signed: %v", err)
	}
}

// Whatever lines a stranger sends: an answer or the end, and the service goes on.
func FuzzCommands(f *testing.F) {
	for _, s := range []string{"NOOP", "USER x\r\nPASS y", "AUTH TLS", "FEAT\r\nSYST\r\nHELP", "SITE CHMOD", "OPTS HASH", "\x00\xff", "MODE Z", strings.Repeat("A", 5000), "CLNT\r\nLANG", "PASV\r\nEPSV\r\nPORT 1"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	var fx *fixture
	f.Fuzz(func(t *testing.T, lines string, in bool) {
		fx = newFixture(t)
		c := fx.dial()
		if in {
			_ = c.raw.Close()
			c = fx.login()
		}
		_, _ = io.WriteString(c.raw, lines+"\r\nQUIT\r\n")
		_ = c.raw.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		reply, _ := io.ReadAll(io.LimitReader(c.raw, 1<<20))
		if strings.Contains(string(reply), "Unhandled internal error") {
			t.Errorf("%q panicked: %s", lines, reply)
		}
		fx.dial()
	})
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("it did not happen")
}
