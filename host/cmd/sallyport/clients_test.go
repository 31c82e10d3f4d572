package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport-ftps/sallyport/events"
)

// target says how a client reaches one of the two services.
type target struct{ mode, addr string }

func (s *server) targets() []target {
	return []target{{"explicit", s.explicit}, {"implicit", s.implicit}}
}

func TestClients(t *testing.T) {
	needPrograms(t, "curl", "lftp", "python3")
	explicit6, implicit6 := "[::1]:"+freePort(t), "[::1]:"+freePort(t)
	s := newServer(t, fmt.Sprintf(`
service "ftps" "explicit6" {
  listen = %q
}
service "ftps" "implicit6" {
  listen = %q
  tls    = "implicit"
}
`, explicit6, implicit6))
	for _, e := range append(s.targets(), target{"explicit", explicit6}, target{"implicit", implicit6}) {
		for _, version := range []string{"1.2", "1.3"} {
			for _, client := range []struct {
				name string
				run  func(*testing.T, *server, target, string, string)
			}{{"curl", withCurl}, {"lftp", withLftp}, {"ftplib", withFtplib}, {"go", withGo}, {"basic-ftp", withBasicFTP}, {"wget", withWget}} {
				name := fmt.Sprintf("%s-%s-%s", client.name, e.mode, strings.ReplaceAll(version, ".", ""))
				if strings.HasPrefix(e.addr, "[") {
					name += "-ipv6"
				}
				t.Run(name, func(t *testing.T) {
					s.addAccount(name)
					client.run(t, s, e, version, name)
					if left, err := os.ReadDir(s.path("data", "files", name)); err != nil || len(left) > 1 {
						t.Errorf("left behind: %v, %v", left, err)
					}
				})
			}
		}
	}
}

func withFtplib(t *testing.T, s *server, e target, version, user string) {
	script, err := filepath.Abs("testdata/ftplib_check.py")
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(e.addr)
	if out := s.run("python3", script, e.mode, host, port, version, s.path("data", "tls.crt"), user, goodPassword); strings.TrimSpace(out) != "ok" {
		t.Error(out)
	}
}

func withCurl(t *testing.T, s *server, e target, version, user string) {
	scheme := map[string]string{"explicit": "ftp://", "implicit": "ftps://"}[e.mode]
	url := scheme + e.addr + "/"
	curl := func(args ...string) string {
		t.Helper()
		common := []string{"-sS", "--ssl-reqd", "--cacert", s.path("data", "tls.crt"), "--user", user + ":" + goodPassword, "--tlsv" + version, "--tls-max", version}
		return s.run("curl", append(common, args...)...)
	}
	content := strings.Repeat("0123456789", 100_000)
	writeFile(t, s.path("curl.bin"), strings.NewReader(content))
	curl("--ftp-create-dirs", "-T", s.path("curl.bin"), url+"folder/a%20file.bin")
	if got := curl(url + "folder/a%20file.bin"); got != content {
		t.Errorf("got %d bytes", len(got))
	}
	if got := curl("-C", "999990", url+"folder/a%20file.bin"); got != "0123456789" {
		t.Errorf("resumed download: got %q", got)
	}
	writeFile(t, s.path("data", "files", user, "folder", "part.bin"), strings.NewReader(content[:500_000]))
	curl("-C", "-", "-T", s.path("curl.bin"), url+"folder/part.bin")
	if got := curl(url + "folder/part.bin"); got != content {
		t.Errorf("resumed upload: got %d bytes", len(got))
	}
	if got := curl("-l", url+"folder/"); got != "a file.bin\npart.bin\n" && got != "a file.bin\r\npart.bin\r\n" {
		t.Errorf("list: got %q", got)
	}
	if got := curl("-I", url+"folder/part.bin"); !strings.Contains(got, "Content-Length: 1000000") {
		t.Errorf("head: got %q", got)
	}
	if got := curl("-X", "MLSD", url+"folder/"); !strings.Contains(got, "Type=file;Size=1000000;") {
		t.Errorf("MLSD: got %q", got)
	}
	curl("-Q", "RNFR folder/part.bin", "-Q", "RNTO folder/whole.bin", "-Q", "DELE folder/whole.bin", "-Q", "DELE folder/a file.bin", "-Q", "RMD folder", url)
	if out, err := s.try("curl", "-sS", "--max-time", "3", "--cacert", s.path("data", "tls.crt"), "--user", user+":"+goodPassword, "ftp://"+e.addr+"/"); err == nil {
		t.Errorf("without TLS: %s", out)
	}
}

