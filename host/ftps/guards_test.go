package ftps_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/ftps"
)

// Each of these fails without our guard: the library lets it through.

func TestPassWithoutUserOrTLSIsRefused(t *testing.T) {
	f := newFixture(t)
	c := f.dial()
	c.cmd(503, "PASS canary-4711")
	c.cmd(501, "USER")
	c.cmd(503, "PASS canary-4711")
	c = f.secure()
	c.cmd(503, "PASS canary-4711")
	c = f.dial()
	if got := c.cmd(530, "USER alice"); !strings.Contains(got, "AUTH TLS") {
		t.Errorf("got %q", got)
	}
	if tries := f.authority.seen(); len(tries) != 0 {
		t.Errorf("the authority was asked: %+v", tries)
	}
	if strings.Contains(f.log.String(), "panicked") {
		t.Error("it was no guard that refused, but a panic")
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
	c.cmd(503, "USER bob")
	c.cmd(257, "PWD") // and alice stays
}

func TestPassAfterLoginIsRefused(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	c.cmd(503, "PASS canary-4711")
	c.cmd(257, "PWD")
	if tries := f.authority.seen(); len(tries) != 1 {
		t.Errorf("the authority was asked: %+v", tries)
	}
}

func TestAuthOnlyTLSAndOnce(t *testing.T) {
	f := newFixture(t)
	c := f.dial()
	for _, line := range []string{"AUTH KERBEROS_V4", "AUTH", "auth gssapi", "AUTH TLS extra"} {
		c.cmd(504, "%s", line)
	}
	c.cmd(200, "NOOP") // the connection goes on
	c = f.login()
	c.cmd(503, "AUTH TLS")
	c.cmd(257, "PWD")
	implicit := newFixture(t, func(o *ftps.Options) { o.Implicit = true })
	implicit.login().cmd(503, "AUTH TLS")
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
	if got := c.expect(421); got != "The time to log in is over." {
		t.Errorf("%q", got)
	}
	f := newFixture(t, func(o *ftps.Options) { o.Implicit, o.Limits.Secure = true, 500*time.Millisecond })
	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Read(make([]byte, 1)); !errors.Is(err, io.EOF) { // the library sets no deadline there
		t.Errorf("no handshake: %v", err)
	}
	_ = raw.Close()
	for _, implicit := range []bool{false, true} {
		f = newFixture(t, func(o *ftps.Options) { o.Implicit, o.Limits.FirstCommand = implicit, 500*time.Millisecond })
		c = f.dial()
		if got := c.expect(421); got != "The time to log in is over." || f.refusals(events.LoginTimeout) != 1 {
			t.Errorf("no command: %q", got)
		}
		c = f.dial()
		c.cmd(200, "NOOP")
		time.Sleep(700 * time.Millisecond)
		c.cmd(200, "NOOP")
	}
	f = newFixture(t, func(o *ftps.Options) { o.Limits.Secure = 500 * time.Millisecond })
	c = f.dial() // and talks, but never of TLS
	last := talk(c)
	if !strings.HasPrefix(last, "421") || f.refusals(events.LoginTimeout) != 1 {
		t.Errorf("without TLS: %q", last)
	}
	f = newFixture(t, func(o *ftps.Options) { o.Limits.PreLogin = 500 * time.Millisecond })
	c = f.secure() // and talks, but does not log in
	if last := talk(c); !strings.HasPrefix(last, "421") || f.refusals(events.LoginTimeout) != 1 {
		t.Errorf("without a login: %q", last)
	}
	f = newFixture(t, short)
	c = f.login()
	if got := c.expect(421); got != "There was no command for too long." {
		t.Errorf("%q", got)
	}
	waitFor(t, func() bool { return len(f.notes.events()) == 2 })
	if e := f.notes.events()[1].(*events.SessionClosed); e.Reason != events.IdleTimeout {
		t.Errorf("got %+v", e)
	}
}

// talk says nothing of interest until the server has enough, and returns its last words.
func talk(c *client) (last string) {
	for {
		if err := c.text.PrintfLine("NOOP"); err != nil {
			return last
		}
		line, err := c.text.ReadLine()
		if err != nil {
			return last
		}
		last = line
		time.Sleep(50 * time.Millisecond)
	}
}

// refusals counts the connections that events say were refused for a reason.
func (f *fixture) refusals(reason events.Reason) (n int) {
	for _, e := range f.notes.events() {
		if refused, ok := e.(*events.ConnectionRefused); ok && refused.Reason == reason {
			n += refused.Count
		}
	}
	return n
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
	c.expect(426)
	f.nothingAside()
}

// So is a download to a client that does not read, but not one to a client that reads slowly: the kernel says that there is room for more
// when a third of megabytes is free.
func TestSlowAndStalledDownloads(t *testing.T) {
	const size = 24 << 20
	f := newFixture(t, func(o *ftps.Options) { o.Limits.DataIdle = 2 * time.Second })
	c := f.login()
	if err := os.WriteFile(filepath.Join(f.home, "large"), make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	conn := c.data("RETR large")
	buf := make([]byte, 32<<10)
	got := 0
	for start := time.Now(); time.Since(start) < 5*time.Second; time.Sleep(50 * time.Millisecond) {
		n, err := conn.Read(buf)
		if got += n; err != nil {
			t.Fatalf("after %d bytes: %v", got, err)
		}
	}
	rest, err := io.Copy(io.Discard, conn)
	if int(rest)+got != size || err != nil {
		t.Errorf("%d bytes: %v", int(rest)+got, err)
	}
	_ = conn.Close()
	c.expect(226)
	c.data("RETR large")
	c.expect(426)
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
	c.cmd(502, "PORT 127,0,0,1,200,10")
	c.cmd(502, "EPRT |1|127.0.0.1|50000|")
	c.store("STOR x", "and the port of before is still good")
}

func TestPasvOnIPv6IsRefusedAndLeaksNoPort(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatalf("this test needs IPv6 on loopback: %v", err)
	}
	_ = l.Close()
	f := newFixtureOn(t, "[::1]:0", func(o *ftps.Options) { o.PassiveFirst, o.PassiveLast = 42117, 42117 })
	c := f.login()
	before := descriptors(t)
	for range 20 {
		c.cmd(425, "PASV")
	}
	if after := descriptors(t); after > before+5 {
		t.Errorf("%d descriptors before, %d after", before, after)
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
	// The library's own listener is on all addresses and another port: it must be deaf.
	for _, addr := range listening(t) {
		if !strings.HasPrefix(addr, "0100007F:") {
			t.Errorf("something listens on %s", addr)
		}
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// listening returns the addresses of this process's listening TCP sockets, as the kernel writes them.
func listening(t *testing.T) (addresses []string) {
	t.Helper()
	own := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			own[target] = true
		}
	}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			const listen = "0A"
			if f := strings.Fields(line); len(f) > 9 && f[3] == listen && own["socket:["+f[9]+"]"] {
				addresses = append(addresses, f[1])
			}
		}
	}
	if len(addresses) == 0 {
		t.Error("nothing listens: the test sees nothing")
	}
	return addresses
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
	f.toldOf(events.StrangeData)
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
	c := f.dial()
	c.cmd(503, "PBSZ 0")
	c.cmd(503, "PROT P")
	c = f.secure()
	c.cmd(503, "AUTH TLS")
	c.cmd(530, "EPSV")
	c.cmd(331, "USER alice")
	c.cmd(230, "PASS canary-4711")
	for line, code := range map[string]int{"EPSV": 521, "PASV": 521, "PROT C": 534, "prot c": 534, "PROT S": 536, "PROT": 504, "PROT X": 504, "PBSZ": 501, "PBSZ x": 501, "PBSZ 16384": 200} {
		c.cmd(code, "%s", line)
	}
	c.cmd(425, "STOR x")
	c.cmd(200, "prot p")
	c.cmd(534, "PROT C")
	c.store("STOR x", "content")
	implicit := newFixture(t, func(o *ftps.Options) { o.Implicit = true })
	c = implicit.secure()
	c.cmd(331, "USER alice")
	c.cmd(230, "PASS canary-4711")
	c.store("STOR x", "encrypted without PROT P, since RFC 4217 knows no implicit TLS")
	c.cmd(534, "PROT C")
	c.cmd(521, "EPSV")
	c.cmd(200, "PROT P")
	c.cmd(534, "PROT C")
	c.cmd(229, "EPSV")
}

