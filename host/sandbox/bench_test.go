package sandbox_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// pushPlugin builds the push plugin in a language.
func pushPlugin(b testing.TB, language string) []byte {
	b.Helper()
	repo, err := filepath.Abs("../..")
	if err != nil {
		b.Fatal(err)
	}
	dir := filepath.Join(repo, "examples", "plugins", "push-"+language)
	build := exec.Command("go", "run", "./host/cmd/sallyport", "plugin", "build", dir)
	build.Dir = repo
	build.Env = append(os.Environ(), "PATH="+filepath.Join(repo, "bin/tools/node_modules/.bin")+":"+os.Getenv("PATH"))
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	wasm, err := os.ReadFile(filepath.Join(dir, "push-"+language+".wasm"))
	if err != nil {
		b.Fatal(err)
	}
	return wasm
}

// pushServer takes the request, says "pending" some times, and then "approved".
type pushServer struct {
	pending int
	polls   atomic.Int64
}

func (s *pushServer) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := 200, `{"status":"pending"}`
	switch r.Method {
	case http.MethodPost:
		status, body = 201, `{"id":"r1","prompt":"47"}`
	case http.MethodGet:
		if s.polls.Add(1) > int64(s.pending) {
			body = `{"status":"approved"}`
		}
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// skipping is a clock on which sleeping costs no time.
type skipping struct{ now time.Time }

func (c *skipping) Now() time.Time { return c.now }

func (c *skipping) Sleep(ctx context.Context, d time.Duration) error {
	c.now = c.now.Add(d)
	return context.Cause(ctx)
}

func pushCall(b testing.TB, r *sandbox.Runtime, server http.RoundTripper, clock sandbox.Clock) sandbox.Call {
	to, err := endpoint.Parse("https://push.example", endpoint.HTTP())
	if err != nil {
		b.Fatal(err)
	}
	grants := sandbox.Grants{HTTP: []endpoint.Endpoint{to}, Transport: server, Secrets: map[string]sandbox.Secret{"token": {Value: secret.New("t0ken"), To: []endpoint.Endpoint{to}}}}
	return sandbox.Call{
		Fields: map[string]string{"user": "alice"}, Settings: map[string]any{"url": "https://push.example", "timeout": 100_000.0},
		Reach: r.NewReach(grants, limits()), Clock: clock,
	}
}

// BenchmarkRun is one run to the first call of the host and one to the verdict: the push plugin, of a user
// whom the service does not know.
func BenchmarkRun(b *testing.B) {
	for _, language := range []string{"go", "rust", "c", "assemblyscript"} {
		wasm := pushPlugin(b, language)
		for _, fresh := range []bool{true, false} {
			name := language + "/reset"
			if fresh {
				name = language + "/fresh"
			}
			b.Run(name, func(b *testing.B) {
				r := newRuntime(b, func(o *sandbox.Options) { o.NoReset = fresh })
				p := loadOn(b, r, wasm)
				call := pushCall(b, r, &pushServer{}, &skipping{now: time.Now()})
				var memory int
				for b.Loop() {
					got, err := p.Run(b.Context(), call)
					if err != nil || got.Verdict != sdk.Accept {
						b.Fatal(got.Verdict, err)
					}
					memory = got.Stats.Memory
				}
				b.ReportMetric(float64(memory>>10), "KiB-memory")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/3, "ns/run")
			})
		}
	}
}

// BenchmarkSuspended is a login that waits for 40 polls: all its runs together.
func BenchmarkSuspended(b *testing.B) {
	for _, language := range []string{"go", "rust", "c", "assemblyscript"} {
		wasm := pushPlugin(b, language)
		b.Run(language, func(b *testing.B) {
			r := newRuntime(b)
			p := loadOn(b, r, wasm)
			for b.Loop() {
				got, err := p.Run(b.Context(), pushCall(b, r, &pushServer{pending: 40}, &skipping{now: time.Now()}))
				if err != nil || got.Stats.Runs != 43 {
					b.Fatal(got.Stats.Runs, err)
				}
			}
		})
	}
}
