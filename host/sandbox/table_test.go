//go:build bench

package sandbox_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/plugins"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// TestBenchSandbox prints the tables of "make bench". CPU is that of the whole process, collections included.
func TestBenchSandbox(t *testing.T) {
	t.Run("runs", benchRuns)
	t.Run("local", benchLocal)
	t.Run("compile", benchCompile)
	t.Run("waiting", benchWaiting)
}

// cpuOf is the processor time of one call of f, on average over a second.
func cpuOf(t *testing.T, f func()) time.Duration {
	t.Helper()
	f()
	runtime.GC()
	n, start, before := 0, time.Now(), processCPU()
	for time.Since(start) < time.Second {
		f()
		n++
	}
	return (processCPU() - before) / time.Duration(n)
}

func processCPU() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func benchRuns(t *testing.T) {
	fmt.Printf("\nThe push plugin: CPU of a login with one poll (3 runs), by what becomes of the instance; and with 40 polls (43 runs)\n")
	fmt.Printf("%-16s %10s %10s %8s %12s %14s\n", "language", "fresh", "reset", "ratio", "memory", "with 40 polls")
	for _, language := range []string{"go", "rust", "c", "assemblyscript"} {
		wasm := pushPlugin(t, language)
		var took [2]time.Duration
		var long time.Duration
		memory := 0
		for i, fresh := range []bool{true, false} {
			r := newRuntime(t, func(o *sandbox.Options) { o.NoReset = fresh })
			p := loadOn(t, r, wasm)
			login := func(pending int) {
				got, err := p.Run(t.Context(), pushCall(t, r, &pushServer{pending: pending}, &skipping{now: time.Now()}))
				if err != nil || got.Verdict != sdk.Accept {
					t.Fatal(got.Verdict, err)
				}
				memory = got.Stats.Memory
			}
			took[i] = cpuOf(t, func() { login(0) })
			if !fresh {
				long = cpuOf(t, func() { login(40) })
			}
		}
		fmt.Printf("%-16s %10v %10v %7.1fx %8d KiB %14v\n", language, took[0].Round(time.Microsecond), took[1].Round(time.Microsecond), float64(took[0])/float64(took[1]), memory>>10, long.Round(10*time.Microsecond))
	}
}

// verifyInC is what the bundled plugin "local" does, in C.
const verifyInC = `#include "sallyport.h"
SP_PLUGIN
SP_EXPORT(authenticate) int authenticate(void) {
	switch (sp_verify("password")) {
	case SP_RIGHT: return SP_ACCEPT;
	case SP_WRONG: return sp_reject("wrong_password");
	case SP_NOT_ENROLLED: return SP_UNKNOWN;
	}
	return SP_FAIL;
}`

// buildC builds a plugin from its source.
func buildC(b testing.TB, source string) []byte {
	b.Helper()
	dir := b.TempDir()
	in, out := filepath.Join(dir, "plugin.c"), filepath.Join(dir, "plugin.wasm")
	if err := os.WriteFile(in, []byte(source), 0o600); err != nil {
		b.Fatal(err)
	}
	build := exec.Command("clang", "--target=wasm32", "-O2", "-nostdlib", "-Wall", "-Werror", "-Wl,--no-entry", "-I", "../../sdk/c", "-o", out, in)
	if says, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, says)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		b.Fatal(err)
	}
	return wasm
}

func benchLocal(t *testing.T) {
	verify := func(context.Context, string) (sandbox.Verified, error) {
		return sandbox.Verified{Code: sdk.VerifyRight, Fields: map[string]string{"name": "alice"}, Groups: []string{"default"}}, nil
	}
	local, err := plugins.Bundled("local")
	if err != nil {
		t.Fatal(err, "run make plugins")
	}
	fmt.Printf("\nA local login without its password hash: CPU of the plugin's part\n")
	plain := cpuOf(t, func() {
		for range 1000 {
			if v, err := verify(t.Context(), "password"); err != nil || v.Code != sdk.VerifyRight {
				t.Fatal(err)
			}
		}
	}) / 1000
	fmt.Printf("%-30s %12v\n", "a plain Go function", plain)
	for _, guest := range []struct {
		name string
		wasm []byte
	}{{"sandbox, Go guest (bundled)", local}, {"sandbox, C guest", buildC(t, verifyInC)}} {
		r := newRuntime(t)
		p := loadOn(t, r, guest.wasm)
		call := sandbox.Call{Fields: map[string]string{"user": "alice"}, Verify: verify}
		took := cpuOf(t, func() {
			if got, err := p.Run(t.Context(), call); err != nil || got.Verdict != sdk.Accept {
				t.Fatal(got.Verdict, err)
			}
		})
		fmt.Printf("%-30s %12v\n", guest.name, took.Round(100*time.Nanosecond))
	}
}

