package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The tests run the program as users have it, first in PATH: not with the race detector, with which a plugin
// takes ten seconds to compile. What runs in the test's own process has the detector.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sallyport")
	if err != nil {
		panic(err)
	}
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "sallyport"), ".").CombinedOutput(); err != nil {
		panic(string(out))
	}
	if err := os.Setenv("PATH", dir+":"+os.Getenv("PATH")); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func TestScripts(t *testing.T) {
	needPrograms(t, "curl", "lftp", "python3")
	guest, cache := buildGuestPlugin(t), t.TempDir()
	toolsOnPath(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"FTP_PORT", "FTP_PORT2", "EVENTS_PORT"} {
				env.Setenv(name, freePort(t))
			}
			env.Setenv("GUEST_WASM", guest)
			env.Setenv("SOURCES", repository(t))
			for _, name := range []string{"GOMODCACHE", "GOCACHE", "GOPROXY", "GOFLAGS"} { // plugins are built there too
				env.Setenv(name, goEnv(t, name))
			}
			env.Setenv("XDG_CACHE_HOME", cache)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"ready":     scriptReady,
			"snapshot":  scriptSnapshot,
			"unchanged": scriptUnchanged,
			"truncate":  scriptTruncate,
			"terminate": scriptSignal(syscall.SIGTERM),
			"hangup":    scriptSignal(syscall.SIGHUP),
		},
	})
}

// toolsOnPath makes what "make deps" installed for us findable.
func toolsOnPath(t testing.TB) {
	t.Helper()
	t.Setenv("PATH", filepath.Join(repository(t), "bin/tools/node_modules/.bin")+":"+os.Getenv("PATH")+":/usr/sbin")
	needPrograms(t, "clang", "wasm-ld", "asc", "wat2wasm", "slapd")
}

func goEnv(t testing.TB, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// The push plugin does the same in each language.
func TestExamplePlugins(t *testing.T) {
	toolsOnPath(t)
	examples := filepath.Join(repository(t), "examples", "plugins")
	for name, cases := range map[string]string{
		"push-go": "push.cases.hcl", "push-c": "push.cases.hcl", "push-rust": "push.cases.hcl", "push-assemblyscript": "push.cases.hcl", "hello": "hello/cases.hcl",
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(examples, name)
			for _, args := range [][]string{
				{"plugin", "build", dir},
				{"plugin", "test", filepath.Join(dir, name+".wasm"), filepath.Join(examples, cases)},
			} {
				command := exec.Command("sallyport", args...)
				if out, err := command.CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", args, err, out)
				}
			}
		})
	}
}

// The bundled methods do what their cases say; those that need a server of another kind have their tests in host/sandbox.
func TestBundledPlugins(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(repository(t), "plugins", "*", "cases.hcl"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			wasm := filepath.Join(repository(t), "plugins", "wasm", name+".wasm")
			if out, err := exec.Command("sallyport", "plugin", "test", wasm, file).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// scriptReady waits until a server answers on the socket of the data folder.
func scriptReady(ts *testscript.TestScript, _ bool, args []string) {
	for range 600 {
		if conn, err := dialSocket(context.Background(), ts.MkAbs(args[0])); err == nil {
			_ = conn.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("no server on %s", args[0])
}

// scriptSignal sends a signal to the server of a data folder; testscript's kill knows few.
func scriptSignal(signal syscall.Signal) func(ts *testscript.TestScript, _ bool, args []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(filepath.Join(args[0], "private", "lock"))))
		ts.Check(err)
		ts.Check(syscall.Kill(pid, signal))
	}
}

// scriptSnapshot and scriptUnchanged compare a folder with itself: names, modes and contents. The
// compile cache and the lock hold nothing that could be lost.
func scriptSnapshot(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("SNAPSHOT", fingerprint(ts.MkAbs(args[0])))
}

func scriptUnchanged(ts *testscript.TestScript, _ bool, args []string) {
	if now := fingerprint(ts.MkAbs(args[0])); now != ts.Getenv("SNAPSHOT") {
		ts.Fatalf("%s was changed:\n%s\nwas\n%s", args[0], now, ts.Getenv("SNAPSHOT"))
	}
}

func scriptTruncate(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.Truncate(ts.MkAbs(args[0]), 5000))
}

func fingerprint(dir string) string {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSocket != 0 || d.Name() == lockFile {
			return err
		}
		if d.Name() == cacheDir {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %s", strings.TrimPrefix(path, dir), info.Mode())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x", sha256.Sum256(content))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		return "not there"
	}
	return b.String()
}

// needPrograms fails under CI, and skips with a word elsewhere, when a real client is missing.
func needPrograms(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing: apt-get install %s, or make test", name, name)
		}
		t.Skipf("%s is missing: apt-get install %s, or make test", name, name)
	}
}

