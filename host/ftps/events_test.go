package ftps_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/ftps"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

// fileEvents waits until there are so many, and writes them as lines.
func (f *fixture) fileEvents(want int) (all []*events.File) {
	f.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(all) < want && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		all = nil
		for _, e := range f.notes.events() {
			if one, ok := e.(*events.File); ok {
				all = append(all, one)
			}
		}
	}
	if len(all) != want {
		f.Fatalf("%d events of files, want %d", len(all), want)
	}
	return all
}

// What happens to files is told: whole or not, with size, and the digest of what the client sent.
func TestFileEvents(t *testing.T) {
	for mode, digests := range map[ftps.Digests][2]bool{ftps.DigestUploads: {true, false}, ftps.DigestAll: {true, true}, ftps.DigestNone: {}} {
		for _, atomic := range []bool{true, false} {
			f := newFixture(t, func(o *ftps.Options) { o.Digests, o.AtomicUpload = mode, atomic })
			c := f.login()
			content := strings.Repeat("0123456789", 100_000)
			c.cmd(257, "MKD in")
			c.cmd(250, "CWD in")
			c.store("STOR a.bin", content)
			if got := c.fetch("RETR a.bin"); got != content {
				t.Fatalf("%d bytes", len(got))
			}
			c.cmd(350, "REST 999990")
			if got := c.fetch("RETR a.bin"); got != "0123456789" {
				t.Fatal(got)
			}
			c.store("APPE a.bin", "more")
			c.cmd(350, "RNFR a.bin")
			c.cmd(250, "RNTO /b.bin")
			c.cmd(550, "DELE a.bin")
			c.cmd(250, "DELE /b.bin")
			c.cmd(250, "RMD /in")
			cut := c.data("STOR /cut.bin")
			if _, err := io.WriteString(cut, "half"); err != nil {
				t.Fatal(err)
			}
			_ = cut.NetConn().Close() // without close_notify
			c.text.StartResponse(0)
			all := f.fileEvents(8)
			sum := sha256.Sum256([]byte(content))
			digest := func(is bool) string {
				if is {
					return hex.EncodeToString(sum[:])
				}
				return ""
			}
			for i, want := range []events.File{
				{What: events.FileUploadedType, Path: "/in/a.bin", Bytes: 1_000_000, SHA256: digest(digests[0])},
				{What: events.FileDownloadedType, Path: "/in/a.bin", Bytes: 1_000_000, SHA256: digest(digests[1])},
				{What: events.FileDownloadedType, Path: "/in/a.bin", Bytes: 10},
				{What: events.FileUploadedType, Path: "/in/a.bin", Bytes: 4},
				{What: events.FileRenamedType, Path: "/in/a.bin", To: "/b.bin"},
				{What: events.FileDeletedType, Path: "/b.bin"},
				{What: events.FileDeletedType, Path: "/in"},
				{What: events.FileInterruptedType, Path: "/cut.bin", Direction: "up", Reason: events.ConnectionLost, Bytes: 4},
			} {
				got := *all[i]
				if got.User != "alice" || got.LoginID != "login" || got.SessionID == "" {
					t.Errorf("%+v", got)
				}
				got.Login, got.SessionID, got.DurationMS = events.Login{}, "", 0
				if got != want {
					t.Errorf("%s, atomic %v: got %+v, want %+v", mode, atomic, got, want)
				}
			}
		}
	}
}

// Whoever reads that a transfer was interrupted reads why.
func TestWhyATransferEnds(t *testing.T) {
	for want, end := range map[events.Reason]func(*fixture, *client, *tls.Conn){
		events.ConnectionLost:   func(_ *fixture, _ *client, conn *tls.Conn) { _ = conn.NetConn().Close() },
		events.TransferAborted:  func(_ *fixture, c *client, _ *tls.Conn) { _ = c.text.PrintfLine("ABOR") },
		events.Revoked:          func(f *fixture, _ *client, _ *tls.Conn) { f.service.CloseSessions("alice") },
		events.DataStalled:      func(*fixture, *client, *tls.Conn) {},
		events.QuotaExceeded:    func(_ *fixture, _ *client, conn *tls.Conn) { _, _ = conn.Write(make([]byte, 2<<20)) },
		events.TLSFailed:        func(_ *fixture, _ *client, conn *tls.Conn) { _, _ = conn.NetConn().Write(make([]byte, 100)) },
		events.NoDataConnection: nil,
	} {
		t.Run(string(want), func(t *testing.T) {
			f := newFixture(t, func(o *ftps.Options) {
				o.Limits.DataConnect = time.Second
				if want == events.DataStalled {
					o.Limits.DataIdle = 500 * time.Millisecond
				}
			})
			f.authority.limits = policy.Limits{Bytes: 1 << 20}
			c := f.login()
			if end == nil {
				c.epsv()
				c.cmd(425, "STOR x")
			} else {
				conn := c.data("STOR x")
				if _, err := io.WriteString(conn, "half"); err != nil {
					t.Fatal(err)
				}
				waitFor(t, func() bool { return f.service.Sessions()[0].Busy })
				end(f, c, conn)
			}
			if got := f.fileEvents(1)[0]; got.What != events.FileInterruptedType || got.Reason != want || got.Direction != "up" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// The same for one that never gets as far as its data.
func TestWhyATransferDoesNotBegin(t *testing.T) {
	refusing := func(c *client) {
		addr := c.epsv()
		_ = c.text.PrintfLine("STOR x")
		conn, done := c.connect(addr)
		defer done()
		c.expect(150)
		if err := tls.Client(conn.NetConn(), &tls.Config{ServerName: "somebody.else"}).Handshake(); err == nil {
			c.f.Error("the certificate is believed")
		}
		c.expect(425)
	}
	for name, one := range map[string]struct {
		want events.Reason
		does func(*client)
	}{
		"no EPSV":               {events.NoDataConnection, func(c *client) { c.cmd(425, "STOR x") }},
		"EPSV, but ABOR":        {events.NoDataConnection, func(c *client) { c.epsv(); c.cmd(226, "ABOR"); c.cmd(425, "STOR x") }},
		"ABOR behind it":        {events.TransferAborted, func(c *client) { c.epsv(); _ = c.text.PrintfLine("STOR x\r\nABOR"); c.expect(425); c.expect(226) }},
		"the client goes":       {events.ConnectionLost, func(c *client) { c.epsv(); _ = c.text.PrintfLine("STOR x"); c.hangUp() }},
		"a certificate refused": {events.TLSFailed, refusing},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			one.does(f.login())
			if got := f.fileEvents(1)[0]; got.Reason != one.want || got.Bytes != 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// hangUp closes the control connection, when a transfer waits.
func (c *client) hangUp() {
	time.Sleep(100 * time.Millisecond) // or before it does, which is the same to a client
	_ = c.raw.(*tls.Conn).NetConn().Close()
}
