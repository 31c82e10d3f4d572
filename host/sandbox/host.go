package sandbox

import (
	"context"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// guest is one run as the host functions see it. A guest is single-threaded, so nothing is locked.
type guest struct {
	*attempt
	ctx        context.Context // of the run; the writers of stdout and stderr get none
	clock      *stepClock
	describing bool
	started    bool // _initialize is over: before that nothing is granted

	keys     map[string]string // names of fields that it has used; the instance's
	calls    calls
	stream   cipher.Stream // its randomness, once it has asked for some
	next     int           // recorded answers that it has heard
	nth      int           // calls at which it could wait
	requests int           // HTTP requests that it wanted to make
	now      time.Duration // its clock, since the start of the attempt

	set      map[string]string
	setBytes int
	response *said            // the latest of http
	asked    map[string]*said // of verify: it can't change within an attempt
	checked  *said            // the latest of them
	verified *Verified
	logs     int
	out, err lineWriter

	approval  Approval // the latest
	approvals int      // changes of it

	suspended *suspension // why the run ends before its verdict
	failure   error       // why the host ended it

	holding bool // sockets were used: nothing suspends any more, and the clock is real
	held    time.Time
	sockets map[int32]*socket
	ready   chan struct{} // a socket changed
}

type guestKey struct{}

type hostFunction struct {
	params, results []api.ValueType
	call            api.GoModuleFunc
}

// arguments are what a guest passes: numbers, and pieces of its memory.
type arguments struct {
	stack  []uint64
	memory api.Memory
}

func (a arguments) u32(n int) uint32  { return uint32(a.stack[n]) }
func (a arguments) span(n int) span   { return span{a.memory, a.u32(n), a.u32(n + 1)} }
func (a arguments) answer(code int32) { a.stack[0] = api.EncodeI32(code) }

// guestOf finds whose call it is. It ends a guest whose time is over: calls in a row have no tick between.
func guestOf(ctx context.Context) *guest {
	g := ctx.Value(guestKey{}).(*guest)
	if ctx.Err() != nil {
		panic(sys.NewExitError(sys.ExitCodeDeadlineExceeded))
	}
	return g
}

// hostFunctions are the imports of the contract.
func hostFunctions() map[string]hostFunction {
	i32 := func(n int) []api.ValueType { return valueTypes(strings.Repeat("i", n)) }
	function := func(params int, f func(g *guest, a arguments) int32) hostFunction {
		return hostFunction{i32(params), i32(1), func(ctx context.Context, m api.Module, stack []uint64) {
			a := arguments{stack, m.Memory()}
			a.answer(f(guestOf(ctx), a))
		}}
	}
	return map[string]hostFunction{
		"get":       function(4, func(g *guest, a arguments) int32 { return g.importGet(a.span(0), a.span(2)) }),
		"set":       function(4, func(g *guest, a arguments) int32 { return g.importSet(a.span(0), a.span(2)) }),
		"http":      function(0, func(g *guest, _ arguments) int32 { return g.importHTTP() }),
		"sleep":     function(1, func(g *guest, a arguments) int32 { return g.importSleep(a.u32(0)) }),
		"verify":    function(2, func(g *guest, a arguments) int32 { return g.importVerify(a.span(0)) }),
		"ask":       function(0, func(g *guest, _ arguments) int32 { return g.importAsk() }),
		"dial":      function(2, func(g *guest, a arguments) int32 { return g.importDial(a.span(0)) }),
		"start_tls": function(3, func(g *guest, a arguments) int32 { return g.importStartTLS(int32(a.u32(0)), a.span(1)) }),
		"log": {i32(3), nil, func(ctx context.Context, m api.Module, stack []uint64) {
			a := arguments{stack, m.Memory()}
			guestOf(ctx).importLog(int32(a.u32(0)), a.span(1))
		}},
	}
}

// span is a piece of the guest's memory that the guest names.
type span struct {
	memory   api.Memory
	at, size uint32
}

// bytes is the piece itself, or nil and the code that says why not.
func (s span) bytes(most uint32) ([]byte, int32) {
	if s.size > most {
		return nil, sdk.CodeOverLimit
	}
	if s.memory == nil {
		return nil, sdk.CodeBadPointer
	}
	view, ok := s.memory.Read(s.at, s.size)
	if !ok {
		return nil, sdk.CodeBadPointer
	}
	return view, 0
}

// key is text for the names of fields. Those of HTTP are few and come again in each run: they are copied once.
func (s span) key(known map[string]string) (string, int32) {
	view, code := s.bytes(sdk.MaxKey)
	if code < 0 {
		return "", code
	}
	if name, ok := known[string(view)]; ok {
		return name, 0
	}
	name := string(view)
	if known != nil && len(known) < maxKeys && strings.HasPrefix(name, "http.") {
		known[name] = name
	}
	return name, 0
}

// text copies the piece out.
func (s span) text(most uint32) (string, int32) {
	view, code := s.bytes(most)
	return string(view), code
}

// live reports whether the guest does something for the first time: it has heard all answers so far.
func (g *guest) live() bool { return g.next == len(g.record.answers) }

// loading reports whether the guest is only initialized or described: nothing is granted then.
func (g *guest) loading() bool { return g.describing || !g.started }

// fail ends the run.
func (g *guest) fail(err error) {
	g.failure = err
	panic(sys.NewExitError(1))
}

// heard is the start of each call at which a guest waits for the host: what it heard there in the run before,
// or GIVEN_UP. Nil: it has to wait.
func (g *guest) heard(call waitingCall) *said {
	g.nth++
	if g.told != 0 && g.nth == g.told {
		return &said{call: call, code: sdk.CodeGivenUp}
	}
	if !g.live() {
		answer := &g.record.answers[g.next]
		g.next++
		if answer.call != call || (g.live() && g.calls.sum() != g.record.calls) {
			g.fail(errOtherWay)
		}
		g.now = max(g.now, answer.at)
		return answer.said
	}
	if g.givenUp && !g.holding && !g.mayWithdraw(call, g.set[requestPrefix+"withdraw"] == "true") {
		return &said{call: call, code: sdk.CodeGivenUp}
	}
	return nil
}

// wait lets the host work. The run ends here, and another one comes this way when the answer is there.
func (g *guest) wait(call waitingCall, work func(ctx context.Context) *said) (s *said) {
	if g.holding {
		return g.waitHolding(call, work)
	}
	g.suspended = &suspension{call: call, person: g.set[personField], work: work, until: g.now, calls: g.calls.sum()}
	panic(sys.NewExitError(1))
}

// waitHolding is wait of a run that is not suspended any more. It may not do so more often than others.
func (g *guest) waitHolding(call waitingCall, work func(ctx context.Context) *said) (s *said) {
	g.countOutside()
	var busy error
	g.clock.outside(g.ctx, func() {
		if busy = g.claim(g.ctx, call, g.set[personField]); busy != nil {
			return
		}
		if call == callHTTP {
			if err := g.call.Reach.enter(g.ctx); err != nil {
				s = &said{call: call, code: sdk.CodeFailed}
				return
			}
			defer g.call.Reach.leave()
		}
		s = work(g.ctx)
	})
	if busy != nil {
		g.fail(busy)
	}
	return s
}

// countOutside bounds what a run with sockets does outside, which its own time does not.
func (g *guest) countOutside() {
	if g.stats.Runs++; g.stats.Runs > g.plugin.limits.Runs {
		g.fail(overLimit("runs", g.stats.Runs, g.plugin.limits.Runs))
	}
}

// mayWithdraw reports whether an attempt that was given up may make this call. A guest has two HTTP requests
// then: those that it marks as withdrawing something, or any after a first call told it.
func (g *guest) mayWithdraw(call waitingCall, marked bool) bool {
	marked = marked && call == callHTTP
	if g.told == 0 && !marked {
		g.told = g.nth
		return false
	}
	if call != callHTTP || g.withdrew >= withdrawals {
		return false
	}
	g.withdrew++
	return true
}

// importSleep moves the guest's clock; the host waits before it does the next thing outside.
func (g *guest) importSleep(ms uint32) int32 {
	if g.loading() {
		return sdk.CodeBadState
	}
	g.calls.note("sleep")
	g.nth++
	if g.givenUp && g.live() && g.told == 0 {
		g.told = g.nth
	}
	if g.told != 0 && g.nth >= g.told {
		return sdk.CodeGivenUp
	}
	g.sleep(time.Duration(ms) * time.Millisecond)
	return 0
}

const maxSleep = 24 * time.Hour

func (g *guest) sleep(d time.Duration) {
	d = min(d, maxSleep)
	if g.holding {
		g.clock.outside(g.ctx, func() { _ = g.call.Clock.Sleep(g.ctx, d) })
		return
	}
	g.now = min(g.now+d, maxSleep)
}

// time is the guest's clock since the start of the attempt.
func (g *guest) time() time.Duration {
	if g.holding {
		return g.now + g.call.Clock.Now().Sub(g.held).Truncate(time.Millisecond)
	}
	return g.now
}

// importVerify lets the host check the attempt's password, or its one-time code.
func (g *guest) importVerify(what span) int32 {
	name, code := what.text(sdk.MaxKey)
	if code < 0 {
		return code
	}
	if g.loading() {
		return sdk.CodeBadState
	}
	if name != "password" && name != "code" {
		return sdk.CodeUnknownKey
	}
	g.calls.note("verify", name)
	if s := g.asked[name]; s != nil {
		g.checked = s
		return s.code
	}
	s := g.heard(callVerify)
	if s == nil {
		s = g.wait(callVerify, func(ctx context.Context) *said { return g.attempt.doVerify(ctx, name) })
	}
	if s.code == sdk.CodeGivenUp {
		return s.code
	}
	if g.asked == nil {
		g.asked = map[string]*said{}
	}
	g.asked[name], g.checked = s, s
	if s.code == sdk.VerifyRight && name == "password" {
		g.verified = s.verified
	}
	return s.code
}

func (a *attempt) doVerify(ctx context.Context, what string) *said {
	if a.call.Verify == nil {
		return &said{call: callVerify, code: sdk.VerifyNotEnrolled}
	}
	verified, err := a.call.Verify(ctx, what)
	if err != nil {
		a.logHost(ctx, slog.LevelError, "verify: "+err.Error())
		return &said{call: callVerify, code: sdk.CodeFailed}
	}
	return &said{call: callVerify, code: verified.Code, verified: &verified}
}

// importAsk lets the host ask an approver.
func (g *guest) importAsk() int32 {
	if g.loading() {
		return sdk.CodeBadState
	}
	if g.call.Ask == nil {
		return sdk.CodeNotGranted
	}
	g.calls.note("ask")
	if s := g.heard(callAsk); s != nil {
		return s.code
	}
	return g.wait(callAsk, g.doAsk(g.set["ask.prompt"])).code
}

func (a *attempt) doAsk(prompt string) func(ctx context.Context) *said {
	return func(ctx context.Context) *said {
		yes, err := a.call.Ask(ctx, prompt)
		switch {
		case errors.Is(err, ErrNobody):
			return &said{call: callAsk, code: sdk.CodeAbsent}
		case err != nil:
			a.logHost(ctx, slog.LevelError, "ask: "+err.Error())
			return &said{call: callAsk, code: sdk.CodeFailed}
		case yes:
			return &said{call: callAsk, code: sdk.AskYes}
		}
		return &said{call: callAsk, code: sdk.AskNo}
	}
}

// importHTTP sends what the guest set as http.request.*; the answer is in http.response.* after it.
func (g *guest) importHTTP() int32 {
	if g.loading() {
		return sdk.CodeBadState
	}
	g.calls.note("http")
	s, code := g.exchange()
	g.clearRequest()
	g.response = nil
	if code >= 0 {
		g.response = s
	}
	return code
}

// exchange finds the answer to what the guest has set. A request that is only repeated is not made again:
// it was refused the first time, or its answer is recorded.
func (g *guest) exchange() (*said, int32) {
	g.requests++
	if code := g.refused[g.requests]; code < 0 {
		return nil, code
	}
	if s := g.heard(callHTTP); s != nil {
		g.noteWhy(s)
		return s, s.code
	}
	request, err := g.request()
	if err != nil {
		g.log(slog.LevelWarn, "http: "+err.text)
		if g.refused == nil {
			g.refused = map[int]int32{}
		}
		g.refused[g.requests] = err.code
		return nil, err.code
	}
	if request.basic { // as it stands in the header
		g.secrets = append(g.secrets, base64.StdEncoding.EncodeToString([]byte(request.username+":"+request.password)))
	}
	if g.call.Debug {
		g.debug("http: %s %s", request.method, g.set[requestPrefix+"url"])
	}
	s := g.wait(callHTTP, g.doHTTP(request))
	g.noteWhy(s)
	return s, s.code
}

// noteWhy keeps why something failed outside: the guest, which was told only that it did, may fail for it.
func (g *guest) noteWhy(s *said) {
	if s.why != "" && g.last == "" {
		g.last = g.mask(s.why)
	}
}

// doHTTP must not hold the guest: many requests wait to be sent.
func (a *attempt) doHTTP(request *request) func(ctx context.Context) *said {
	return func(ctx context.Context) *said {
		response, err := a.call.Reach.do(ctx, a.plugin.limits, request)
		if err != nil {
			a.logHost(ctx, slog.LevelWarn, "http: "+err.text)
			return &said{call: callHTTP, code: err.code, why: err.text}
		}
		a.debugResponse(response)
		return &said{call: callHTTP, code: int32(response.status), whole: response}
	}
}

func (g *guest) clearRequest() {
	for key, value := range g.set {
		if strings.HasPrefix(key, requestPrefix) {
			g.setBytes -= len(key) + len(value)
			delete(g.set, key)
		}
	}
}
