package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// web is a server that a plugin asks, and what it was asked.
type web struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

func newWeb(t testing.TB, answer func(n int, r *http.Request) string) *web {
	t.Helper()
	w := &web{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.asked = append(w.asked, r.URL.RawQuery)
		n := len(w.asked)
		w.mu.Unlock()
		_, _ = fmt.Fprint(rw, answer(n, r))
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *web) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

// reaching is a call whose plugin may reach the server.
func reaching(t testing.TB, r *sandbox.Runtime, w *httptest.Server, user string, change ...func(*sandbox.Grants)) sandbox.Call {
	t.Helper()
	e, err := endpoint.Parse(w.URL, endpoint.HTTP())
	if err != nil {
		t.Fatal(err)
	}
	grants := sandbox.Grants{HTTP: []endpoint.Endpoint{e}}
	for _, f := range change {
		f(&grants)
	}
	c := call(user)
	c.Settings = map[string]any{"url": w.URL + "/x"}
	c.Reach = r.NewReach(grants, limits())
	t.Cleanup(c.Reach.Close)
	return c
}

func loadOn(t testing.TB, r *sandbox.Runtime, wasm []byte, change ...func(*sandbox.Limits)) *sandbox.Plugin {
	t.Helper()
	p, err := r.Load(t.Context(), wasm, limits(change...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A plugin that polls is run again after each answer, and goes the same way each time, whatever it is
// that it does: each request reaches the server once.
func TestPollingPlugins(t *testing.T) {
	t.Run("reset", func(t *testing.T) { polling(t, newRuntime(t)) })
	t.Run("fresh instances", func(t *testing.T) { polling(t, newRuntime(t, func(o *sandbox.Options) { o.NoReset = true })) })
}

func polling(t *testing.T, r *sandbox.Runtime) {
	p := loadOn(t, r, goGuest)
	for _, scene := range []string{"poll sleep", "poll until", "poll map", "poll goroutines", "poll random"} {
		t.Run(scene, func(t *testing.T) {
			w := newWeb(t, func(n int, _ *http.Request) string {
				if n == 9 {
					return "approved"
				}
				return "wait"
			})
			var log bytes.Buffer
			c := reaching(t, r, w.Server, scene)
			c.Log = slog.New(slog.NewTextHandler(&log, nil))
			got, err := p.Run(t.Context(), c)
			if err != nil || got.Verdict != sdk.Accept {
				t.Fatalf("got %v, %v: %s", got.Verdict, err, log.String())
			}
			if asked := w.requests(); len(asked) != 9 || got.Stats.Runs != 10 {
				t.Errorf("%d requests in %d runs: %q", len(asked), got.Stats.Runs, asked)
			}
			if scene == "poll random" && len(slices.Compact(slices.Sorted(slices.Values(w.requests())))) != 9 {
				t.Errorf("nonces repeat: %q", w.requests())
			}
			if scene == "poll sleep" && strings.Count(log.String(), "poll ") != 9 {
				t.Errorf("not each line once: %s", log.String())
			}
		})
	}
}

// Two attempts must not have the same random numbers, although they start from one image.
func TestRandomnessOfTwoAttemptsDiffers(t *testing.T) {
	r := newRuntime(t)
	p := loadOn(t, r, goGuest)
	w := newWeb(t, func(int, *http.Request) string { return "approved" })
	for range 3 {
		if _, err := p.Run(t.Context(), reaching(t, r, w.Server, "poll random")); err != nil {
			t.Fatal(err)
		}
	}
	crypto := map[string]bool{}
	for _, q := range w.requests() {
		crypto[strings.Join(strings.Split(q, "-")[:2], "-")] = true
	}
	if len(crypto) != 3 {
		t.Errorf("got %q", w.requests())
	}
}

// Until the time is over, the plugin sees time pass as much as has passed.
func TestPollingEndsWithThePluginsOwnTime(t *testing.T) {
	r := newRuntime(t)
	w := newWeb(t, func(int, *http.Request) string { return "wait" })
	c := reaching(t, r, w.Server, "poll until")
	c.Settings["within"] = "300ms"
	start := time.Now()
	got, err := loadOn(t, r, goGuest).Run(t.Context(), c)
	if err != nil || got.Verdict != sdk.Reject || time.Since(start) < 280*time.Millisecond {
		t.Errorf("got %v, %v after %v", got.Verdict, err, time.Since(start))
	}
	if n := len(w.requests()); n < 1 || n > 16 {
		t.Errorf("%d requests in 300 ms with 20 ms between them", n)
	}
}

// A run that does not repeat the one before is a failure, and has no effect.
func TestAnotherWayIsAFailure(t *testing.T) {
	for _, scene := range []string{"other way", "early end", "other read"} {
		t.Run(scene, func(t *testing.T) {
			r := newRuntime(t)
			p := loadOn(t, r, goGuest)
			var c sandbox.Call
			w := newWeb(t, func(n int, _ *http.Request) string {
				if n == 2 || scene == "early end" {
					c.Fields["mark"] = "changed" // nothing that a plugin sees changes by itself: the test does
				}
				return "wait"
			})
			c = reaching(t, r, w.Server, scene)
			got, err := p.Run(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), "took another way") || got.Verdict != sdk.Fail {
				t.Errorf("got %v, %v", got.Verdict, err)
			}
			if asked := w.requests(); strings.Contains(strings.Join(asked, " "), "another") || len(asked) > 2 {
				t.Errorf("asked %q", asked)
			}
		})
	}
}

// While a plugin waits, others use the one instance that there is.
func TestWaitingHoldsNoInstance(t *testing.T) {
	r := newRuntime(t, func(o *sandbox.Options) { o.Executing = 1 })
	p := loadOn(t, r, goGuest)
	asked, release := make(chan struct{}, 100), make(chan struct{})
	w := newWeb(t, func(int, *http.Request) string { asked <- struct{}{}; <-release; return "approved" })
	var waiting sync.WaitGroup
	for range 50 {
		waiting.Go(func() {
			if got, err := p.Run(t.Context(), reaching(t, r, w.Server, "poll sleep")); err != nil || got.Verdict != sdk.Accept {
				t.Errorf("got %v, %v", got.Verdict, err)
			}
		})
	}
	for range 50 {
		<-asked
	}
	if got, err := p.Run(t.Context(), call("nobody")); err != nil || got.Verdict != sdk.Unknown {
		t.Errorf("got %v, %v", got.Verdict, err)
	}
	close(release)
	waiting.Wait()
}

func TestApprovalChangesAreToldOnce(t *testing.T) {
	r := newRuntime(t)
	w := newWeb(t, func(n int, r *http.Request) string {
		if r.URL.Query().Get("do") == "request" {
			return "ref-1"
		}
		if n == 4 {
			return "approved"
		}
		return "wait"
	})
	c := reaching(t, r, w.Server, "push")
	var told []sandbox.Approval
	c.Approval = func(a sandbox.Approval) { told = append(told, a) }
	got, err := loadOn(t, r, goGuest).Run(t.Context(), c)
	want := []sandbox.Approval{{State: "requested", Ref: "ref-1", Prompt: "4711"}, {State: "approved", Ref: "ref-1"}}
	if err != nil || got.Verdict != sdk.Accept || !slices.Equal(told, want) {
		t.Errorf("got %v, %v, %+v", got.Verdict, err, told)
	}
}

func TestApprovalsAreBoundedAndMasked(t *testing.T) {
	c := call("approvals")
	c.SeesPassword = true
	var told []sandbox.Approval
	c.Approval = func(a sandbox.Approval) { told = append(told, a) }
	c.Verify = func(context.Context, string) (sandbox.Verified, error) {
		return sandbox.Verified{Code: sdk.VerifyWrong}, nil
	}
	if got, err := load(t, goGuest, patient).Run(t.Context(), c); err != nil || got.Stats.Runs != 2 || len(told) != 20 {
		t.Errorf("%d changes in %d runs, %v", len(told), got.Stats.Runs, err)
	}
	for _, a := range told {
		if len(a.Ref) > sdk.MaxLog || strings.Contains(a.Ref, "canary") {
			t.Errorf("%d bytes: %.40q", len(a.Ref), a.Ref)
		}
	}
}

// Who left before a request was sent has sent nothing.
func TestWhatWaitsInTheQueueIsNotSent(t *testing.T) {
	r := newRuntime(t)
	p := loadOn(t, r, goGuest)
	block := make(chan struct{})
	w := newWeb(t, func(int, *http.Request) string { <-block; return "ref-1" })
	l := limits()
	l.Requests = 1
	c := reaching(t, r, w.Server, "push")
	c.Reach = r.NewReach(sandbox.Grants{HTTP: mustParse(t, w.URL)}, l)
	defer c.Reach.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 5 {
		waiting.Go(func() { _, _ = p.Run(ctx, c) })
	}
	for len(w.requests()) == 0 {
		runtime.Gosched()
	}
	time.Sleep(50 * time.Millisecond)
	cancel()
	waiting.Wait()
	close(block)
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	pushes := 0
	for _, q := range w.requests() {
		if q == "do=request" {
			pushes++
		}
	}
	if pushes != 1 || !slices.Contains(w.requests(), "do=withdraw+ref-1") {
		t.Errorf("asked %q", w.requests())
	}
}

// An attempt that nobody waits for any more returns at once, and its push is taken back.
func TestGivenUpIsWithdrawn(t *testing.T) {
	for scene, stage := range map[string]string{"push": "do=poll", "push to wait": "do=request", "push marked": "do=poll"} {
		t.Run(scene, func(t *testing.T) {
			r := newRuntime(t)
			reached := make(chan struct{}, 100)
			w := newWeb(t, func(_ int, q *http.Request) string {
				if q.URL.RawQuery == stage {
					reached <- struct{}{}
				}
				if scene == "push marked" { // it is under way when the client leaves
					time.Sleep(100 * time.Millisecond)
				}
				return "ref-1"
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			left := errors.New("the client left")
			go func() { <-reached; time.Sleep(20 * time.Millisecond); cancel(left) }()
			var log syncBuffer
			c := reaching(t, r, w.Server, scene)
			c.Log = slog.New(slog.NewTextHandler(&log, nil))
			if _, err := loadOn(t, r, goGuest).Run(ctx, c); !errors.Is(err, left) {
				t.Errorf("got %v", err)
			}
			if err := r.Close(t.Context()); err != nil { // waits for it
				t.Fatal(err)
			}
			asked := w.requests()
			if asked[len(asked)-1] != "do=withdraw+ref-1" {
				t.Errorf("asked %q", asked)
			}
			if !strings.Contains(log.String(), "given up") {
				t.Errorf("the plugin was not told: %s", log.String())
			}
		})
	}
}

// Who does not listen has two requests and no more.
func TestAStubbornPluginIsEnded(t *testing.T) {
	r := newRuntime(t)
	w := newWeb(t, func(int, *http.Request) string { return "wait" })
	ctx, cancel := context.WithCancel(t.Context())
	w2 := w.requests
	go func() {
		for len(w2()) < 3 {
			runtime.Gosched()
		}
		cancel()
	}()
	if _, err := loadOn(t, r, goGuest).Run(ctx, reaching(t, r, w.Server, "push stubborn")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	before := len(w.requests())
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(w.requests()); n > before+3 { // one may have been under way
		t.Errorf("%d requests, %d after it was given up", n, n-before)
	}
}

// A plugin that has sent nothing has nothing to take back.
func TestNothingIsWithdrawnBeforeTheFirstRequest(t *testing.T) {
	r := newRuntime(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := call("verify")
	runs := 0
	c.Verify = func(ctx context.Context, _ string) (sandbox.Verified, error) {
		runs++
		cancel()
		<-ctx.Done()
		return sandbox.Verified{}, ctx.Err()
	}
	if _, err := loadOn(t, r, goGuest).Run(ctx, c); !errors.Is(err, context.Canceled) || runs != 1 {
		t.Errorf("got %v after %d checks", err, runs)
	}
}

func TestAsk(t *testing.T) {
	r := newRuntime(t)
	p := loadOn(t, r, goGuest)
	for name, answer := range map[string]func(context.Context, string) (bool, error){
		"accepted": func(_ context.Context, prompt string) (bool, error) { return prompt == "let ask in?", nil },
		"rejected": func(context.Context, string) (bool, error) { return false, errors.New("no approver") },
	} {
		c := call("ask")
		c.Ask = answer
		if got, err := p.Run(t.Context(), c); err != nil || got.Verdict.String() != name {
			t.Errorf("%s: got %v, %v", name, got.Verdict, err)
		}
	}
	if got, err := p.Run(t.Context(), call("ask")); err != nil || got.Verdict != sdk.Reject {
		t.Errorf("without a grant: got %v, %v", got.Verdict, err)
	}
}

// Each limit has an error of its own that names it and what was used.
func TestLimits(t *testing.T) {
	big := strings.Repeat("x", 60<<10)
	for name, c := range map[string]struct {
		scene  string
		answer func(n int, r *http.Request) string
		change func(*sandbox.Limits)
		want   string
	}{
		"runs":     {"poll sleep", func(int, *http.Request) string { return "wait" }, func(l *sandbox.Limits) { l.Runs = 5 }, "over a limit: runs: 6 of 5; limits { runs } changes it"},
		"recorded": {"poll sleep", func(n int, _ *http.Request) string { return fmt.Sprint(n) + big }, nil, "over a limit: recorded: 12"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuntime(t)
			w := newWeb(t, c.answer)
			change := []func(*sandbox.Limits){patient}
			if c.change != nil {
				change = append(change, c.change)
			}
			_, err := loadOn(t, r, goGuest, change...).Run(t.Context(), reaching(t, r, w.Server, c.scene))
			if !errors.Is(err, sandbox.ErrLimit) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v; want %q", err, c.want)
			}
		})
	}
}

// Equal answers in a row are kept once.
func TestEqualAnswersAreKeptOnce(t *testing.T) {
	r := newRuntime(t)
	w := newWeb(t, func(n int, _ *http.Request) string {
		if n == 50 {
			return "approved"
		}
		return strings.Repeat("wait", 2000)
	})
	got, err := loadOn(t, r, goGuest, patient).Run(t.Context(), reaching(t, r, w.Server, "poll goroutines"))
	if err != nil || got.Stats.Recorded > 3*8000+100 {
		t.Errorf("%v, %d bytes", err, got.Stats.Recorded)
	}
}

func TestTheMemoryThatGrewIsNotUsedAgain(t *testing.T) {
	p := load(t, goGuest)
	first, err := p.Run(t.Context(), call("nobody"))
	if err != nil || !p.Resets() {
		t.Fatal(err, "or it is not reset")
	}
	for _, user := range []string{"grow", "nobody", "grow", "nobody"} {
		got, err := p.Run(t.Context(), call(user))
		if err != nil || (user == "nobody") != (got.Stats.Memory == first.Stats.Memory) {
			t.Errorf("%s: %v, %d bytes", user, err, got.Stats.Memory)
		}
	}
}

// Whatever goroutines a plugin leaves, the next login does not meet them.
func TestGoroutinesThatAreLeft(t *testing.T) {
	p := load(t, goGuest, patient)
	for _, user := range []string{"ticker", "goroutines", "nobody"} {
		if got, err := p.Run(t.Context(), call(user)); user == "nobody" && (err != nil || got.Verdict != sdk.Unknown) {
			t.Errorf("%s: got %v, %v", user, got.Verdict, err)
		}
	}
}

// syncBuffer may be written while it is read.
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

func TestReferences(t *testing.T) {
	r := newRuntime(t)
	p := loadOn(t, r, goGuest)
	var form, header string
	w := newWeb(t, func(_ int, q *http.Request) string {
		form, header = q.FormValue("pw"), q.Header.Get("Authorization")
		return form + header // reflects them: they must not be seen in the log
	})
	here, _ := endpoint.Parse(w.URL, endpoint.HTTP())
	elsewhere, _ := endpoint.Parse("https://other.example", endpoint.HTTP())
	for name, c := range map[string]struct {
		passwordTo, secretTo endpoint.Endpoint
		sees                 bool
		want                 sdk.Verdict
	}{
		"granted":             {here, here, false, sdk.Accept},
		"sees it":             {elsewhere, here, true, sdk.Accept},
		"password elsewhere":  {elsewhere, here, false, sdk.Reject},
		"secret elsewhere":    {here, elsewhere, true, sdk.Reject},
		"both to other place": {elsewhere, elsewhere, false, sdk.Reject},
	} {
		t.Run(name, func(t *testing.T) {
			form, header = "", ""
			var log bytes.Buffer
			call := reaching(t, r, w.Server, "references", func(g *sandbox.Grants) {
				g.PasswordTo = []endpoint.Endpoint{c.passwordTo}
				g.Secrets = map[string]sandbox.Secret{"token": {Value: secret.New("t0ken"), To: []endpoint.Endpoint{c.secretTo}}}
			})
			call.SeesPassword = c.sees
			call.Log = slog.New(slog.NewTextHandler(&log, nil))
			got, err := p.Run(t.Context(), call)
			if err != nil || got.Verdict != c.want {
				t.Errorf("got %v, %v", got.Verdict, err)
			}
			if c.want == sdk.Accept && (form != "canary-4711" || header != "t0ken") || c.want == sdk.Reject && form+header != "" {
				t.Errorf("sent %q, %q", form, header)
			}
			if strings.Contains(log.String(), "canary") || strings.Contains(log.String(), "t0ken") {
				t.Error(log.String())
			}
			call.Fields["user"] = "get secret"
			if got, _ := p.Run(t.Context(), call); got.Verdict != sdk.Reject {
				t.Errorf("it could read the secret: %v", got.Verdict)
			}
		})
	}
}
