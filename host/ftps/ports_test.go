package ftps_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/ftps"
)

// loginFrom logs in from an address of this machine.
func (f *fixture) loginFrom(ip string) *client {
	f.Helper()
	raw, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}).Dial("tcp", f.addr)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
	c := &client{f: f, raw: raw, text: textproto.NewConn(raw)}
	c.expect(220)
	c.cmd(234, "AUTH TLS")
	c.raw = tls.Client(raw, clientTLS())
	c.text = textproto.NewConn(c.raw)
	c.cmd(331, "USER alice")
	c.cmd(230, "PASS canary-4711")
	c.cmd(200, "PBSZ 0")
	c.cmd(200, "PROT P")
	return c
}

func dialFrom(t *testing.T, ip, addr string) net.Conn {
	t.Helper()
	raw, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}).Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
	return raw
}

// Two ports are enough for many clients that all wait for their data connection at the same time; each gets its own.
func TestPassivePortsAreShared(t *testing.T) {
	first := freePair(t)
	f := newFixture(t, func(o *ftps.Options) { o.PassiveFirst, o.PassiveLast = first, first+1 })
	type waiter struct {
		*client
		ip, addr, name string
	}
	var all []waiter
	for i := range 60 {
		ip := fmt.Sprintf("127.0.2.%d", 1+i/2) // two of each address
		c := f.loginFrom(ip)
		w := waiter{c, ip, c.epsv(), fmt.Sprintf("file%d", i)}
		if err := c.text.PrintfLine("STOR %s", w.name); err != nil {
			t.Fatal(err)
		}
		all = append(all, w)
	}
	third := f.loginFrom("127.0.2.1")
	third.cmd(425, "EPSV") // there is no third port for this address
	stranger := dialFrom(t, "127.0.3.1", all[0].addr)
	if _, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Error("somebody whom nobody waits for was let in")
	}
	f.toldOf(events.StrangeData)
	for i := len(all) - 1; i >= 0; i-- {
		w := all[i]
		conn := tls.Client(dialFrom(t, w.ip, w.addr), clientTLS())
		if _, err := io.WriteString(conn, "of "+w.name); err != nil {
			t.Fatal(err)
		}
		w.expect(150)
		_ = conn.Close()
		w.expect(226)
	}
	for _, w := range all {
		if got := f.file(w.name); got != "of "+w.name {
			t.Errorf("%s: %q", w.name, got)
		}
	}
	// A place that nobody takes is free again, by another PASV or when the client has gone.
	port := ""
	for range 10 {
		addr := third.epsv()
		if _, now, _ := net.SplitHostPort(addr); port == "" {
			port = now
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < first || n > first+1 {
		t.Errorf("port %q", port)
	}
	fourth := f.loginFrom("127.0.2.1")
	fourth.epsv()
	fourth.cmd(221, "QUIT")
	fourth.gone()
	waitFor(t, func() bool {
		c := f.loginFrom("127.0.2.1")
		defer func() { _ = c.raw.Close() }()
		_ = c.text.PrintfLine("EPSV")
		line, _ := c.text.ReadLine()
		return strings.HasPrefix(line, "229")
	})
}

// Two services with the same range serve from the same ports, whoever came first.
func TestServicesSharePassivePorts(t *testing.T) {
	first, ports := freePair(t), ftps.NewPorts()
	option := func(o *ftps.Options) { o.PassiveFirst, o.PassiveLast, o.Ports = first, first+1, ports }
	one, other := newFixture(t, option), newFixture(t, option)
	for range 3 { // each port is in use by both
		for _, f := range []*fixture{one, other} {
			f.login().store("STOR x", "content")
		}
	}
	waiting := one.login()
	addr := waiting.epsv()
	if err := waiting.text.PrintfLine("STOR y"); err != nil {
		t.Fatal(err)
	}
	other.login().store("STOR y", "of the other")
	conn, done := waiting.connect(addr)
	defer done()
	if _, err := io.WriteString(conn, "of the one"); err != nil {
		t.Fatal(err)
	}
	waiting.expect(150)
	_ = conn.Close()
	waiting.expect(226)
	if one.file("y") != "of the one" || other.file("y") != "of the other" {
		t.Errorf("%q and %q", one.file("y"), other.file("y"))
	}
	one.service.Shutdown(t.Context())
	other.login().store("STOR z", "still")
	other.service.Shutdown(t.Context())
	if conn, err := net.Dial("tcp", addr); err == nil {
		_ = conn.Close()
		t.Error("the port is open behind the last service")
	}
}

// toldOf waits for the event of a refused connection.
func (f *fixture) toldOf(reason events.Reason) {
	f.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, e := range f.notes.events() {
			if refused, ok := e.(*events.ConnectionRefused); ok && refused.Reason == reason {
				return
			}
		}
	}
	f.Errorf("no event says %s", reason)
}

// freePair is the first of two free ports.
func freePair(t *testing.T) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		first := l.Addr().(*net.TCPAddr).Port
		next, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+1))
		_ = l.Close()
		if err == nil {
			_ = next.Close()
			return first
		}
	}
	t.Fatal("no two ports in a row are free")
	return 0
}