// curl begins with TLS as soon as it is connected, and waits for an answer before its command. It may also never send one.
func TestDataTLSBeginsBeforeTheCommand(t *testing.T) {
	for name, change := range map[string]func(*ftps.Options){
		"own ports":    func(*ftps.Options) {},
		"shared ports": func(o *ftps.Options) { o.PassiveFirst, o.PassiveLast = 42210, 42211 },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, change)
			c := f.login()
			c.cmd(257, "PWD") // with this, it did all in curl's order
			for range 3 {     // each ends the one before
				conn, done := c.connect(c.epsv())
				defer done()
				if err := conn.Handshake(); err != nil {
					t.Fatal(err)
				}
			}
			conn, done := c.connect(c.epsv())
			defer done()
			if err := conn.Handshake(); err != nil {
				t.Fatal(err)
			}
			if busy := f.service.Sessions()[0].Busy; busy {
				t.Error("the session is busy, though there was no command")
			}
			c.cmd(150, "STOR x")
			if _, err := io.WriteString(conn, "content"); err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
			c.expect(226)
			if got := f.file("x"); got != "content" {
				t.Errorf("%q", got)
			}
			conn, done = c.connect(c.epsv())
			defer done()
			if err := conn.Handshake(); err != nil {
				t.Fatal(err)
			}
			c.cmd(221, "QUIT")
			if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a connection that no command took stays: %v", err)
			}
		})
	}
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
	c.expect(426)
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
	waitFor(t, func() bool { return len(f.notes.events()) == 3 }) // opened, interrupted, closed
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
