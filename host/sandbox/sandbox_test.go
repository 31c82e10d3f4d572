package sandbox_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// The Go guest is built once; tests share it and one compile cache.
var (
	goGuest  []byte
	cacheDir string
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sandbox")
	if err != nil {
		panic(err)
	}
	if goGuest, err = buildGuest(dir); err != nil {
		panic(err)
	}
	cacheDir = filepath.Join(dir, "cache")
	code := m.Run()
	_ = os.RemoveAll(dir)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

func buildGuest(dir string) ([]byte, error) {
	file := filepath.Join(dir, "guest.wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-o", file, "./testdata/guest")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.New(string(out))
	}
	return os.ReadFile(file)
}

func newRuntime(t testing.TB, change ...func(*sandbox.Limits)) *sandbox.Runtime {
	t.Helper()
	limits := sandbox.DefaultLimits()
	for _, f := range change {
		f(&limits)
	}
	r, err := sandbox.New(t.Context(), cacheDir, limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(context.Background()) })
	return r
}

// patient is for guests that must come to their end, however slow the machine is.
func patient(l *sandbox.Limits) { l.Run = time.Minute }

func load(t testing.TB, wasm []byte, change ...func(*sandbox.Limits)) *sandbox.Plugin {
	t.Helper()
	p, err := newRuntime(t, change...).Load(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wat(t testing.TB, name string) []byte {
	t.Helper()
	wasm, err := os.ReadFile(filepath.Join("testdata", "wat", name+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func call(user string) sandbox.Call {
	return sandbox.Call{Fields: map[string]string{"user": user}, Password: secret.New("canary-4711")}
}

func TestVerdicts(t *testing.T) {
	for name, want := range map[string]sdk.Verdict{"accept": sdk.Accept, "pointers": sdk.Reject, "memory_grow": sdk.Reject, "table_grow": sdk.Reject} {
		t.Run(name, func(t *testing.T) {
			got, err := load(t, wat(t, name), patient).Run(t.Context(), call("alice"))
			if err != nil || got.Verdict != want {
				t.Errorf("got %v, %v; want %v", got.Verdict, err, want)
			}
		})
	}
}

// Whatever a plugin does, it fails with a sentence that says so, and the host goes on.
func TestHostilePlugins(t *testing.T) {
	for name, want := range map[string]string{
		"loop": "over a limit: ran for more than 250ms", "recurse": "over a limit", "fill": "over a limit", "fill_line": "over a limit",
		"stack": "stack overflow", "trap": "unreachable", "exit0": "exit code 0",
		"verdict_0": "says that it failed", "verdict_7": "returned 7", "verdict_1": "returned -1",
	} {
		t.Run(name, func(t *testing.T) {
			var change []func(*sandbox.Limits)
			if !strings.HasPrefix(want, "over a limit") {
				change = append(change, patient)
			}
			p := load(t, wat(t, name), change...)
			worst := worstPause(t, func() {
				got, err := p.Run(t.Context(), call("alice"))
				if err == nil || !strings.Contains(err.Error(), want) || got.Verdict != sdk.Fail {
					t.Errorf("got %v, %v; want an error with %q", got.Verdict, err, want)
				}
			})
			if worst > 20*time.Second { // without the rewrite it is 43 s; nothing here depends on the machine's speed
				t.Errorf("the whole process stood still for %v", worst)
			}
			if _, err := p.Run(t.Context(), call("alice")); err == nil {
				t.Error("a second run went well")
			}
		})
	}
}

// worstPause returns how long a garbage collection took while f ran: a guest that can't be stopped
// at its next check stops the collection, and so every goroutine.
func worstPause(t *testing.T, f func()) time.Duration {
	t.Helper()
	stop, worst := make(chan struct{}), make(chan time.Duration)
	go func() {
		var most time.Duration
		for {
			select {
			case <-stop:
				worst <- most
				return
			default:
				start := time.Now()
				runtime.GC()
				most = max(most, time.Since(start))
				time.Sleep(10 * time.Millisecond)
			}
		}
	}()
	f()
	close(stop)
	return <-worst
}

func TestRefusedAtLoad(t *testing.T) {
	program := wat(t, "program")
	for name, c := range map[string]struct {
		wasm []byte
		want []string
	}{
		"text":        {[]byte("#!/bin/sh\n"), []string{"not a WebAssembly module"}},
		"empty":       {nil, []string{"not a WebAssembly module"}},
		"component":   {[]byte("\x00asm\x0d\x00\x01\x00"), []string{"not components"}},
		"truncated":   {goGuest[:len(goGuest)/2], []string{"ends in the middle"}},
		"too big":     {make([]byte, 33<<20), []string{"at most 33554432"}},
		"program":     {program, []string{"-buildmode=c-shared"}},
		"no memory":   {wat(t, "no_memory"), []string{"memory"}},
		"no marker":   {wat(t, "no_marker"), []string{"not a Sallyport plugin"}},
		"newer":       {wat(t, "newer"), []string{"version 2", "version 1"}},
		"start loop":  {wat(t, "start_loop"), []string{"first run", "over a limit: ran for more than 2s"}},
		"big table":   {wat(t, "table_big"), []string{"100000000 entries", "65536"}},
		"big memory":  {wat(t, "memory_big"), []string{"limit of 1024 pages"}},
		"many tables": {wat(t, "tables_many"), []string{"17 tables", "at most 16"}},
		"many locals": {manyLocals(2_000_000_000), []string{"2000000000 local variables", "at most 10000"}},
		"many faults": {wat(t, "faults"), []string{"env.abort", "get as (I) -> (i), it is (iiii) -> (i)", "teleport", "memory", "authenticate must be a function () -> (i)", "describe must be"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newRuntime(t).Load(t.Context(), c.wasm)
			if err == nil {
				t.Fatal("it was loaded")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

// manyLocals is the module "accept" with a function of n local variables, which no text format would
// write: the compiler takes a minute for them, and panics where nobody can recover it.
func manyLocals(n uint64) []byte {
	vector := func(b ...byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }
	section := func(id byte, b ...byte) []byte { return append([]byte{id}, vector(b...)...) }
	name := func(s string) []byte { return vector([]byte(s)...) }
	body := append(binary.AppendUvarint([]byte{1}, n), 0x7f, 0x41, 1, 0x0b) // n of i32; i32.const 1; end
	marker := []byte{0, 0x0b}
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, 2, 0x60, 0, 0, 0x60, 0, 1, 0x7f),
		section(3, 2, 0, 1),
		section(5, 1, 0, 1),
		section(7, slices.Concat([]byte{3}, name("memory"), []byte{2, 0}, name("sallyport_abi_1"), []byte{0, 0}, name("authenticate"), []byte{0, 1})...),
		section(10, slices.Concat([]byte{2}, vector(marker...), vector(body...))...))
}

func TestManyLocalsWithinTheLimit(t *testing.T) {
	if got, err := load(t, manyLocals(100)).Run(t.Context(), call("alice")); err != nil || got.Verdict != sdk.Accept {
		t.Errorf("got %v, %v", got.Verdict, err)
	}
}

func TestThePasswordIsCheckedOnceARun(t *testing.T) {
	c, checks := call("alice"), 0
	c.Verify = func(context.Context, string) (sandbox.Verified, error) { checks++; return sandbox.Verified{}, nil }
	if _, err := load(t, wat(t, "verify_again")).Run(t.Context(), c); err != nil || checks != 1 {
		t.Errorf("%d checks, %v", checks, err)
	}
}

// Instances are bounded, however many logins wait for the host.
func TestInstancesAreBounded(t *testing.T) {
	p := load(t, goGuest, func(l *sandbox.Limits) { l.Instances = 3 })
	var inside, most atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			c := call("verify")
			c.Verify = func(context.Context, string) (sandbox.Verified, error) {
				n := inside.Add(1)
				defer inside.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(10 * time.Millisecond)
				return sandbox.Verified{Code: sdk.VerifyWrong, Reason: "wrong_password"}, nil
			}
			if _, err := p.Run(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 {
		t.Errorf("%d at once", most.Load())
	}
}

// What is masked is masked in every form in which it may come out.
func TestSecretsAreMasked(t *testing.T) {
	var log bytes.Buffer
	c := call("secrets")
	c.Password, c.SeesPassword = secret.New("gr\xfcne \"Wiese\" 4711"), true
	c.Settings = map[string]any{"word": "x", "token": "s3cr3t-token"}
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	_, err := load(t, goGuest).Run(t.Context(), c)
	if err == nil {
		t.Fatal("it did not panic")
	}
	for _, bad := range []string{"4711", "Wiese", "s3cr3t"} {
		if strings.Contains(log.String()+err.Error(), bad) {
			t.Errorf("%q is in %s and %v", bad, log.String(), err)
		}
	}
}

func TestNothingIsGrantedAtLoad(t *testing.T) {
	c := call("alice")
	c.Verify = func(context.Context, string) (sandbox.Verified, error) {
		t.Error("the guest got through before it was asked")
		return sandbox.Verified{}, nil
	}
	if _, err := load(t, wat(t, "early")).Run(t.Context(), c); err != nil { // it traps unless it is told -7
		t.Fatal(err)
	}
}

func TestDescription(t *testing.T) {
	d := load(t, goGuest).Description()
	if d.Name != "test guest" || d.Version != "7" || len(d.Settings) != 3 ||
		d.Settings["word"] != (sandbox.Setting{Type: sdk.String, Required: true}) || !d.Settings["token"].Secret {
		t.Errorf("got %+v", d)
	}
	if d := load(t, wat(t, "accept")).Description(); d.Settings != nil {
		t.Errorf("a plugin that tells nothing: got %+v", d)
	}
}

func TestPasswordNeedsAGrant(t *testing.T) {
	p := load(t, goGuest)
	var log bytes.Buffer
	c := call("password")
	c.Log = slog.New(slog.NewJSONHandler(&log, nil))
	if got, err := p.Run(t.Context(), c); err != nil || got.Verdict != sdk.Reject {
		t.Errorf("without the grant: got %v, %v", got.Verdict, err)
	}
	c.SeesPassword = true
	if got, err := p.Run(t.Context(), c); err != nil || got.Verdict != sdk.Accept {
		t.Errorf("with the grant: got %v, %v", got.Verdict, err)
	}
	if strings.Contains(log.String(), "canary-4711") || strings.Count(log.String(), "[secret]") != 2 {
		t.Errorf("the log: %s", log.String())
	}
}

func TestVerify(t *testing.T) {
	p := load(t, goGuest)
	for name, c := range map[string]struct {
		verified sandbox.Verified
		err      error
		verdict  sdk.Verdict
		reason   string
	}{
		"right":        {sandbox.Verified{Code: sdk.VerifyRight, Fields: map[string]string{"email": "verify@example.org"}, Groups: []string{"one", "two"}}, nil, sdk.Accept, ""},
		"wrong":        {sandbox.Verified{Code: sdk.VerifyWrong, Reason: "wrong_password"}, nil, sdk.Reject, "wrong_password"},
		"can't be had": {sandbox.Verified{}, errors.New("the store is gone"), sdk.Fail, ""},
	} {
		t.Run(name, func(t *testing.T) {
			call := call("verify")
			call.Verify = func(context.Context, string) (sandbox.Verified, error) {
				time.Sleep(300 * time.Millisecond) // longer than a run may execute
				return c.verified, c.err
			}
			got, err := p.Run(t.Context(), call)
			if got.Verdict != c.verdict || (err != nil) != (c.verdict == sdk.Fail) || got.Fields["reason"] != c.reason || got.Verified != (c.verdict == sdk.Accept) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	var log bytes.Buffer
	c := call("settings")
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	c.Settings = map[string]any{
		"word": "hello", "list": []any{"a", "b"}, "number": 3.5, "flag": true, "map": map[string]any{"a/b~c": "deep"},
	}
	if _, err := load(t, goGuest).Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "hello [a b] 3.5 true deep") && !strings.Contains(log.String(), "hello[a b]3.5truedeep") && !strings.Contains(log.String(), "hello [a b]3.5truedeep") {
		t.Errorf("got %s", log.String())
	}
}

func TestOnlyTheTablesFieldsCanBeSet(t *testing.T) {
	got, err := load(t, goGuest).Run(t.Context(), call("set"))
	if err != nil || len(got.Fields) != 3 || got.Fields["account.home"] != "/srv/x" || got.Verified {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestGoGuestsThatFail(t *testing.T) {
	for user, want := range map[string]string{
		"panic":    "my secret plan failed",
		"spin":     "over a limit",
		"deadlock": "deadlock",
		"memory":   "out of memory",
	} {
		t.Run(user, func(t *testing.T) {
			var change []func(*sandbox.Limits)
			if user != "spin" {
				change = append(change, patient)
			}
			p := load(t, goGuest, change...)
			if got, err := p.Run(t.Context(), call(user)); err == nil || !strings.Contains(err.Error(), want) || got.Verdict != sdk.Fail {
				t.Errorf("got %v, %v; want %q", got.Verdict, err, want)
			}
		})
	}
}

func TestWaitingIsNotExecuting(t *testing.T) {
	got, err := load(t, goGuest).Run(t.Context(), call("nap")) // for longer than a run may execute
	if err != nil || got.Verdict != sdk.Accept {
		t.Errorf("got %v, %v", got.Verdict, err)
	}
}

func TestTheAttemptsEndEndsTheGuest(t *testing.T) {
	p := load(t, goGuest)
	for _, user := range []string{"sleep", "spin", "verify"} {
		t.Run(user, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			left := errors.New("the client left")
			time.AfterFunc(50*time.Millisecond, func() { cancel(left) })
			c := call(user)
			c.Verify = func(ctx context.Context, _ string) (sandbox.Verified, error) {
				<-ctx.Done()
				return sandbox.Verified{}, context.Cause(ctx)
			}
			if _, err := p.Run(ctx, c); !errors.Is(err, left) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Nothing of one login is there at the next.
func TestEveryRunStartsPristine(t *testing.T) {
	for name, c := range map[string]struct {
		wasm []byte
		user string
	}{"memory and globals": {wat(t, "counter"), ""}, "Go map": {goGuest, "keep"}} {
		p := load(t, c.wasm)
		for i := range 5 {
			call := call(c.user)
			call.SeesPassword = true
			if got, err := p.Run(t.Context(), call); err != nil || got.Verdict != sdk.Unknown {
				t.Errorf("%s, run %d: got %v, %v", name, i, got.Verdict, err)
			}
		}
	}
}

func TestNoFilesArgumentsEnvironment(t *testing.T) {
	t.Setenv("SECRET_TOKEN", "x")
	if got, err := load(t, goGuest).Run(t.Context(), call("files")); err != nil || got.Verdict != sdk.Reject {
		t.Errorf("got %v, %v", got.Verdict, err)
	}
}

func TestLogFloodIsBoundedAndEscaped(t *testing.T) {
	var log bytes.Buffer
	c := call("flood")
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	if _, err := load(t, goGuest, patient).Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(log.String(), "\n"); lines != sdk.MaxLogs {
		t.Errorf("%d lines", lines)
	}
	if log.Len() > 2*sdk.MaxLogs*sdk.MaxLog || strings.Contains(log.String(), "\x1b") || strings.Contains(log.String(), "\nINFO") {
		t.Errorf("%d bytes, or not escaped", log.Len())
	}
}

func TestManyAtOnce(t *testing.T) {
	p := load(t, goGuest)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			user, want := "password", sdk.Accept
			if i%5 == 0 {
				user, want = "panic", sdk.Fail
			}
			c := call(user)
			c.SeesPassword = true
			if got, _ := p.Run(t.Context(), c); got.Verdict != want {
				t.Errorf("%s: got %v, want %v", user, got.Verdict, want)
			}
		})
	}
	wg.Wait()
}

func TestCacheFolderThatOthersCanWriteIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := sandbox.New(t.Context(), dir, sandbox.DefaultLimits()); err == nil || !strings.Contains(err.Error(), "0700") {
		t.Errorf("got %v", err)
	}
}

// Whatever bytes come in: an error or a module that compiles and still is within the limits; never a panic.
func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob("testdata/wat/*.wasm")
	for _, file := range files {
		wasm, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wasm)
	}
	limits := sandbox.DefaultLimits()
	limits.Load = 20 * time.Millisecond
	r, err := sandbox.New(f.Context(), "", limits)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		p, err := r.Load(t.Context(), wasm)
		if err != nil {
			return
		}
		if _, err := p.Run(t.Context(), sandbox.Call{}); err != nil && strings.Contains(err.Error(), "nil pointer") {
			t.Error(err)
		}
	})
}

func BenchmarkRunGoGuest(b *testing.B) {
	p := load(b, goGuest)
	for b.Loop() {
		if _, err := p.Run(b.Context(), call("nobody")); err != nil {
			b.Fatal(err)
		}
	}
}
