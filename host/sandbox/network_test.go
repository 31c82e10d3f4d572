package sandbox_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// keyPair is the certificate of httptest, for 127.0.0.1 and example.com, and who trusts it.
func keyPair() (*tls.Config, *x509.CertPool) {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return s.TLS.Clone(), pool
}

// serveTCP handles each connection until the test ends.
func serveTCP(t testing.TB, config *tls.Config, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return l.Addr().String()
}

func echoAll(conn net.Conn) { _, _ = io.Copy(conn, conn) }

// dialing is a call whose plugin may dial the address.
func dialing(t testing.TB, r *sandbox.Runtime, user, address string, pool *x509.CertPool) (sandbox.Call, *bytes.Buffer) {
	t.Helper()
	e, err := endpoint.Parse(address, endpoint.Sockets())
	if err != nil {
		t.Fatal(err)
	}
	c := call(user)
	c.Settings = map[string]any{"address": address}
	c.Reach = r.NewReach(sandbox.Grants{Network: []endpoint.Endpoint{e}, CA: pool}, limits())
	t.Cleanup(c.Reach.Close)
	log := &bytes.Buffer{}
	c.Log = slog.New(slog.NewTextHandler(log, nil))
	return c, log
}

func TestSockets(t *testing.T) {
	config, pool := keyPair()
	tcp, secured := serveTCP(t, nil, echoAll), serveTCP(t, config, echoAll)
	upgrading := serveTCP(t, nil, func(conn net.Conn) {
		if line, _ := bufio.NewReader(conn).ReadString('\n'); line == "STARTTLS\n" {
			_, _ = io.WriteString(conn, "OK\n")
			echoAll(tls.Server(conn, config))
		}
	})
	ending := serveTCP(t, nil, func(conn net.Conn) { _, _ = io.WriteString(conn, "bye") })
	silent := serveTCP(t, nil, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) })
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = udp.Close() }()
	go func() {
		buffer := make([]byte, 2000)
		for {
			n, from, err := udp.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(buffer[:n], from)
		}
	}()

	r := newRuntime(t)
	p := loadOn(t, r, netGuest(t), patient)
	for name, c := range map[string]struct {
		user, address string
		pool          *x509.CertPool
		want          sdk.Verdict
		says          string
	}{
		"tcp":           {"echo", "tcp://" + tcp, nil, sdk.Accept, "answer: hello"},
		"tls":           {"echo", "tls://" + secured, pool, sdk.Accept, "answer: hello"},
		"ldaps":         {"echo", "ldaps://" + secured, pool, sdk.Accept, "answer: hello"},
		"udp":           {"echo", "udp://" + udp.LocalAddr().String(), nil, sdk.Accept, "answer: hello"},
		"both ways":     {"both ways", "tcp://" + tcp, nil, sdk.Accept, ""},
		"both ways tls": {"both ways", "tls://" + secured, pool, sdk.Accept, ""},
		"start tls":     {"start tls", "ldap://" + upgrading, pool, sdk.Accept, "answer: secret"},
		"strange CA":    {"echo", "tls://" + secured, nil, sdk.Reject, "certificate"},
		"start strange": {"start tls", "tcp://" + upgrading, nil, sdk.Reject, "certificate"},
		"end":           {"end", "tcp://" + ending, nil, sdk.Accept, "bye"},
		"patience":      {"patience", "tcp://" + silent, nil, sdk.Accept, ""},
		"nobody there":  {"echo", "tcp://127.0.0.1:1", nil, sdk.Reject, "refused"},
		"too many":      {"many", "tcp://" + tcp, nil, sdk.Reject, "sockets: 9 of 8"},
	} {
		t.Run(name, func(t *testing.T) {
			call, log := dialing(t, r, c.user, c.address, c.pool)
			got, err := p.Run(t.Context(), call)
			if err != nil || got.Verdict != c.want || !strings.Contains(log.String(), c.says) {
				t.Errorf("got %v, %v: %s", got.Verdict, err, log)
			}
		})
	}
	t.Run("blocking, without an SDK", func(t *testing.T) {
		text, err := os.ReadFile("testdata/block.wat")
		if err != nil {
			t.Fatal(err)
		}
		call, log := dialing(t, r, "", "tcp://"+tcp, nil)
		got, err := loadOn(t, r, assemble(t, hostile{name: "block", text: string(text)}), patient).Run(t.Context(), call)
		if err != nil || got.Verdict != sdk.Accept {
			t.Errorf("got %v, %v: %s", got.Verdict, err, log)
		}
	})
}

// What comes before the handshake and is not part of it may be somebody else's.
func TestDataBeforeStartTLSIsRefused(t *testing.T) {
	config, pool := keyPair()
	upgrading := serveTCP(t, nil, func(conn net.Conn) {
		_, _ = bufio.NewReader(conn).ReadString('\n')
		_, _ = io.WriteString(conn, "OK\n")
		_, _ = io.WriteString(conn, "injected\n")
		echoAll(tls.Server(conn, config))
	})
	r := newRuntime(t)
	p := loadOn(t, r, netGuest(t), patient)
	call, log := dialing(t, r, "start tls", "tcp://"+upgrading, pool)
	call.Settings["wait"] = "until it is there"
	if got, err := p.Run(t.Context(), call); err != nil || got.Verdict != sdk.Reject || !strings.Contains(log.String(), "before TLS") {
		t.Errorf("got %v, %v: %s", got.Verdict, err, log)
	}
}

