//go:build bench

package main

import (
	"crypto/tls"
	"io"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// plainAt has TestPlainServer serve: the address, the files of the certificate and of its key, and the home, a line each.
const plainAt = "SALLYPORT_BENCH_PLAIN"

// TestPlainServer is a process of TestBenchPeers: what small files cost in Go with no login, no checks, no events and no library around them.
func TestPlainServer(t *testing.T) {
	at := strings.Split(os.Getenv(plainAt), "\n")
	if len(at) != 4 {
		t.Skip("TestBenchPeers starts it")
	}
	pair, err := tls.LoadX509KeyPair(at[1], at[2])
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", at[0])
	if err != nil {
		t.Fatal(err)
	}
	go func() { // until who started it is gone
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = l.Close()
	}()
	for {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		p := &plain{conn: textproto.NewConn(raw), raw: raw, home: at[3], tls: &tls.Config{Certificates: []tls.Certificate{pair}, DynamicRecordSizingDisabled: true}}
		go p.serve()
	}
}

// plain is a session of it.
type plain struct {
	conn *textproto.Conn
	raw  net.Conn
	tls  *tls.Config
	home string
	data net.Listener
}

func (p *plain) serve() {
	defer func() { _ = p.raw.Close() }()
	err := p.conn.PrintfLine("220 Plain")
	for err == nil {
		err = p.command()
	}
}

func (p *plain) command() error {
	line, err := p.conn.ReadLine()
	if err != nil {
		return err
	}
	verb, name, _ := strings.Cut(line, " ")
	switch verb {
	case "EPSV":
		if p.data, err = net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			return err
		}
		return p.conn.PrintfLine("229 (|||%d|)", p.data.Addr().(*net.TCPAddr).Port)
	case "RETR":
		return p.transfer(filepath.Join(p.home, name), os.O_RDONLY)
	case "STOR":
		return p.transfer(filepath.Join(p.home, name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	}
	code := map[string]int{"AUTH": 234, "USER": 331, "PASS": 230, "PBSZ": 200, "PROT": 200, "TYPE": 200}[verb]
	if err := p.conn.PrintfLine("%d Yes", code); err != nil {
		return err
	}
	if verb == "AUTH" {
		p.conn = textproto.NewConn(tls.Server(p.raw, p.tls))
	}
	return nil
}

func (p *plain) transfer(name string, flags int) error {
	file, err := os.OpenFile(name, flags|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return err
	}
	raw, err := p.data.Accept()
	if err != nil {
		return err
	}
	if err := p.conn.PrintfLine("150 Now"); err != nil {
		return err
	}
	_ = p.data.Close()
	conn := tls.Server(raw, p.tls)
	buf := clientBuffers.Get().(*[]byte)
	defer clientBuffers.Put(buf)
	if flags == os.O_RDONLY {
		_, err = io.CopyBuffer(conn, struct{ io.Reader }{file}, *buf)
	} else {
		_, err = io.CopyBuffer(struct{ io.Writer }{file}, conn, *buf)
	}
	if err != nil {
		return err
	}
	_ = file.Close()
	_ = conn.Close()
	return p.conn.PrintfLine("226 Done")
}

// startPlain starts it, with files in memory.
func (b *peerBench) startPlain() *contestant {
	defer lazyTimers(b.t)()
	c := &contestant{name: "plain", addr: "127.0.0.1:" + freePort(b.t), password: peerPassword, home: filepath.Join(b.memory, "plain")}
	b.fillHome(c.home)
	cmd := exec.Command(os.Args[0], "-test.run=^TestPlainServer$")
	cmd.Env = append(os.Environ(), plainAt+"="+strings.Join([]string{c.addr, b.server.path("data", "tls.crt"), b.server.path("data", "private", keyFile), c.home}, "\n"))
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	c.pid = func() int { return cmd.Process.Pid }
	for range 600 { // it builds the program first, as all tests do
		if conn, err := net.Dial("tcp", c.addr); err == nil {
			_ = conn.Close()
			return c
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.t.Fatalf("%s does not answer", c.addr)
	return nil
}
