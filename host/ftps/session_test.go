package ftps_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/ftps"
)

func TestSessionEvents(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	c.store("STOR x", "0123456789")
	c.fetch("RETR x")
	c.cmd(213, "HASH x")
	c.cmd(221, "QUIT")
	waitFor(t, func() bool { return len(f.notes.events()) == 4 }) // two of files
	opened, closed := f.notes.events()[0].(*events.SessionOpened), f.notes.events()[3].(*events.SessionClosed)
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
	for _, s := range []string{
		"NOOP", "USER x\r\nPASS y", "AUTH TLS", "FEAT\r\nSYST\r\nHELP", "SITE CHMOD", "OPTS HASH", "\x00\xff", "MODE Z", strings.Repeat("A", 5000), "CLNT\r\nLANG", "PASV\r\nEPSV\r\nPORT 1",
		"HASH x\r\nOPTS HASH MD5\r\nXCRC \"a b\" 1 2", "SITE UTIME 20200102030405 x\r\nSITE QUOTA\r\nSITE WHO", "ALLO 99999999999999999999\r\nALLO -1\r\nAVBL /", "REST -1\r\nMFMT 2020 x\r\nMLST",
		"\xff\xf4\xf2ABOR\r\nABOR", "STAT\r\nSTAT /\r\nSTAT *", "EPSV ALL\r\nEPSV 2\r\nEPRT |1|1|1|", "MKD \x00\r\nRNFR /\r\nRNTO /", "PASS\r\nUSER\r\nPASS x", "SITE PSWD \"a \"b",
	} {
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
		if strings.Contains(string(reply), filepath.Dir(fx.home)) {
			t.Errorf("%q: a path of the server: %s", lines, reply)
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
