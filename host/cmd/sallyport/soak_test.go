//go:build soak

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestSoakMirror is TestMirror with 1 GiB in 5,000 files.
func TestSoakMirror(t *testing.T) {
	needPrograms(t, "lftp")
	mirror(t, 5000, 1<<30)
}

// TestSoakKill is TestKill a hundred times.
func TestSoakKill(t *testing.T) {
	needPrograms(t, "curl")
	killRounds(t, 100)
}

// TestSoakReload is TestReloadsLeaveMemoryFlat a thousand times.
func TestSoakReload(t *testing.T) { reloads(t, 1000) }

func TestSoakKilledWhileAPasswordChanges(t *testing.T) { killWhileChanging(t, 60) }

// TestSoakSilent opens 10,000 connections that say nothing, and 200 that are in the middle of a TLS handshake: others log in as
// before, memory is bounded, and nothing is left when they have gone. Ratios within one run; the figures are for reading.
func TestSoakSilent(t *testing.T) {
	needPrograms(t, "curl")
	const count = 10_000
	port, ftpPort := freePort(t), freePort(t)
	s := newServer(t, fmt.Sprintf(`
service "ftps" "crowded" {
  listen          = "127.0.0.1:%s"
  max_connections = 20000
}
metrics {
  listen = "127.0.0.1:%s"
}
`, ftpPort, port))
	s.addAccount("alice")
	gauge := func(name string) float64 {
		response, err := http.Get("http://127.0.0.1:" + port + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(response.Body)
		found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(body)
		if found == nil {
			t.Fatalf("no %s", name)
		}
		n, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	login := func() time.Duration {
		start := time.Now()
		s.run("curl", "-sS", "--ssl-reqd", "-k", "--user", "alice:"+goodPassword, "ftp://127.0.0.1:"+ftpPort+"/")
		return time.Since(start)
	}
	median := func() time.Duration {
		var all []time.Duration
		for range 21 {
			all = append(all, login())
		}
		slices.Sort(all)
		return all[10]
	}
	alone, goroutines, memory := median(), gauge("go_goroutines"), gauge("process_resident_memory_bytes")
	var conns []net.Conn
	for i := range count + 200 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i/180))}}
		c, err := d.Dial("tcp", "127.0.0.1:"+ftpPort)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		if i >= count {
			_, _ = c.Write([]byte("AUTH TLS\r\n\x16\x03\x01"))
		}
		conns = append(conns, c)
	}
	crowded, more, much := median(), gauge("go_goroutines"), gauge("process_resident_memory_bytes")
	for _, c := range conns {
		_ = c.Close()
	}
	for deadline := time.Now().Add(time.Minute); gauge("go_goroutines") > goroutines+20 && time.Now().Before(deadline); time.Sleep(time.Second) {
	}
	left := gauge("go_goroutines")
	t.Logf("login %v alone, %v among %d silent connections (%.2f); %.1f KiB and %.1f goroutines for each; %v goroutines before, %v after", alone.Round(time.Millisecond),
		crowded.Round(time.Millisecond), count, float64(crowded)/float64(alone), (much-memory)/count/1024, (more-goroutines)/count, goroutines, left)
	if left > goroutines+20 {
		t.Errorf("%v goroutines are left", left-goroutines)
	}
	if perConnection := (much - memory) / count; perConnection > 128<<10 {
		t.Errorf("%.0f bytes for each connection", perConnection)
	}
}
