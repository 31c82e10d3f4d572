//go:build soak

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
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
  time_to_secure  = "10m"
  time_to_first_command = "10m"
  time_to_login   = "10m"
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

// TestSoakListing lists a folder with a million files: the server's memory does not grow with them.
func TestSoakListing(t *testing.T) {
	needPrograms(t, "curl")
	const count = 1_000_000
	s := newServer(t, "")
	s.addAccount("alice")
	home := s.path("data", "files", "alice")
	for _, folder := range []string{"few", "many"} {
		if err := os.MkdirAll(filepath.Join(home, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := range count {
		file, err := os.Create(filepath.Join(home, "many", fmt.Sprintf("a file with a name of a usual length, number %07d", i)))
		if err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
	}
	list := func(command, folder string) (lines int, took time.Duration, peak int64) {
		s.resetPeak(t)
		before, start := s.memory(t, "VmRSS"), time.Now()
		out := s.path("listing")
		s.run("curl", "-sS", "--ssl-reqd", "-k", "--user", "alice:"+goodPassword, "-X", command, "-o", out, "ftp://"+s.explicit+"/"+folder+"/")
		took = time.Since(start)
		content, err := os.ReadFile(out)
		if err != nil {
			content = nil
		}
		return bytes.Count(content, []byte("\n")), took, s.memory(t, "VmHWM") - before
	}
	_, _, _ = list("MLSD", "few")
	for _, command := range []string{"LIST", "MLSD", "NLST"} {
		lines, took, peak := list(command, "many")
		t.Logf("%s of %d files: %.1f s, %.1f MiB more than before at the peak", command, lines, took.Seconds(), float64(peak)/(1<<20))
		if lines != count || peak > 48<<20 {
			t.Errorf("%s: %d lines, %d bytes", command, lines, peak)
		}
	}
}

// resetPeak begins a new maximum of the resident memory (proc(5), clear_refs).
func (s *server) resetPeak(t testing.TB) {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.process.Process.Pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// memory is a line of /proc/PID/status, in bytes.
func (s *server) memory(t testing.TB, name string) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB$`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("no %s", name)
	}
	kib, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// TestSoakHugeFile sends and fetches a file of 5 GiB with two clients, and resumes both ways behind 4 GiB.
func TestSoakHugeFile(t *testing.T) {
	needPrograms(t, "curl", "lftp")
	const size, at = 5 << 30, 4<<30 + 12345
	s := newServer(t, "")
	s.addAccount("alice")
	original := s.path("huge")
	writeHuge(t, original, size)
	want := digestOf(t, original)
	url := "ftp://" + s.explicit + "/"
	curl := func(args ...string) {
		s.run("curl", append([]string{"-sS", "--ssl-reqd", "-k", "--user", "alice:" + goodPassword}, args...)...)
	}
	uploaded := s.path("data", "files", "alice", "huge")
	curl("-T", original, url)
	if got := digestOf(t, uploaded); got != want {
		t.Error("curl sent another file")
	}
	if err := os.Truncate(uploaded, at); err != nil {
		t.Fatal(err)
	}
	curl("-C", "-", "-T", original, url)
	if got := digestOf(t, uploaded); got != want {
		t.Error("resumed, curl sent another file")
	}
	back := s.path("back")
	s.lftp(target{"explicit", s.explicit}, "alice", "get huge -o "+back+"; exit")
	if err := os.Truncate(back, at); err != nil {
		t.Fatal(err)
	}
	s.lftp(target{"explicit", s.explicit}, "alice", "get -c huge -o "+back+"; exit")
	if got := digestOf(t, back); got != want {
		t.Error("lftp fetched another file")
	}
	t.Logf("%d bytes up and down, each with a restart at %d", int64(size), int64(at))
}

// writeHuge writes a file whose bytes differ from block to block.
func writeHuge(t testing.TB, name string, size int64) {
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	block := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(block)) {
		binary.BigEndian.PutUint64(block, uint64(at))
		if _, err := file.Write(block); err != nil {
			t.Fatal(err)
		}
	}
}
