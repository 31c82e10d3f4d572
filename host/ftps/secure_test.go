package ftps_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/ftps"
)

// loginWith logs in with a TLS configuration.
func (f *fixture) loginWith(config *tls.Config) *client {
	f.Helper()
	c := f.dial()
	c.cmd(234, "AUTH TLS")
	c.raw = tls.Client(c.raw, config)
	c.text = textproto.NewConn(c.raw)
	c.cmd(331, "USER alice")
	c.cmd(230, "PASS canary-4711")
	c.cmd(200, "PBSZ 0")
	c.cmd(200, "PROT P")
	return c
}

// list asks for a listing over a data connection with a TLS configuration, and returns the reply's code.
func (c *client) list(config *tls.Config) string {
	c.f.Helper()
	addr := c.epsv()
	if err := c.text.PrintfLine("NLST"); err != nil {
		c.f.Fatal(err)
	}
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		c.f.Fatal(err)
	}
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	conn := tls.Client(raw, config)
	_, _ = io.ReadAll(conn)
	_ = conn.Close()
	for {
		line, err := c.text.ReadLine()
		if err != nil {
			c.f.Fatal(err)
		}
		if !strings.HasPrefix(line, "150") {
			return line[:3]
		}
	}
}

// session is a TLS configuration with a store of its own for tickets.
func tickets(version uint16) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "test", ClientSessionCache: tls.NewLRUClientSessionCache(8), MinVersion: version, MaxVersion: version}
}

// Only a ticket of its own control connection opens a data connection: not none, not that of another session from the same address.
func TestDataConnectionIsBound(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(o *ftps.Options) { o.SessionReuse = ftps.ReuseRequire })
			own, foreign := tickets(version), tickets(version)
			alice, mallory := f.loginWith(own), f.loginWith(foreign)
			for range 3 { // each handshake gives a ticket for the next
				if code := alice.list(own); code != "226" {
					t.Errorf("its own ticket: %s", code)
				}
			}
			if code := mallory.list(foreign); code != "226" {
				t.Errorf("the other's own: %s", code)
			}
			for what, config := range map[string]*tls.Config{"no ticket": tickets(version), "another's ticket": foreign} {
				if code := alice.list(config); code == "226" {
					t.Errorf("%s: %s", what, code)
				}
			}
			if code := alice.list(own); code != "226" {
				t.Errorf("afterwards: %s", code)
			}
			alice.cmd(221, "QUIT")
			alice.gone()
			closed := f.closed()
			if closed.DataResumed != 4 || closed.DataConns != 6 {
				t.Errorf("%+v", closed)
			}
		})
	}
}

// closed waits for the event of a session that ended.
func (f *fixture) closed() *events.SessionClosed {
	f.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, e := range f.notes.events() {
			if closed, ok := e.(*events.SessionClosed); ok {
				return closed
			}
		}
	}
	f.Fatal("no session was closed")
	return nil
}

// With "warn" and "off" a data connection without a ticket works, and is counted.
func TestDataConnectionIsCounted(t *testing.T) {
	for mode, warned := range map[ftps.SessionReuse]bool{ftps.ReuseWarn: true, ftps.ReuseOff: false} {
		f := newFixture(t, func(o *ftps.Options) { o.SessionReuse = mode })
		c := f.loginWith(tickets(tls.VersionTLS13))
		for range 3 {
			if code := c.list(tickets(tls.VersionTLS13)); code != "226" {
				t.Errorf("%s: %s", mode, code)
			}
		}
		c.cmd(221, "QUIT")
		if closed := f.closed(); closed.DataConns != 3 || closed.DataResumed != 0 {
			t.Errorf("%s: %+v", mode, closed)
		}
		if n := strings.Count(f.log.String(), "does not resume"); (n == 1) != warned || n > 1 {
			t.Errorf("%s: said %d times", mode, n)
		}
	}
}

// A client that speaks something else than FTP is refused in the handshake, on both channels: so nobody's browser talks to us.
func TestALPN(t *testing.T) {
	for _, implicit := range []bool{false, true} {
		f := newFixture(t, func(o *ftps.Options) { o.Implicit = implicit })
		for offered, want := range map[string]bool{"": true, "ftp": true, "x-filezilla-ftp,ftp": true, "http/1.1": false, "h2,http/1.1": false, "smtp": false, "h2,ftp": true} {
			config := clientTLS()
			if offered != "" {
				config.NextProtos = strings.Split(offered, ",")
			}
			raw, err := net.Dial("tcp", f.addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
			if !implicit {
				text := textproto.NewConn(raw)
				if _, _, err := text.ReadResponse(220); err != nil {
					t.Fatal(err)
				}
				if err := text.PrintfLine("AUTH TLS"); err != nil {
					t.Fatal(err)
				}
				if _, _, err := text.ReadResponse(234); err != nil {
					t.Fatal(err)
				}
			}
			err = tls.Client(raw, config).Handshake()
			if (err == nil) != want || (err != nil && !strings.Contains(err.Error(), "no application protocol")) {
				t.Errorf("implicit %v, %q: %v", implicit, offered, err)
			}
			_ = raw.Close()
		}
	}
	f := newFixture(t)
	c := f.loginWith(clientTLS())
	for offered, want := range map[string]bool{"ftp-data": true, "ftp": true, "http/1.1": false} {
		config := clientTLS()
		config.NextProtos = []string{offered}
		if code := c.list(config); (code == "226") != want {
			t.Errorf("data, %s: %s", offered, code)
		}
	}
}

// Who is refused for want of a ticket has none the next time either, though TLS 1.3 sends tickets before it refuses.
func TestRefusedDataConnectionGivesNoTicket(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, mode := range []ftps.SessionReuse{ftps.ReuseRequire, ftps.ReuseWarn} {
			f := newFixture(t, func(o *ftps.Options) { o.SessionReuse = mode })
			own, thief := tickets(version), tickets(version)
			alice := f.loginWith(own)
			for try := range 3 {
				if code := alice.list(thief); (code == "226") != (mode == ftps.ReuseWarn) {
					t.Errorf("%s, %s, try %d: %s", tls.VersionName(version), mode, try, code)
				}
			}
			for range 3 {
				if code := alice.list(own); code != "226" {
					t.Errorf("its own: %s", code)
				}
			}
			alice.cmd(221, "QUIT")
			if closed := f.closed(); closed.DataResumed != 3 || closed.DataConns != 6 {
				t.Errorf("%s, %s: %+v", tls.VersionName(version), mode, closed)
			}
		}
	}
}

// What a stranger offers is told of, but not at any length.
func TestReasonsAreShort(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.Implicit = true })
	config := clientTLS()
	for range 100 {
		config.NextProtos = append(config.NextProtos, strings.Repeat("x", 200))
	}
	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	_ = tls.Client(raw, config).Handshake()
	waitFor(t, func() bool { return f.refusals(events.TLSFailed) == 1 })
	for _, e := range f.notes.events() {
		if refused, ok := e.(*events.ConnectionRefused); ok && (len(refused.Detail) > 310 || refused.Detail == "") {
			t.Errorf("%d bytes: %q", len(refused.Detail), refused.Detail)
		}
	}
	f.service.Shutdown(t.Context())
	if n := f.log.Len(); n > 2000 {
		t.Errorf("%d bytes of log", n)
	}
}