func benchCompile(t *testing.T) {
	fmt.Printf("\nLoading a plugin: check, rewrite, compile, _initialize, describe, image\n%-20s %10s %10s %10s\n", "plugin", "size", "cold", "warm cache")
	all := map[string][]byte{}
	var names []string
	for _, name := range plugins.Names() {
		wasm, err := plugins.Bundled(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name], names = wasm, append(names, name)
	}
	for _, language := range []string{"go", "rust", "c", "assemblyscript"} {
		all["push-"+language], names = pushPlugin(t, language), append(names, "push-"+language)
	}
	once := func(dir string, wasm ...[]byte) time.Duration {
		r := newRuntime(t, func(o *sandbox.Options) { o.CacheDir = dir })
		start := time.Now()
		var loading sync.WaitGroup
		for _, w := range wasm {
			loading.Go(func() {
				if _, err := r.Load(t.Context(), w, limits()); err != nil {
					t.Error(err)
				}
			})
		}
		loading.Wait()
		return time.Since(start)
	}
	dir := t.TempDir()
	var every [][]byte
	for _, name := range names {
		every = append(every, all[name])
		cache := filepath.Join(dir, name)
		cold, warm := once(cache, all[name]), once(cache, all[name])
		fmt.Printf("%-20s %6d KiB %10v %10v\n", name, len(all[name])>>10, cold.Round(time.Millisecond), warm.Round(100*time.Microsecond))
	}
	cache := filepath.Join(dir, "all")
	cold, warm := once(cache, every...), once(cache, every...)
	fmt.Printf("%-20s %10s %10v %10v\n", "all, side by side", "", cold.Round(time.Millisecond), warm.Round(time.Millisecond))
}

// jumping is the real clock, on which the first sleeps cost no time: logins that already wait for a while.
type jumping struct {
	skip   int
	passed time.Duration
}

func (c *jumping) Now() time.Time { return time.Now().Add(c.passed) }

func (c *jumping) Sleep(ctx context.Context, d time.Duration) error {
	if c.skip > 0 {
		c.skip--
		c.passed += d
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// benchWaiting keeps many logins waiting for a push that is polled every 5 s, each with 24 polls behind it.
func benchWaiting(t *testing.T) {
	const recorded, window = 24, 15 * time.Second
	fmt.Printf("\nLogins that wait for a push, polled every 5 s, one run a poll, %d polls recorded\n", recorded)
	fmt.Printf("%-10s %10s %14s %12s %16s %16s %12s\n", "language", "waiting", "runs a second", "cores", "heap a login", "goroutine", "instances")
	for _, c := range []struct {
		language string
		logins   int
	}{{"c", 50_000}, {"go", 10_000}} {
		r := newRuntime(t)
		p := loadOn(t, r, pushPlugin(t, c.language))
		server := &pushServer{pending: 1 << 40}
		base := pushCall(t, r, server, nil)
		before, alone := memory(), aloneSize(t, base)
		ctx, cancel := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		for range c.logins {
			call := base
			call.Clock = &jumping{skip: recorded}
			waiting.Go(func() { _, _ = p.Run(ctx, call) })
		}
		for server.polls.Load() < int64(c.logins*recorded) {
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		polls, cpu := server.polls.Load(), processCPU()
		time.Sleep(window)
		polls, cpu = server.polls.Load()-polls, processCPU()-cpu
		after := memory()
		n := uint64(c.logins)
		fmt.Printf("%-10s %10d %14.0f %12.2f %14d B %14d B %12d\n", c.language, c.logins, float64(polls)/window.Seconds(), cpu.Seconds()/window.Seconds(),
			(after.HeapAlloc-before.HeapAlloc)/n-alone, (after.StackInuse-before.StackInuse)/n+alone, runtime.GOMAXPROCS(0))
		cancel()
		waiting.Wait()
		r.Wait()
	}
}

// aloneSize is what a goroutine with a call and a timer takes of the heap, before any plugin runs in it: the
// connection has it anyway.
func aloneSize(t *testing.T, base sandbox.Call) uint64 {
	t.Helper()
	const n = 1000
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	before := memory()
	for range n {
		call := base
		call.Clock = &jumping{}
		waiting.Go(func() { _ = call.Clock.Sleep(ctx, time.Hour) })
	}
	time.Sleep(100 * time.Millisecond)
	after := memory()
	cancel()
	waiting.Wait()
	return (after.HeapAlloc - before.HeapAlloc) / n
}

func memory() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}
