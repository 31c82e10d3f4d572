package ftps_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/ftps"
)

// A line without an end is not collected: the connection ends.
func TestEndlessLine(t *testing.T) {
	f := newFixture(t)
	for name, c := range map[string]*client{"in clear text": f.dial(), "under TLS": f.secure(), "logged in": f.login()} {
		piece := []byte(strings.Repeat("A", 16<<10))
		ended := false
		for range 4096 { // 64 MiB
			_ = c.raw.SetWriteDeadline(time.Now().Add(5 * time.Second))
			if _, err := c.raw.Write(piece); err != nil {
				ended = true
				break
			}
		}
		if !ended {
			t.Errorf("%s: 64 MiB were taken", name)
		}
	}
	f.login().cmd(200, "NOOP")
	for name, c := range map[string]*client{"in clear text": f.dial(), "under TLS": f.secure(), "logged in": f.login()} {
		if _, err := io.WriteString(c.raw, "NOOP "+strings.Repeat("A", 8<<10)); err != nil {
			t.Fatal(err)
		}
		if got := c.expect(421); got != "This command is too long." {
			t.Errorf("%s: %q", name, got)
		}
		c.gone()
	}
}

// Commands that are sent without waiting are answered one after the other.
func TestPipelinedCommands(t *testing.T) {
	f := newFixture(t)
	c := f.secure()
	if _, err := io.WriteString(c.raw, "USER alice\r\nPASS canary-4711\r\nPBSZ 0\r\nPROT P\r\nMKD d\r\nCWD d\r\nPWD\r\nRNFR /d\r\nRNTO /e\r\nNOOP\r\nQUIT\r\nNOOP\r\n"); err != nil {
		t.Fatal(err)
	}
	for _, code := range []int{331, 230, 200, 200, 257, 250, 257, 350, 250, 200, 221} {
		c.expect(code)
	}
	c.gone()
}

// ABOR after ABOR, in the middle of transfers and without one: each is answered, and the session goes on.
func TestABORStorm(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	conn := c.data("STOR x")
	if _, err := io.WriteString(conn, "half of it"); err != nil {
		t.Fatal(err)
	}
	const n = 200
	if _, err := io.WriteString(c.raw, strings.Repeat("ABOR\r\n", n)); err != nil {
		t.Fatal(err)
	}
	c.expect(426)
	for range n {
		c.expect(226)
	}
	_ = conn.Close()
	for range 50 { // a data connection that is opened and given up at once
		c.epsv()
		c.cmd(226, "ABOR")
	}
	c.store("STOR y", "whole")
	if got := f.file("y"); got != "whole" {
		t.Errorf("%q", got)
	}
	waitFor(t, func() bool { return len(f.service.Sessions()) == 1 })
}

// Who closes one direction only, of whichever connection, holds nothing for long.
func TestHalfClosed(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.Limits.DataIdle = time.Second })
	half := func(conn net.Conn) {
		t.Helper()
		if secured, ok := conn.(*tls.Conn); ok {
			conn = secured.NetConn()
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	half(f.dial().raw)
	half(f.secure().raw)
	half(f.login().raw)
	c := f.login()
	conn := c.data("STOR x")
	if _, err := io.WriteString(conn, "x"); err != nil {
		t.Fatal(err)
	}
	half(c.raw) // the transfer has nobody to be told of
	waitFor(t, func() bool { return len(f.service.Sessions()) == 0 })
	c = f.login()
	conn = c.data("STOR y")
	half(conn) // without close_notify
	c.expect(426)
	c.store("STOR y", "whole")
}

// Slow clients at every stage, many at a time: others log in meanwhile, and all are gone in the end.
func TestSlowAtEveryStage(t *testing.T) {
	limit := time.Second
	f := newFixture(t, func(o *ftps.Options) {
		o.Limits.Secure, o.Limits.PreLogin, o.Limits.DataConnect, o.Limits.DataIdle = limit, 2*limit, limit, limit
		o.IdleTimeout, o.LoginTimeout = 3*limit, limit
		o.MaxConnections, o.MaxPerSource = 1000, 1000
	})
	write := func(c *client, text string) { _, _ = io.WriteString(c.raw, text) }
	stages := []func(){
		func() { f.dial() },
		func() { write(f.dial(), "AUT") },
		func() { c := f.dial(); c.cmd(234, "AUTH TLS") },
		func() { c := f.dial(); c.cmd(234, "AUTH TLS"); write(c, "\x16\x03\x01\x02\x00\x01") },
		func() { f.secure().cmd(200, "NOOP") },
		func() { f.secure().cmd(331, "USER alice") },
		func() { write(f.secure(), "USER ali") },
		func() { f.login() },
		func() { write(f.login(), "NOO") },
		func() { f.login().epsv() },
		func() { c := f.login(); c.epsv(); write(c, "STOR x\r\n") },
		func() { c := f.login(); addr := c.epsv(); write(c, "STOR x\r\n"); c.connect(addr) },
		func() { f.login().data("STOR %s", "y") },
	}
	for range 8 {
		for _, stage := range stages {
			stage()
		}
	}
	for i := range 5 {
		c := f.login()
		c.store(fmt.Sprintf("STOR of%d", i), "content")
		c.cmd(221, "QUIT")
	}
	waitFor(t, func() bool { return len(f.service.Sessions()) == 0 })
	waitFor(t, func() bool { return f.service.Connections() == 0 })
	f.nothingAside()
}