// A plugin that has used a socket still asks the host, and is not run again for it.
func TestCallsToTheHostBesideSockets(t *testing.T) {
	var connections atomic.Int32
	tcp := serveTCP(t, nil, func(conn net.Conn) { connections.Add(1); echoAll(conn) })
	w := newWeb(t, func(int, *http.Request) string { return "fine" })
	r := newRuntime(t)
	p := loadOn(t, r, netGuest(t), patient)
	c, log := dialing(t, r, "mixed", "tcp://"+tcp, nil)
	c.Settings["url"] = w.URL
	both, _ := endpoint.Parse(w.URL, endpoint.HTTP())
	to, _ := endpoint.Parse("tcp://"+tcp, endpoint.Sockets())
	c.Reach = r.NewReach(sandbox.Grants{HTTP: []endpoint.Endpoint{both}, Network: []endpoint.Endpoint{to}}, limits())
	defer c.Reach.Close()
	c.Verify = func(context.Context, string) (sandbox.Verified, error) {
		return sandbox.Verified{Code: sdk.VerifyRight}, nil
	}
	got, err := p.Run(t.Context(), c)
	if err != nil || got.Verdict != sdk.Accept || got.Stats.Runs != 6 || connections.Load() != 2 || !strings.Contains(log.String(), "200 OK fine") || strings.Count(log.String(), "dialling") != 2 {
		t.Errorf("got %v, %v, %+v, %d connections: %s", got.Verdict, err, got.Stats, connections.Load(), log)
	}
}

// A plugin that connects again and again is stopped: the directory that it was granted is not its own to flood.
func TestDialFlood(t *testing.T) {
	var connections atomic.Int32
	tcp := serveTCP(t, nil, func(net.Conn) { connections.Add(1) })
	r := newRuntime(t)
	p := loadOn(t, r, netGuest(t), patient)
	c, _ := dialing(t, r, "flood", "tcp://"+tcp, nil)
	if got, err := p.Run(t.Context(), c); err == nil || !errors.Is(err, sandbox.ErrLimit) || got.Verdict != sdk.Fail {
		t.Errorf("got %v, %v", got.Verdict, err)
	}
	if n := connections.Load(); n > int32(limits().Runs) {
		t.Errorf("%d connections", n)
	}
}

// Whoever waits at a socket is gone when the client is, and holds no slot; the instances are bounded.
func TestSocketsThatHang(t *testing.T) {
	silent := serveTCP(t, nil, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) })
	r := newRuntime(t, func(o *sandbox.Options) { o.Executing = 1 })
	p := loadOn(t, r, netGuest(t), patient, func(l *sandbox.Limits) { l.Open = 3 })
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 10 {
		call, _ := dialing(t, r, "hang", "tcp://"+silent, nil)
		waiting.Go(func() {
			if _, err := p.Run(ctx, call); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	if got, err := p.Run(t.Context(), call("nobody")); err != nil || got.Verdict != sdk.Accept {
		t.Errorf("got %v, %v", got.Verdict, err)
	}
	cancel()
	waiting.Wait()
}

// While attempts wait for a place among those with sockets, and while they sleep before, they hold no instance.
func TestWaitingForASocketHoldsNoInstance(t *testing.T) {
	var inside, most atomic.Int32
	slow := serveTCP(t, nil, func(conn net.Conn) {
		n := inside.Add(1)
		defer inside.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(20 * time.Millisecond)
		echoAll(conn)
	})
	r := newRuntime(t, func(o *sandbox.Options) { o.Executing = 2 })
	p := loadOn(t, r, netGuest(t), patient, func(l *sandbox.Limits) { l.Open = 2 })
	before := resident(t)
	var waiting sync.WaitGroup
	for range 40 {
		call, log := dialing(t, r, "echo", "tcp://"+slow, nil)
		waiting.Go(func() {
			if got, err := p.Run(t.Context(), call); err != nil || got.Verdict != sdk.Accept {
				t.Errorf("got %v, %v: %s", got.Verdict, err, log)
			}
		})
	}
	waiting.Wait()
	if most.Load() > 4 { // the server notices the end of one after the next has begun
		t.Errorf("%d connections at once", most.Load())
	}
	if grown := resident(t) - before; grown > 200<<20 {
		t.Errorf("%d MiB for two instances", grown>>20)
	}
}

// A server that takes nothing must not hold the host up: neither in start_tls nor at the end.
func TestAServerThatReadsNothing(t *testing.T) {
	stuck := make(chan struct{})
	deaf := serveTCP(t, nil, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "OK\n")
		<-stuck
	})
	defer close(stuck)
	r := newRuntime(t)
	p := loadOn(t, r, netGuest(t), patient)
	for _, user := range []string{"stuffed", "stuffed tls"} {
		call, _ := dialing(t, r, user, "tcp://"+deaf, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		start := time.Now()
		if _, err := p.Run(ctx, call); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v", user, err)
		}
		cancel()
		if took := time.Since(start); took > 10*time.Second { // it would be for ever
			t.Errorf("%s: %v", user, took)
		}
	}
}

var (
	netOnce  sync.Once
	netBytes []byte
	errNet   error
)

func netGuest(t testing.TB) []byte {
	t.Helper()
	netOnce.Do(func() { netBytes, errNet = buildGuest(t.TempDir(), "./testdata/netguest") })
	if errNet != nil {
		t.Fatal(errNet)
	}
	return netBytes
}