func repository(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var guestPlugin struct {
	once sync.Once
	wasm []byte
	err  error
}

// buildGuestPlugin builds the example that README.md shows, as README.md says.
func buildGuestPlugin(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "guest.wasm")
	guestPlugin.once.Do(func() {
		build := exec.Command("go", "build", "-buildmode=c-shared", "-o", file, "./examples/plugins/hello")
		build.Dir = repository(t)
		build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		if out, err := build.CombinedOutput(); err != nil {
			guestPlugin.err = fmt.Errorf("%w: %s", err, out)
			return
		}
		guestPlugin.wasm, guestPlugin.err = os.ReadFile(file)
	})
	if guestPlugin.err != nil {
		t.Fatal(guestPlugin.err)
	}
	if err := os.WriteFile(file, guestPlugin.wasm, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func freePort(t testing.TB) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		_ = l.Close()
		if _, given := givenPorts.LoadOrStore(port, true); !given { // the system may choose one twice
			return port
		}
	}
}

// givenPorts are those that freePort returned.
var givenPorts sync.Map

const goodPassword = "gravel umbrella ninety tango"

// server is the real program in a process of its own, on a folder of its own.
type server struct {
	t        testing.TB
	dir      string
	explicit string // address
	implicit string
	events   string
	log      syncBuffer
	process  *exec.Cmd
	ended    chan error
	verbose  bool
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newServer writes a configuration and starts the server.
func newServer(t testing.TB, extra string) *server {
	t.Helper()
	// Not t.TempDir, whose path grows with the test's name: the socket's path has a limit.
	dir, err := os.MkdirTemp("", "sallyport")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &server{t: t, dir: dir, explicit: "127.0.0.1:" + freePort(t), implicit: "127.0.0.1:" + freePort(t), events: "127.0.0.1:" + freePort(t)}
	conf := fmt.Sprintf(`
server {
  authentications = ["accounts"]
}
service "ftps" "explicit" {
  listen = %q
}
service "ftps" "implicit" {
  listen = %q
  tls    = "implicit"
}
authentication "accounts" {
  plugin = "local"
}
events {
  listen = %q
}
%s`, s.explicit, s.implicit, s.events, extra)
	if err := os.WriteFile(s.path("config.hcl"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	s.warm()
	s.start()
	t.Cleanup(func() {
		_ = s.kill(syscall.SIGKILL)
		if strings.Contains(s.log.String(), "DATA RACE") || t.Failed() {
			t.Errorf("the server's log:\n%s", s.log.String())
		}
	})
	return s
}

// warm gives the server a compile cache that is filled already: a plugin takes seconds to compile, and what
// the tests are about is elsewhere.
func (s *server) warm() {
	s.t.Helper()
	compileCache.once.Do(func() {
		if compileCache.dir, compileCache.err = os.MkdirTemp("", "cache"); compileCache.err != nil {
			return
		}
		if out, err := s.command("method", "list").CombinedOutput(); err != nil { // loads the methods
			compileCache.err = fmt.Errorf("%w: %s", err, out)
			return
		}
		compileCache.err = os.CopyFS(compileCache.dir, os.DirFS(s.path("data", "private", cacheDir)))
	})
	if compileCache.err != nil {
		s.t.Fatal(compileCache.err)
	}
	to := s.path("data", "private", cacheDir)
	must := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	must(os.RemoveAll(s.path("data")))
	must(os.Mkdir(s.path("data"), 0o755))
	must(os.MkdirAll(to, 0o700))
	must(os.CopyFS(to, os.DirFS(compileCache.dir)))
}

var compileCache struct {
	once sync.Once
	dir  string
	err  error
}

func (s *server) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *server) start() {
	s.t.Helper()
	s.process = s.command("serve")
	if s.verbose {
		s.process.Args = append(s.process.Args, "--verbose")
	}
	s.process.Stderr = &s.log
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ended = make(chan error, 1)
	go func() { s.ended <- s.process.Wait() }()
	for range 1200 {
		if conn, err := dialSocket(context.Background(), s.path("data")); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case err := <-s.ended:
			s.t.Fatalf("the server ended: %v\n%s", err, s.log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	s.t.Fatalf("the server does not answer\n%s", s.log.String())
}

// kill sends a signal and waits for the end.
func (s *server) kill(signal os.Signal) error {
	if s.process == nil {
		return nil
	}
	_ = s.process.Process.Signal(signal)
	err := <-s.ended
	s.process = nil
	return err
}

func (s *server) command(args ...string) *exec.Cmd {
	cmd := exec.Command("sallyport", append(args, "--config", s.path("config.hcl"))...)
	return cmd
}

// sallyport runs a command and returns what it prints.
func (s *server) sallyport(input string, args ...string) string {
	s.t.Helper()
	cmd := s.command(args...)
	cmd.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("sallyport %q: %v: %s", args, err, stderr.String())
	}
	return string(out)
}

func (s *server) addAccount(name string) {
	s.t.Helper()
	s.sallyport(goodPassword+"\n", "account", "add", name, "--password-stdin")
}

// run runs a real client and returns its output.
func (s *server) run(name string, args ...string) string {
	s.t.Helper()
	out, err := s.try(name, args...)
	if err != nil {
		s.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}

func (s *server) try(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "HOME="+s.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func writeFile(t testing.TB, name string, content io.Reader) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(file, content); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}
