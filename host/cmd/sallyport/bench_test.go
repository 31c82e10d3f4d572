//go:build bench

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/bus"
	"github.com/sallyport-ftps/sallyport/host/ftps"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/plugins"
	"github.com/sallyport-ftps/sallyport/sdk"
)

const (
	benchTime  = 6 * time.Second
	benchBytes = 256 << 20
	benchUsers = 64
)

// TestBench prints what make bench is for. Compare within one run only: machines are noisy.
func TestBench(t *testing.T) {
	needPrograms(t, "lftp")
	fmt.Printf("\n%s %s/%s, %d cores\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	s := newServer(t, "attempts {\n  per_source = 10000\n}\n")
	for i := range benchUsers {
		s.addAccount(fmt.Sprintf("user%d", i))
	}
	cpu := benchLogins(t, s)
	benchParts(t, cpu)
	benchTransfers(t, s)
	benchSmallFiles(t, s)
	benchStart(t, s)
}

// benchLogins measures whole logins over explicit FTPS: connect, AUTH TLS, USER, PASS, QUIT.
func benchLogins(t *testing.T, s *server) (cpuOfOne time.Duration) {
	fmt.Printf("\nLogins (explicit TLS 1.3, argon2id 19 MiB x 2, stored event)\n%12s %12s %16s %10s\n", "connections", "logins/s", "server CPU/login", "of C=1")
	var first float64
	for _, c := range []int{1, 8, 64} {
		var done atomic.Int64
		before, start := s.cpu(t), time.Now()
		var wg sync.WaitGroup
		for i := range c {
			wg.Go(func() {
				for time.Since(start) < benchTime {
					conn := benchLogin(t, s.explicit, fmt.Sprintf("user%d", i))
					_ = conn.PrintfLine("QUIT")
					_ = conn.Close()
					done.Add(1)
				}
			})
		}
		wg.Wait()
		rate := float64(done.Load()) / time.Since(start).Seconds()
		each := (s.cpu(t) - before) / time.Duration(done.Load())
		if c == 1 {
			first, cpuOfOne = rate, each
		}
		fmt.Printf("%12d %12.1f %13.1f ms %9.2fx\n", c, rate, ms(each), rate/first)
	}
	return cpuOfOne
}

func benchLogin(t testing.TB, addr, user string) *textproto.Conn {
	conn, expect := benchDial(t, addr)
	_ = conn.PrintfLine("USER %s", user)
	expect(331)
	_ = conn.PrintfLine("PASS %s", goodPassword)
	expect(230)
	return conn
}

// benchDial connects and begins TLS.
func benchDial(t testing.TB, addr string) (conn *textproto.Conn, expect func(code int)) {
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn = textproto.NewConn(raw)
	expect = func(code int) {
		if _, message, err := conn.ReadResponse(code); err != nil {
			t.Fatalf("want %d: %s %v", code, message, err)
		}
	}
	expect(220)
	_ = conn.PrintfLine("AUTH TLS")
	expect(234)
	conn = textproto.NewConn(tls.Client(raw, &tls.Config{InsecureSkipVerify: true}))
	return conn, expect
}

// beginLogin sends the password, and returns a function that waits for the answer.
func beginLogin(t testing.TB, addr, user string) (accepted func() bool) {
	conn, expect := benchDial(t, addr)
	_ = conn.PrintfLine("USER %s", user)
	expect(331)
	_ = conn.PrintfLine("PASS %s", goodPassword)
	return func() bool {
		_, message, err := conn.ReadResponse(230)
		if err != nil {
			t.Errorf("%s: %s %v", user, message, err)
		}
		_ = conn.Close()
		return err == nil
	}
}

// cpu is the processor time that the server has used so far.
func (s *server) cpu(t testing.TB) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	var user, system int64
	fields := strings.Fields(rest)
	_, _ = fmt.Sscan(fields[11], &user)
	_, _ = fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// benchParts measures the parts of a login alone.
func benchParts(t *testing.T, login time.Duration) {
	dir := t.TempDir()
	hasher := account.NewHasher(1)
	encoded, err := hasher.Hash(t.Context(), policy.Hashing{}, secret.New("x"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := sandbox.New(t.Context(), sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close(context.Background()) }()
	wasm, err := plugins.Bundled("local")
	if err != nil {
		t.Fatal(err)
	}
	local, err := r.Load(t.Context(), wasm, sandbox.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.Open(t.Context(), bus.Options{Dir: filepath.Join(dir, "events"), SeedFile: filepath.Join(dir, "seed"), ServerName: "bench", Retention: time.Hour, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	pair, _, err := ftps.SelfSigned(filepath.Join(dir, "crt"), filepath.Join(dir, "key"), "bench")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\nParts of a login, alone\n%-34s %12s %18s\n", "part", "time", "of CPU per login")
	for _, part := range []struct {
		name string
		run  func(*testing.B)
	}{
		{"password hash (argon2id)", func(bm *testing.B) {
			for bm.Loop() {
				_, _ = hasher.Match(bm.Context(), netip.Addr{}, "", encoded, secret.New("x"))
			}
		}},
		{"TLS 1.3 handshake, both sides", func(bm *testing.B) {
			for bm.Loop() {
				handshake(bm, pair)
			}
		}},
		{"sandbox (Go guest, two runs)", func(bm *testing.B) {
			call := sandbox.Call{Fields: map[string]string{"user": "x"}, Verify: func(context.Context, string) (sandbox.Verified, error) {
				return sandbox.Verified{Code: sdk.VerifyRight}, nil
			}}
			for bm.Loop() {
				if _, err := local.Run(bm.Context(), call); err != nil {
					bm.Fatal(err)
				}
			}
		}},
		{"event on disk", func(bm *testing.B) {
			for bm.Loop() {
				if err := b.Store(bm.Context(), &events.LoginAccepted{Method: "accounts"}); err != nil {
					bm.Fatal(err)
				}
			}
		}},
	} {
		each := time.Duration(testing.Benchmark(part.run).NsPerOp())
		fmt.Printf("%-34s %9.2f ms %16.0f %%\n", part.name, ms(each), 100*float64(each)/float64(login))
	}
}

func handshake(t testing.TB, pair tls.Certificate) {
	here, there := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- tls.Server(there, &tls.Config{Certificates: []tls.Certificate{pair}}).Handshake() }()
	client := tls.Client(here, &tls.Config{InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, here) }()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	_ = here.Close()
	_ = there.Close()
}

var epsvPort = regexp.MustCompile(`\|\|\|(\d+)\|`)

// benchTransfers compares RETR and STOR of one session with a plain TLS copy in Go.
func benchTransfers(t *testing.T, s *server) {
	file := s.path("data", "files", "user0", "big.bin")
	writeFile(t, file, io.LimitReader(zeros{}, benchBytes))
	down, up := plainCopy(t, s, file)
	conn := benchLogin(t, s.explicit, "user0")
	defer func() { _ = conn.Close() }()
	_ = conn.PrintfLine("PBSZ 0")
	_, _, _ = conn.ReadResponse(200)
	_ = conn.PrintfLine("PROT P")
	_, _, _ = conn.ReadResponse(200)
	retr := best(func() {
		transfer(t, conn, "RETR big.bin", func(c *tls.Conn) { _, _ = io.CopyBuffer(io.Discard, c, make([]byte, 1<<20)) })
	})
	stor := best(func() {
		transfer(t, conn, "STOR up.bin", func(c *tls.Conn) { _, _ = io.CopyBuffer(c, io.LimitReader(zeros{}, benchBytes), make([]byte, 1<<20)) })
	})
	fmt.Printf("\nTransfers of %d MiB, one session, best of three\n%-10s %14s %22s %8s\n", benchBytes>>20, "", "Sallyport", "plain TLS copy in Go", "ratio")
	fmt.Printf("%-10s %9.0f MB/s %17.0f MB/s %8.2f\n", "RETR", rate(retr), rate(down), float64(down)/float64(retr))
	fmt.Printf("%-10s %9.0f MB/s %17.0f MB/s %8.2f\n", "STOR", rate(stor), rate(up), float64(up)/float64(stor))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func transfer(t *testing.T, conn *textproto.Conn, command string, move func(*tls.Conn)) {
	_ = conn.PrintfLine("EPSV")
	_, message, err := conn.ReadResponse(229)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.PrintfLine("%s", command)
	raw, err := net.Dial("tcp", "127.0.0.1:"+epsvPort.FindStringSubmatch(message)[1])
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	if _, _, err := conn.ReadResponse(150); err != nil {
		t.Fatal(err)
	}
	move(c)
	_ = c.Close()
	if _, _, err := conn.ReadResponse(226); err != nil {
		t.Fatal(err)
	}
}

// plainCopy sends a file over TLS and takes one, with nothing around it.
func plainCopy(t *testing.T, s *server, file string) (down, up time.Duration) {
	pair, err := tls.LoadX509KeyPair(s.path("data", "tls.crt"), s.path("data", "private", keyFile))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			direction := make([]byte, 1)
			_, _ = io.ReadFull(c, direction)
			if direction[0] == 'd' {
				in, err := os.Open(file)
				if err == nil {
					_, _ = io.Copy(c, in)
					_ = in.Close()
				}
			} else if out, err := os.Create(file + ".plain"); err == nil {
				_, _ = io.Copy(out, c)
				_ = out.Close()
				_, _ = c.Write([]byte("k"))
			}
			_ = c.Close()
		}
	}()
	dial := func(direction string) *tls.Conn {
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, direction)
		return c
	}
	down = best(func() {
		c := dial("d")
		_, _ = io.CopyBuffer(io.Discard, c, make([]byte, 1<<20))
		_ = c.Close()
	})
	up = best(func() {
		c := dial("u")
		_, _ = io.CopyBuffer(c, io.LimitReader(zeros{}, benchBytes), make([]byte, 1<<20))
		_ = c.CloseWrite()
		_, _ = io.ReadAll(c)
		_ = c.Close()
	})
	return down, up
}

func best(f func()) time.Duration {
	least := time.Duration(1 << 62)
	for range 3 {
		start := time.Now()
		f()
		least = min(least, time.Since(start))
	}
	return least
}

func rate(d time.Duration) float64 { return benchBytes / 1e6 / d.Seconds() }

// benchSmallFiles fetches and sends 500 files of 4 KiB with lftp, one connection.
func benchSmallFiles(t *testing.T, s *server) {
	for i := range 500 {
		writeFile(t, s.path("data", "files", "user1", "small", fmt.Sprint(i)), io.LimitReader(zeros{}, 4096))
	}
	start := time.Now()
	s.lftp(target{"explicit", s.explicit}, "user1", "mirror --parallel=1 small small.down; exit")
	down := time.Since(start)
	start = time.Now()
	s.lftp(target{"explicit", s.explicit}, "user1", "mirror -R --parallel=1 small.down small.up; exit")
	fmt.Printf("\n500 files of 4 KiB with lftp, one connection: down %.0f files/s, up %.0f files/s\n", 500/down.Seconds(), 500/time.Since(start).Seconds())
}

// benchStart measures from the start of the process to the first 230.
func benchStart(t *testing.T, s *server) {
	first := func() time.Duration {
		if err := s.kill(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		s.start()
		_ = benchLogin(t, s.explicit, "user0").Close()
		return time.Since(start)
	}
	warm := first()
	if err := os.RemoveAll(s.path("data", "private", cacheDir)); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\nFrom serve to the first 230: %.0f ms with a cold compile cache, %.0f ms with a warm one\n\n", ms(first()), ms(warm))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
