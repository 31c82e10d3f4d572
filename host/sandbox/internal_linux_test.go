//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"
	"weak"

	"github.com/sallyport-ftps/sallyport/host/secret"
)

// Nothing of a password is left where a later login, or a core dump, could find it: neither in the
// instance that is used again, nor in what an attempt recorded.
func TestThePasswordIsGoneAfterARun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "guest.wasm")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildmode=c-shared", "-o", file, "./testdata/guest")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close(context.WithoutCancel(t.Context())) }()
	p, err := r.Load(t.Context(), wasm, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	password := []byte("canary-" + "4711-in-memory")
	call := Call{Fields: map[string]string{"user": "keep"}, Password: secret.New(string(password)), SeesPassword: true}

	// First look inside while it runs, to see that this test can fail.
	i, err := p.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g, ctx, end := p.newAttempt(call).newGuest(t.Context(), p.limits.Load)
	defer end()
	if err := g.clock.resume(ctx); err != nil {
		t.Fatal(err)
	}
	g.started = true
	if _, err := i.module.ExportedFunction("authenticate").Call(ctx); err != nil {
		t.Fatal(err)
	}
	g.clock.pause()
	if !bytes.Contains(memoryOf(i), password) {
		t.Error("the password never was in the guest's memory")
	}
	p.put(ctx, i, true)

	for range 3 {
		if _, err := p.Run(t.Context(), call); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.idle) != 1 || p.idle[0] != i {
		t.Fatalf("%d instances wait; the one that ran is not among them", len(p.idle))
	}
	if bytes.Contains(memoryOf(i), password) {
		t.Error("the password is in the guest's memory after the run")
	}
	image, err := os.ReadFile("/proc/self/fd/" + strconv.Itoa(int(p.pristine.image.file.Fd())))
	if err != nil || !bytes.Equal(image, memoryOf(i)) {
		t.Errorf("the memory is not the image: %v", err)
	}
}

// An instance that waits for the next login holds nothing of the one before, such as its password.
func TestAnIdleInstanceHoldsNoRun(t *testing.T) {
	wasm, err := exec.CommandContext(t.Context(), "sh", "-c", "wat2wasm testdata/hostile/verify_again.wat -o /dev/stdout").Output()
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close(context.WithoutCancel(t.Context())) }()
	p, err := r.Load(t.Context(), wasm, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	mark := new([1024]byte)
	held := weak.Make(mark)
	call := Call{Settings: map[string]any{"mark": mark}}
	if _, err := p.Run(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	mark, call = nil, Call{}
	runtime.GC()
	runtime.GC()
	if len(p.idle) != 1 || held.Value() != nil {
		t.Errorf("%d instances wait, and hold what a run was given", len(p.idle))
	}
	if !dontDump(t, p.idle[0].memory) {
		t.Error("its memory would be in a core dump")
	}
}

// dontDump reads the flags of a mapping.
func dontDump(t *testing.T, m *linearMemory) bool {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(maps), fmt.Sprintf("\n%x-", uintptr(unsafe.Pointer(unsafe.SliceData(m.reserved)))))
	_, flags, _ := strings.Cut(rest, "VmFlags:")
	flags, _, _ = strings.Cut(flags, "\n")
	return strings.Contains(flags, " dd ") || strings.HasSuffix(flags, " dd")
}

func memoryOf(i *instance) []byte {
	view, _ := i.module.Memory().Read(0, i.module.Memory().Size())
	return view
}

// What an attempt recorded is overwritten at its end.
func TestRecordsAreWiped(t *testing.T) {
	var total struct{ atomic.Int64 }
	r := record{total: &total.Int64}
	body := []byte(`{"token":"canary"}`)
	if err := r.add(&said{call: callHTTP, code: 200, whole: &response{status: 200, body: body}}, 0, digest{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.read(r.answers[0].said, "json:/token", 1000); err != nil {
		t.Fatal(err)
	}
	value := r.answers[0].fields[0].value
	if total.Load() == 0 || string(value) != "canary" {
		t.Fatalf("%d bytes, %q", total.Load(), value)
	}
	r.wipe()
	if total.Load() != 0 || bytes.Contains(value, []byte("canary")) || bytes.Contains(body, []byte("canary")) {
		t.Errorf("%d bytes are counted, %q, %q", total.Load(), value, body)
	}
}

// Answers of all attempts together are bounded.
func TestRecordsAreBoundedInAll(t *testing.T) {
	var total struct{ atomic.Int64 }
	total.Store(maxRecorded)
	r := record{total: &total.Int64}
	if err := r.add(&said{call: callHTTP, whole: &response{body: []byte("x")}}, 0, digest{}); !errors.Is(err, ErrOverloaded) {
		t.Errorf("got %v", err)
	}
	r.wipe()
	if total.Load() != maxRecorded {
		t.Errorf("%d bytes more are counted than before", total.Load()-maxRecorded)
	}
}

// However many answers are merged, nothing stays counted.
func TestMergedAnswersAreNotCounted(t *testing.T) {
	var total struct{ atomic.Int64 }
	r := record{total: &total.Int64}
	for range 10 {
		r.forgetResponses()
		if err := r.add(&said{call: callHTTP, code: 200, whole: &response{status: 200, body: []byte("pending")}}, 0, digest{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.read(r.answers[len(r.answers)-1].said, "body", 1000); err != nil {
			t.Fatal(err)
		}
	}
	if r.bytes > 3*len("bodypending") {
		t.Errorf("%d bytes for ten equal answers", r.bytes)
	}
	r.wipe()
	if total.Load() != 0 {
		t.Errorf("%d bytes are still counted", total.Load())
	}
}
