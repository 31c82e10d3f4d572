package cases

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// Report is what came of a case.
type Report struct {
	Verdict   string            `json:"verdict"`
	Error     string            `json:"error,omitempty"` // why it failed
	Fields    map[string]string `json:"fields,omitempty"`
	Requests  []string          `json:"requests,omitempty"`
	Approvals []string          `json:"approvals,omitempty"`
	Slept     time.Duration     `json:"slept_ns"` // on the plugin's clock
	Log       []string          `json:"log,omitempty"`
	Stats     sandbox.Stats     `json:"stats"`
	Problems  []string          `json:"problems,omitempty"` // what is not as expected
}

// patience is how long a case may take in real time.
const patience = 30 * time.Second

var errGivenUp = errors.New("given up")

// check refuses settings with which a server would not start: that is a mistake of the case.
func (c Case) check(d sandbox.Description) error {
	if name, err := d.CheckSettings(c.Settings); err != nil {
		return fmt.Errorf("setting %q: the plugin %w", name, err)
	}
	return nil
}

// Run runs the case. What the plugin says that it needs is granted.
func (c Case) Run(ctx context.Context, runtime *sandbox.Runtime, plugin *sandbox.Plugin, limits sandbox.Limits) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	s := &stage{c: c, limits: limits, end: giveUp}
	if err := c.check(plugin.Description()); err != nil {
		return Report{}, err
	}
	grants, err := c.grants(plugin.Description().Needs)
	if err != nil {
		return Report{}, err
	}
	grants.Transport = s
	reach := runtime.NewReach(grants, limits)
	defer reach.Close()
	result, err := plugin.Run(ctx, c.call(plugin, reach, s))
	runtime.Wait()
	return s.report(result, err), nil
}

func (c Case) call(plugin *sandbox.Plugin, reach *sandbox.Reach, s *stage) sandbox.Call {
	call := sandbox.Call{
		Fields:       map[string]string{"user": c.User, "user.typed": c.User, "service": "main", "service.kind": "ftps", "client.ip": "192.0.2.1"},
		Settings:     c.Settings,
		Password:     secret.New(c.Password),
		SeesPassword: c.SeesPassword || plugin.Description().Needs.Password,
		Reach:        reach,
		Verify:       c.verify,
		Approval:     s.approval,
		Log:          slog.New(&lines{s: s}),
		Clock:        s,
	}
	maps.Copy(call.Fields, c.Fields)
	if c.Ask != nil {
		call.Ask = func(context.Context, string) (bool, error) { return *c.Ask, nil }
	}
	return call
}

func (c Case) verify(_ context.Context, what string) (sandbox.Verified, error) {
	switch {
	case c.Account == nil, what == "code" && c.Account.Code == "":
		return sandbox.Verified{Code: sdk.VerifyNotEnrolled, Reason: "unknown_user"}, nil
	case what == "code" && c.Account.Code != c.Fields["code"]:
		return sandbox.Verified{Code: sdk.VerifyWrong, Reason: "wrong_code"}, nil
	case what == "code":
		return sandbox.Verified{Code: sdk.VerifyRight}, nil
	case c.Account.Password != c.Password:
		return sandbox.Verified{Code: sdk.VerifyWrong, Reason: "wrong_password"}, nil
	}
	return sandbox.Verified{Code: sdk.VerifyRight, Groups: c.Account.Groups, Fields: map[string]string{"name": c.User, "email": c.Account.Email}}, nil
}

func (c Case) grants(needs sandbox.Needs) (g sandbox.Grants, err error) {
	if g.HTTP, err = needs.Endpoints(needs.HTTP, c.Settings, endpoint.HTTP()); err != nil {
		return g, err
	}
	if g.PasswordTo, err = needs.Endpoints(needs.PasswordTo, c.Settings, endpoint.HTTP()); err != nil {
		return g, err
	}
	for _, url := range c.PasswordTo {
		e, err := endpoint.Parse(url, endpoint.HTTP())
		if err != nil {
			return g, fmt.Errorf("password_to %q: %w", url, err)
		}
		g.PasswordTo = append(g.PasswordTo, e)
		g.HTTP = append(g.HTTP, e)
	}
	g.Secrets = map[string]sandbox.Secret{}
	for name, value := range c.Secrets {
		g.Secrets[name] = sandbox.Secret{Value: secret.New(value), To: g.HTTP}
	}
	return g, nil
}

// stage plays the world outside: the clock, the servers, and the client who may leave.
type stage struct {
	c      Case
	limits sandbox.Limits
	end    context.CancelCauseFunc // of the attempt

	mu        sync.Mutex
	passed    time.Duration
	left      bool
	requests  []string
	headers   []http.Header
	approvals []string
	log       []string
}

// Now implements sandbox.Clock.
func (s *stage) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.c.Now.Add(s.passed)
}

// Sleep implements sandbox.Clock: it takes no time.
func (s *stage) Sleep(ctx context.Context, d time.Duration) error {
	s.mu.Lock()
	cause := s.pass(d, true)
	s.mu.Unlock()
	if cause != nil {
		s.end(cause)
	}
	return context.Cause(ctx)
}

