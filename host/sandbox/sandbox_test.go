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
	if goGuest, err = buildGuest(dir, "./testdata/guest"); err != nil {
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

func buildGuest(dir, source string) ([]byte, error) {
	file := filepath.Join(dir, "guest.wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-o", file, source)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.New(string(out))
	}
	return os.ReadFile(file)
}

func newRuntime(t testing.TB, change ...func(*sandbox.Options)) *sandbox.Runtime {
	t.Helper()
	options := sandbox.Options{CacheDir: cacheDir}
	for _, f := range change {
		f(&options)
	}
	r, err := sandbox.New(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(context.Background()) })
	return r
}

func limits(change ...func(*sandbox.Limits)) sandbox.Limits {
	limits := sandbox.DefaultLimits()
	for _, f := range change {
		f(&limits)
	}
	return limits
}

// patient is for guests that must come to their end, however slow the machine is.
func patient(l *sandbox.Limits) { l.Run = time.Minute }

func load(t testing.TB, wasm []byte, change ...func(*sandbox.Limits)) *sandbox.Plugin {
	t.Helper()
	p, err := newRuntime(t).Load(t.Context(), wasm, limits(change...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wat(t testing.TB, name string) []byte {
	t.Helper()
	return assemble(t, readHostile(t, name))
}

func call(user string) sandbox.Call {
	return sandbox.Call{Fields: map[string]string{"user": user}, Password: secret.New("canary-4711")}
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
	for name, c := range map[string]struct {
		wasm []byte
		want []string
	}{
		"text":        {[]byte("#!/bin/sh\n"), []string{"not a WebAssembly module"}},
		"empty":       {nil, []string{"not a WebAssembly module"}},
		"component":   {[]byte("\x00asm\x0d\x00\x01\x00"), []string{"not components"}},
		"truncated":   {goGuest[:len(goGuest)/2], []string{"ends in the middle"}},
		"too big":     {make([]byte, 33<<20), []string{"at most 33554432"}},
		"many locals": {manyLocals(2_000_000_000), []string{"2000000000 local variables", "at most 10000"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newRuntime(t).Load(t.Context(), c.wasm, limits())
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

// A module that is cut off anywhere is refused or loaded: nothing crashes.
func TestTruncatedModules(t *testing.T) {
	r := newRuntime(t)
	for _, name := range []string{"counter", "keep_elements", "pointers"} {
		wasm := wat(t, name)
		for n := range len(wasm) {
			if p, err := r.Load(t.Context(), wasm[:n], limits()); err == nil {
				_ = p.Close(t.Context())
			}
		}
	}
}

// What stands in a section beyond what the section says that it holds is nobody's: the engine and we might read
// it as different things.
func TestBytesBehindASection(t *testing.T) {
	wasm := bytes.Clone(wat(t, "counter"))
	at := bytes.Index(wasm, []byte("\x06memory")) - 3 // section 7, its size, its count
	for wasm[at] != 7 {
		at--
	}
	wasm[at+1]++
	wasm = slices.Insert(wasm, at+1+int(wasm[at+1]), 0x13)
	if _, err := newRuntime(t).Load(t.Context(), wasm, limits()); err == nil || !strings.Contains(err.Error(), "longer than what is in it") {
		t.Errorf("got %v", err)
	}
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
	if d.Name != "test guest" || d.Version != "7" || len(d.Settings) != 4 || len(d.Needs.HTTP) != 2 || !d.Needs.Password ||
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
	}{"Go map": {goGuest, "keep"}} {
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
	if lines := strings.Count(log.String(), "\n"); lines != limits().Logs+1 { // the last says that there is more
		t.Errorf("%d lines", lines)
	}
	if log.Len() > 2*limits().Logs*sdk.MaxLog || strings.Contains(log.String(), "\x1b") || strings.Contains(log.String(), "\nINFO") {
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
	if _, err := sandbox.New(t.Context(), sandbox.Options{CacheDir: dir}); err == nil || !strings.Contains(err.Error(), "0700") {
		t.Errorf("got %v", err)
	}
}

// Whatever bytes come in: an error or a module that compiles and still is within the limits; never a panic.
func FuzzLoad(f *testing.F) {
	for _, name := range hostileNames(f) {
		if wasm := wat(f, name); len(wasm) < 64<<10 {
			f.Add(wasm)
		}
	}
	limits := limits(func(l *sandbox.Limits) { l.Load = 20 * time.Millisecond })
	r, err := sandbox.New(f.Context(), sandbox.Options{})
	if err != nil {
		f.Fatal(err)
	}
	plain, err := sandbox.New(f.Context(), sandbox.Options{NoRewrite: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		p, err := r.Load(t.Context(), wasm, limits)
		if err != nil && strings.Contains(err.Error(), "compile:") { // then it must be the module, not the rewrite
			if p, err := plain.Load(t.Context(), wasm, limits); err == nil || !strings.Contains(err.Error(), "compile:") {
				t.Errorf("the rewrite broke a module that is valid: %v", err)
				_ = p.Close(t.Context())
			}
		}
		if err != nil {
			return
		}
		defer func() { _ = p.Close(t.Context()) }()
		if _, err := p.Run(t.Context(), sandbox.Call{}); err != nil && strings.Contains(err.Error(), "nil pointer") {
			t.Error(err)
		}
	})
}

// A setting that can't be passed whole is refused: a deny list of which a part is missing lets somebody in.
func TestSettingTooLong(t *testing.T) {
	d := sandbox.Description{Settings: map[string]sandbox.Setting{"list": {Type: sdk.String}, "names": {Type: sdk.List}}}
	long := strings.Repeat("x", sdk.MaxField+1)
	for name, value := range map[string]any{"list": long, "names": []any{"a", long}} {
		if got, err := d.CheckSettings(map[string]any{name: value}); got != name || err == nil || !strings.Contains(err.Error(), "lines(file(...))") {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if _, err := d.CheckSettings(map[string]any{"names": slices.Repeat([]any{"a name"}, 100_000)}); err != nil {
		t.Errorf("a long list of short texts: %v", err)
	}
}