func withLftp(t *testing.T, s *server, e target, version, user string) {
	lftp := func(commands string) string {
		t.Helper()
		return s.lftp(e, user, fmt.Sprintf("set ssl:priority NORMAL:-VERS-ALL:+VERS-TLS%s; %s", version, commands))
	}
	content := strings.Repeat("0123456789", 100_000)
	writeFile(t, s.path("lftp.bin"), strings.NewReader(content))
	writeFile(t, s.path("lftp.part"), strings.NewReader(content[:400_000]))
	out := lftp("mkdir folder; cd folder; put lftp.bin -o 'a file.bin'; put lftp.part -o part.bin; reput lftp.bin -o part.bin; ls; get 'a file.bin' -o lftp.back; get -c part.bin -o lftp.part; mv part.bin whole.bin; rm whole.bin 'a file.bin'; cd ..; rmdir folder; exit")
	if !strings.Contains(out, "a file.bin") {
		t.Errorf("ls: %s", out)
	}
	for _, name := range []string{"lftp.back", "lftp.part"} {
		if got, err := os.ReadFile(s.path(name)); err != nil || string(got) != content {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if err := os.Remove(s.path(name)); err != nil {
			t.Error(err)
		}
	}
}

// lftp runs lftp commands; any that fails fails the test.
func (s *server) lftp(e target, user, commands string) string {
	s.t.Helper()
	scheme := map[string]string{"explicit": "ftp://", "implicit": "ftps://"}[e.mode]
	settings := fmt.Sprintf("set cmd:fail-exit true; set net:max-retries 1; set net:timeout 30; set ftp:ssl-force true; set ssl:ca-file %s; ", s.path("data", "tls.crt"))
	return s.run("lftp", "--norc", "-u", user+","+goodPassword, "-e", settings+commands, scheme+e.addr)
}

// TestMirror sends a tree up and fetches it again with lftp, four connections at once. make soak
// does the same with 1 GiB.
func TestMirror(t *testing.T) {
	needPrograms(t, "lftp")
	mirror(t, 600, 50<<20)
}

func mirror(t *testing.T, files int, total int64) {
	s := newServer(t, "")
	s.addAccount("alice")
	want := makeTree(t, s.path("tree"), files, total)
	start := time.Now()
	s.lftp(target{"explicit", s.explicit}, "alice", "mirror -R --parallel=4 tree up; exit")
	up := time.Since(start)
	if got := readTree(t, s.path("data", "files", "alice", "up")); got != want {
		t.Error("what was sent up differs")
	}
	start = time.Now()
	s.lftp(target{"implicit", s.implicit}, "alice", "mirror --parallel=4 up down; exit")
	t.Logf("%d files, %d MiB: up in %v, down in %v", files, total>>20, up.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	if got := readTree(t, s.path("down")); got != want {
		t.Error("what came down differs")
	}
}

// makeTree writes files of mixed sizes with names in several scripts, and returns its readTree.
func makeTree(t testing.TB, dir string, files int, total int64) string {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	folders := []string{"plain", "with blanks in it", "日本語/フォルダ", "кириллица", "עברית", "deep/er/and/deep/er", "dots.and-dashes_", "quote's & $signs"}
	names := []string{"file", "two words ", "データ", "файл", "ملف", "naïve café", "%41%00", "-rf", "#hash", "semi;colon", "tilde~"}
	small := total / int64(files) / 4
	for i := range files {
		size := random.Int64N(small + 1)
		if i%10 == 0 { // every tenth holds most of the bytes
			size = total / int64(files/10+1)
		}
		if i%50 == 1 {
			size = 0
		}
		name := fmt.Sprintf("%s%d.bin", names[i%len(names)], i)
		writeFile(t, filepath.Join(dir, folders[i%len(folders)], name), io.LimitReader(randomReader{random}, size))
	}
	return readTree(t, dir)
}

type randomReader struct{ *rand.Rand }

func (r randomReader) Read(p []byte) (int, error) {
	for i := 0; i < len(p); i += 8 {
		v := r.Uint64()
		for j := i; j < len(p) && j < i+8; j++ {
			p[j] = byte(v)
			v >>= 8
		}
	}
	return len(p), nil
}

// readTree returns names and digests of all files.
func readTree(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		digest := sha256.New()
		if _, err := io.Copy(digest, file); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %x\n", strings.TrimPrefix(path, dir), digest.Sum(nil))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestKill kills the server in the middle of everything. make soak does it a hundred times.
func TestKill(t *testing.T) {
	needPrograms(t, "curl")
	killRounds(t, 5)
}

func killRounds(t *testing.T, rounds int) {
	s := newServer(t, `
attempts {
  per_source = 1000
}
password_policy {
  minimum_strength = 0
}
`)
	s.addAccount("alice")
	writeFile(t, s.path("big.bin"), io.LimitReader(randomReader{rand.New(rand.NewPCG(3, 4))}, 40<<20))
	whole := digestOf(t, s.path("big.bin"))
	var logins, uploads atomic.Int64
	var mu sync.Mutex
	var added []string
	for round := range rounds {
		var wg sync.WaitGroup
		stop := make(chan struct{})
		loop := func(work func(i int)) {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						work(i)
					}
				}
			})
		}
		curl := []string{"-sS", "--ssl-reqd", "-k", "--max-time", "20", "--user", "alice:" + goodPassword}
		for worker := range 2 {
			loop(func(i int) {
				name := fmt.Sprintf("up-%d-%d-%d.bin", round, worker, i)
				if _, err := s.try("curl", append(curl, "-T", s.path("big.bin"), "ftp://"+s.explicit+"/"+name)...); err == nil {
					uploads.Add(1)
				}
			})
			loop(func(int) {
				if _, err := s.try("curl", append(curl, "ftp://"+s.explicit+"/up-none/")...); err == nil || strings.Contains(err.Error(), "exit status 9") {
					logins.Add(1) // 9: logged in, no such folder
				}
			})
		}
		loop(func(i int) {
			name := fmt.Sprintf("user-%d-%d", round, i)
			cmd := s.command("account", "add", name, "--password-stdin")
			cmd.Stdin = strings.NewReader(goodPassword)
			if cmd.Run() == nil {
				mu.Lock()
				added = append(added, name)
				mu.Unlock()
			}
		})
		time.Sleep(time.Duration(1000+rand.IntN(2000)) * time.Millisecond)
		close(stop)
		_ = s.kill(syscall.SIGKILL)
		wg.Wait()
		s.start()
	}
	s.run("curl", "-sS", "--ssl-reqd", "-k", "--user", "alice:"+goodPassword, "ftp://"+s.explicit+"/")
	logins.Add(1)

	listed := s.sallyport("", "account", "list")
	for _, name := range added {
		if !strings.Contains(listed, name+" ") {
			t.Errorf("account %s was acknowledged and is gone", name)
		}
	}
	files, err := os.ReadDir(s.path("data", "files", "alice"))
	if err != nil {
		t.Fatal(err)
	}
	complete := int64(0)
	for _, f := range files {
		if f.IsDir() {
			continue
		}
		complete++
		if digestOf(t, s.path("data", "files", "alice", f.Name())) != whole {
			t.Errorf("%s is half a file", f.Name())
		}
	}
	if complete < uploads.Load() {
		t.Errorf("%d uploads were acknowledged, %d are there", uploads.Load(), complete)
	}
	if left, err := os.ReadDir(s.path("data", "files", "alice", ".sallyport-uploads")); err == nil && len(left) > 0 {
		t.Errorf("%d leftovers were not swept", len(left))
	}
	accepted := countAccepted(t, s.sallyport("", "events", "tail", "--since", "24h", "--no-follow", "--json"))
	if acknowledged := logins.Load() + uploads.Load(); accepted < acknowledged {
		t.Errorf("%d logins were acknowledged, %d events are there", acknowledged, accepted)
	}
	tail := s.sallyport("", "events", "tail", "--since", "24h", "--no-follow", "--json", "--type", "account.created")
	for _, name := range added {
		if n := strings.Count(tail, `"account":"`+name+`"`); n != 1 {
			t.Errorf("account %s was acknowledged, and has %d events", name, n)
		}
	}
	t.Log(s.sallyport("", "events", "verify")) // no gap, none twice, in order
	t.Logf("%d kills: %d accounts, %d logins, %d uploads acknowledged; %d login.accepted stored, %d files complete", rounds, len(added), logins.Load(), uploads.Load(), accepted, complete)
	if len(added) == 0 || logins.Load() < 2 {
		t.Error("too little happened to show anything")
	}
}

