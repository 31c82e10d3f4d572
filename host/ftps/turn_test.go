package ftps_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/ftps"
)

// Replies come one after the other and none is lost, whatever is sent behind a transfer that fails.
func TestRepliesBehindAFailingTransfer(t *testing.T) {
	c := newFixture(t).login()
	const n = 300
	if _, err := io.WriteString(c.raw, strings.Repeat("RETR nope\r\nSTAT\r\nXYZ\r\nABOR\r\n", n)); err != nil {
		t.Fatal(err)
	}
	got := map[int]int{}
	for range 4 * n {
		code, _, err := c.text.ReadResponse(0)
		if err != nil {
			t.Fatalf("%v: %v", got, err)
		}
		got[code]++
	}
	if want := fmt.Sprint(map[int]int{211: n, 226: n, 502: n, 550: n}); fmt.Sprint(got) != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// What is sent during a transfer is answered behind it, however long it takes.
func TestCommandsDuringALongTransfer(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.IdleTimeout = time.Second })
	c := f.login()
	conn := c.data("STOR x")
	if got := c.cmd(211, "STAT"); !strings.Contains(got, "A transfer is under way") { // this one at once
		t.Errorf("%q", got)
	}
	if err := c.text.PrintfLine("STRU F\r\nOPTS MLST\r\nNOOP"); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		if _, err := io.WriteString(conn, "x"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(250 * time.Millisecond)
	}
	_ = conn.Close()
	for _, code := range []int{226, 200, 200, 200} {
		c.expect(code)
	}
}

// STAT is answered at once, and changes nothing of the order of the others.
func TestSTATChangesNoOrder(t *testing.T) {
	c := newFixture(t).login()
	addr := c.epsv()
	if _, err := io.WriteString(c.raw, "STOR x\r\nSTAT\r\nSTRU F\r\nXYZ\r\n"); err != nil {
		t.Fatal(err)
	}
	c.expect(211)
	conn, done := c.connect(addr)
	defer done()
	c.expect(150)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	for _, code := range []int{226, 200, 502} {
		c.expect(code)
	}
}

// ABOR never comes before the reply of a transfer that ends by itself: its 226 would be taken for that of an upload.
func TestABORComesBehindAReply(t *testing.T) {
	c := newFixture(t).login()
	for range 300 {
		conn := c.data("STOR x")
		_ = conn.NetConn().Close() // cut
		if err := c.text.PrintfLine("ABOR\r\nSTRU F"); err != nil {
			t.Fatal(err)
		}
		c.expect(426)
		c.expect(226)
		c.expect(200)
	}
}

// A client that goes while its commands wait is noticed.
func TestHangingUpBehindATransfer(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	conn := c.data("STOR x")
	if err := c.text.PrintfLine("NOOP"); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			if _, err := io.WriteString(conn, "x"); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	time.Sleep(200 * time.Millisecond)
	_ = c.raw.(*tls.Conn).NetConn().Close()
	waitFor(t, func() bool { return f.service.Connections() == 0 })
	f.nothingAside()
}

// ABOR is heard while the server waits for the data connection.
func TestABORBeforeTheDataConnection(t *testing.T) {
	c := newFixture(t).login()
	c.epsv()
	if err := c.text.PrintfLine("STOR x\r\nABOR"); err != nil {
		t.Fatal(err)
	}
	if got := c.expect(425); got != "The transfer was given up." {
		t.Errorf("%q", got)
	}
	c.expect(226)
	c.store("STOR x", "content")
}

// Nothing moves after the end of a session, and nothing that it waits for holds up a shutdown.
func TestTheEndReachesATransferThatWaits(t *testing.T) {
	for _, behind := range []string{"", "NOOP\r\n", "QUIT\r\n"} {
		f := newFixture(t)
		c := f.login()
		addr := c.epsv()
		if _, err := io.WriteString(c.raw, "STOR x\r\n"+behind); err != nil {
			t.Fatal(err)
		}
		if n := f.service.CloseSessions("alice"); n != 1 {
			t.Errorf("%d sessions", n)
		}
		waitFor(t, func() bool { return f.service.Connections() == 0 })
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			t.Errorf("%q: the port is still open", behind)
		}
	}
}

// A client that does not read its replies is idle.
func TestWhoDoesNotReadIsIdle(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.IdleTimeout = time.Second })
	c := f.login()
	conn := c.data("STOR x")
	go func() { _, _ = io.WriteString(c.raw, strings.Repeat("STAT\r\n", 500_000)) }()
	for range 20 {
		_, _ = io.WriteString(conn, "x")
		time.Sleep(100 * time.Millisecond)
	}
	_ = conn.Close()
	waitFor(t, func() bool { return f.service.Connections() == 0 })
}

// Who is in the middle of a handshake hears nothing in clear text, and is not taken for a failure.
func TestShutdownDuringAHandshake(t *testing.T) {
	f := newFixture(t)
	c := f.dial()
	c.cmd(234, "AUTH TLS")
	if _, err := io.WriteString(c.raw, "\x16\x03\x01\x02\x00\x01"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	f.service.Shutdown(ctx)
	if said, _ := io.ReadAll(c.raw); len(said) > 0 {
		t.Errorf("in clear text: %q", said)
	}
	if n := f.refusals(events.TLSFailed); n != 0 {
		t.Errorf("%d failures are told of", n)
	}
}

// A data connection in clear text has its reason said.
func TestDataConnectionInClearText(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.Implicit, o.Limits.DataIdle = true, time.Second })
	c := f.login()
	c.store("STOR y", "a folder that is not empty")
	for command, say := range map[string]string{"LIST": "", "STOR x": "clear text"} {
		raw, err := net.Dial("tcp", c.epsv())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(raw, say); err != nil {
			t.Fatal(err)
		}
		c.cmd(150, "%s", command)
		if got := c.expect(521); got != "The data connection does not begin with TLS: PROT P." {
			t.Errorf("%s: %q", command, got)
		}
		_ = raw.Close()
	}
}

// A line may have 4096 bytes with its end; one that has more is told so, however it comes.
func TestLongestLine(t *testing.T) {
	f := newFixture(t)
	for n, end := range map[int]string{4094: "\r\n", 4093: "\n", 4095: "\n", 4096: "\r\n", 6000: "\n"} {
		c := f.login()
		line := "NOOP " + strings.Repeat("A", n-len("NOOP "))
		if _, err := io.WriteString(c.raw, line[:1000]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c.raw, line[1000:]+end); err != nil {
			t.Fatal(err)
		}
		want := 200
		if n+2 > 4096 {
			want = 421
		}
		c.expect(want)
	}
}

// An empty file, and a folder with nothing in it, are TLS from its beginning to its goodbye.
func TestNothingIsSentInTLS(t *testing.T) {
	c := newFixture(t).login()
	c.store("STOR empty", "")
	c.cmd(257, "MKD folder")
	for _, command := range []string{"RETR empty", "LIST folder", "NLST folder", "MLSD folder"} {
		if got := c.fetch(command); got != "" {
			t.Errorf("%s: %q", command, got)
		}
	}
}
