//go:build soak

package sandbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/sandbox"
)

// seen is what one hostile plugin did in a process of its own.
type seen struct {
	Verdicts []string
	Error    string
	Took     time.Duration
	Pause    time.Duration // the longest that a garbage collection was held up
	Grown    int           // bytes
}

// TestSoakWithoutTheRewrite shows that the tests of the hostile plugins can fail: it runs each of them
// without the rewrite, in a process of its own, and lists what then breaks.
func TestSoakWithoutTheRewrite(t *testing.T) {
	if name := os.Getenv("SANDBOX_HOSTILE"); name != "" {
		runUnprotected(t, name)
		return
	}
	var broken []string
	fmt.Println("Without the rewrite:")
	for _, name := range hostileNames(t) {
		h := readHostile(t, name)
		assemble(t, h)
		if what := unprotected(t, h); what != "" {
			fmt.Printf("  %-18s %s\n", name, what)
			broken = append(broken, name)
		}
	}
	for _, name := range []string{"recurse", "fill", "fill_line", "table_grow", "table_big", "tables_many", "body_big", "counter", "keep_table", "keep_segment", "keep_end", "globals_many"} {
		if !slices.Contains(broken, name) {
			t.Errorf("%s does no harm without the rewrite: what is its test for?", name)
		}
	}
}

// unprotected runs a plugin in a process that is killed after a while, and says what went wrong.
func unprotected(t *testing.T, h hostile) string {
	child := exec.Command(os.Args[0], "-test.run", "TestSoakWithoutTheRewrite")
	child.Env = append(os.Environ(), "SANDBOX_HOSTILE="+h.name)
	var out strings.Builder
	child.Stdout = &out
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	late := time.AfterFunc(8*time.Second, func() { killed = true; _ = child.Process.Kill() })
	err := child.Wait()
	late.Stop()
	if killed {
		return "was still running after 8 s, and was killed"
	}
	var s seen
	_, line, ok := strings.Cut(out.String(), "SEEN ")
	if !ok || json.NewDecoder(strings.NewReader(line)).Decode(&s) != nil {
		return fmt.Sprintf("ended the whole process: %v", err)
	}
	return s.harm(h)
}

func (s seen) harm(h hostile) string {
	missing := func() bool {
		return slices.ContainsFunc(h.want, func(part string) bool { return !strings.Contains(s.Error, part) })
	}
	switch {
	case s.Pause > 300*time.Millisecond:
		return fmt.Sprintf("held up the whole process for %v", s.Pause.Round(time.Millisecond))
	case s.Grown > 256<<20:
		return fmt.Sprintf("took %d MiB", s.Grown>>20)
	case (h.kind == "load" || h.kind == "run") && missing():
		return fmt.Sprintf("was not stopped as it should be: %v %s", s.Verdicts, s.Error)
	case h.kind == "keeps" && (slices.Contains(s.Verdicts, "accepted") || s.Error != ""):
		return fmt.Sprintf("kept something from one login to the next: %v %s", s.Verdicts, s.Error)
	case h.kind == "verdict" && slices.ContainsFunc(s.Verdicts, func(v string) bool { return v != h.want[0] }):
		return fmt.Sprintf("got %v, and %v is right", s.Verdicts, h.want)
	}
	return ""
}

func runUnprotected(t *testing.T, name string) {
	h := readHostile(t, name)
	wasm := assemble(t, h)
	before := resident(t)
	var s seen
	start := time.Now()
	s.Pause = worstPause(t, func() {
		err := func() error {
			r, err := sandbox.New(t.Context(), sandbox.Options{NoRewrite: true})
			if err != nil {
				return err
			}
			defer func() { _ = r.Close(t.Context()) }()
			p, err := r.Load(t.Context(), wasm, limits())
			if err != nil {
				return err
			}
			var failed error
			for range 3 {
				got, err := p.Run(t.Context(), call("alice"))
				s.Verdicts = append(s.Verdicts, got.Verdict.String())
				failed = errors.Join(failed, err)
			}
			s.Grown = peak(t) - before
			runtime.KeepAlive(p)
			return failed
		}()
		if err != nil {
			s.Error = err.Error()
		}
	})
	s.Took = time.Since(start)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("SEEN " + string(text))
}

// peak is the most memory that the process had, in bytes.
func peak(t *testing.T) int {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var kib int
	_, _ = fmt.Sscan(rest, &kib)
	return kib << 10
}