// countAccepted counts login.accepted and sees that no event is there twice.
func countAccepted(t *testing.T, lines string) (n int64) {
	t.Helper()
	seen := map[string]bool{}
	for line := range strings.Lines(lines) {
		var e events.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if seen[e.ID] {
			t.Errorf("event %s is there twice", e.ID)
		}
		seen[e.ID] = true
		if _, ok := e.Data.(*events.LoginAccepted); ok {
			n++
		}
	}
	return n
}

func digestOf(t *testing.T, name string) string {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", digest.Sum(nil))
}

// A login whose event can't be stored is refused, and says so to the administrator.
func TestNoLoginWithoutItsEvent(t *testing.T) {
	needPrograms(t, "curl")
	s := newServer(t, "")
	s.addAccount("alice")
	login := func() error {
		_, err := s.try("curl", "-sS", "--ssl-reqd", "-k", "--user", "alice:"+goodPassword, "ftp://"+s.explicit+"/")
		return err
	}
	if err := login(); err != nil {
		t.Fatal(err)
	}
	// No file may grow: to the process that is a full disk.
	none := unix.Rlimit{Cur: 0, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(s.process.Process.Pid, unix.RLIMIT_FSIZE, &none, nil); err != nil {
		t.Fatal(err)
	}
	if err := login(); err == nil {
		t.Error("logged in without an event")
	}
	if !strings.Contains(s.log.String(), "event_not_stored") {
		t.Errorf("log: %s", s.log.String())
	}
	_ = s.kill(syscall.SIGKILL)
	s.start() // with room again
	if err := login(); err != nil {
		t.Error(err)
	}
}

// TestCanary drives logins that succeed, fail and are nonsense, with a canary for a password, and
// looks for it in everything that is written or said.
func TestCanary(t *testing.T) {
	needPrograms(t, "curl")
	s := newServer(t, "")
	const canary = "canary-gravel-umbrella-4711"
	s.sallyport(canary, "account", "add", "alice", "--password-stdin")
	var said bytes.Buffer
	for _, user := range []string{"alice", "nobody", canary, "two words"} {
		for _, password := range []string{canary, canary + "x"} {
			out, _ := s.try("curl", "-sS", "--ssl-reqd", "-k", "--user", user+":"+password, "ftp://"+s.explicit+"/")
			said.WriteString(out)
		}
	}
	cmd := s.command("login", "--user", "alice", "--password-stdin", "--json")
	cmd.Stdin = strings.NewReader(canary + "x")
	out, _ := cmd.CombinedOutput()
	said.Write(out)
	said.WriteString(s.sallyport("", "events", "tail", "--since", "1h", "--no-follow", "--json"))
	said.WriteString(s.log.String())
	if err := s.kill(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	err := filepath.WalkDir(s.path("data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		said.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if at := bytes.Index(said.Bytes(), []byte("canary")); at >= 0 {
		t.Errorf("the password got out: ...%q...", said.Bytes()[max(0, at-100):min(said.Len(), at+100)])
	}
}

// SIGTERM lets a transfer finish; a second server starts on the same data at once.
func TestSIGTERMLetsTransfersFinish(t *testing.T) {
	needPrograms(t, "curl")
	s := newServer(t, "")
	s.addAccount("alice")
	writeFile(t, s.path("big.bin"), io.LimitReader(randomReader{rand.New(rand.NewPCG(5, 6))}, 8<<20))
	uploaded := make(chan error, 1)
	go func() {
		_, err := s.try("curl", "-sS", "--ssl-reqd", "-k", "--limit-rate", "4M", "--user", "alice:"+goodPassword, "-T", s.path("big.bin"), "ftp://"+s.explicit+"/")
		uploaded <- err
	}()
	aside := s.path("data", "files", "alice", ".sallyport-uploads")
	for range 500 {
		if left, err := os.ReadDir(aside); err == nil && len(left) > 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := s.kill(syscall.SIGTERM); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	if err := <-uploaded; err != nil {
		t.Errorf("the upload was cut: %v", err)
	}
	if digestOf(t, s.path("big.bin")) != digestOf(t, s.path("data", "files", "alice", "big.bin")) {
		t.Error("the file differs")
	}
	s.start()
}