// pass lets time pass. The attempt ends when the client leaves or the method's time is up, and a sleep ends
// with it; what is under way does not.
func (s *stage) pass(d time.Duration, sleep bool) (ends error) {
	at, cause := s.c.Timeout, error(fmt.Errorf("the method took longer than its timeout of %v", s.c.Timeout))
	if s.c.GiveUp > 0 && s.c.GiveUp < at {
		at, cause = s.c.GiveUp, errGivenUp
	}
	if s.left || s.passed+d < at {
		s.passed += d
		return nil
	}
	s.left = true
	if sleep {
		s.passed = at
	} else {
		s.passed += d
	}
	return cause
}

// RoundTrip implements http.RoundTripper: it answers what the case says.
func (s *stage) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+r.URL.String()+" "+string(body)))
	s.headers = append(s.headers, r.Header.Clone())
	if len(s.requests) > len(s.c.Answers) {
		return nil, fmt.Errorf("the case has no answer number %d", len(s.requests))
	}
	answer := s.c.Answers[len(s.requests)-1]
	most := s.limits.HTTP
	if deadline, ok := r.Context().Deadline(); ok { // the request's own time-out, which began just now
		most = min(most, time.Until(deadline).Round(100*time.Millisecond))
	}
	if answer.took >= most {
		answer.took, answer.Error = most, "no answer in time"
	}
	if cause := s.pass(answer.took, false); cause != nil {
		s.end(cause)
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	response := &http.Response{StatusCode: answer.Status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader([]byte(answer.Body))), Request: r, ProtoMajor: 1, ProtoMinor: 1}
	for name, value := range answer.Header {
		response.Header.Set(name, value)
	}
	return response, nil
}

func (s *stage) approval(a sandbox.Approval) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.approvals = append(s.approvals, a.State)
}

// report compares what came with what was expected.
func (s *stage) report(result sandbox.Result, err error) Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Report{Verdict: result.Verdict.String(), Fields: result.Fields, Requests: s.requests, Approvals: s.approvals, Slept: s.passed, Log: s.log, Stats: result.Stats}
	switch {
	case errors.Is(err, errGivenUp):
		r.Verdict = "given up"
	case err != nil:
		r.Error = err.Error()
	}
	expect := s.c.Expect
	r.compare("verdict", expect.Verdict, r.Verdict)
	if got := r.Fields["reason"]; got != "" && !slices.Contains(sdk.Reasons(), got) {
		r.Problems = append(r.Problems, fmt.Sprintf("reason: %q is none that a plugin can give: it becomes \"rejected\"; there are %q", got, sdk.Reasons()))
	}
	if expect.Reason != "" {
		r.compare("reason", expect.Reason, r.Fields["reason"])
	}
	for _, name := range slices.Sorted(maps.Keys(expect.Fields)) {
		r.compare("field "+name, expect.Fields[name], r.Fields[name])
	}
	if expect.Approvals != nil {
		r.compare("approvals", strings.Join(expect.Approvals, ", "), strings.Join(r.Approvals, ", "))
	}
	if expect.Slept != "" {
		r.compare("slept", expect.slept.String(), r.Slept.String())
	}
	if !strings.Contains(r.Error, expect.Error) {
		r.problem("error: %q expected in it, got %q", expect.Error, r.Error)
	}
	for _, part := range expect.Log {
		if !strings.Contains(strings.Join(r.Log, "\n"), part) {
			r.problem("log: no line has %q", part)
		}
	}
	r.compareRequests(expect, s.headers)
	if unused := len(s.c.Answers) - len(s.requests); unused > 0 {
		r.problem("answers: %d of %d were not asked for", unused, len(s.c.Answers))
	}
	if len(expect.Headers) > 0 && len(s.requests) == 0 {
		r.problem("headers: there was no request")
	}
	return r
}

func (r *Report) compareRequests(expect Expect, headers []http.Header) {
	if expect.requests && len(expect.Requests) != len(r.Requests) {
		r.problem("requests: %d expected, got %d: %q", len(expect.Requests), len(r.Requests), r.Requests)
		return
	}
	for i, want := range expect.Requests {
		got := r.Requests[i]
		if strings.Count(want, " ") == 1 { // without a body
			got = strings.Join(strings.SplitN(got, " ", 3)[:2], " ")
		}
		r.compare(fmt.Sprintf("request %d", i+1), want, got)
	}
	for _, name := range slices.Sorted(maps.Keys(expect.Headers)) {
		for i, header := range headers {
			r.compare(fmt.Sprintf("header %s of request %d", name, i+1), expect.Headers[name], header.Get(name))
		}
	}
}

func (r *Report) compare(what, want, got string) {
	if want != got {
		r.problem("%s: %q expected, got %q", what, want, got)
	}
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// lines keeps what is logged.
type lines struct{ s *stage }

// Enabled implements slog.Handler.
func (*lines) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (l *lines) Handle(_ context.Context, record slog.Record) error {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	text := record.Message
	record.Attrs(func(a slog.Attr) bool {
		if a.Key == "line" {
			text = a.Value.String()
		}
		return true
	})
	quoted := strconv.Quote(text) // it is shown on terminals
	l.s.log = append(l.s.log, strings.ToLower(record.Level.String())+": "+strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`))
	return nil
}

// WithAttrs implements slog.Handler.
func (l *lines) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l *lines) WithGroup(string) slog.Handler { return l }
