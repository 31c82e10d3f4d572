package sandbox

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/sys"

	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// Call is what one attempt is asked, and what it may use.
type Call struct {
	// Fields is what get returns, such as "user" or "client.ip".
	Fields map[string]string
	// Settings is the method's settings = { ... }: strings, bool, float64, []any and map[string]any.
	Settings map[string]any
	// Password goes into the sandbox only if SeesPassword; it is masked in logs in any case.
	Password     secret.Text
	SeesPassword bool
	// Reach is what the plugin may reach over the network. Nil: nothing.
	Reach *Reach
	// Verify answers the guest's verify. Nil: nothing is enrolled.
	Verify func(ctx context.Context, what string) (Verified, error)
	// Ask answers the guest's ask: whether an approver says yes. Nil: it may not ask.
	Ask func(ctx context.Context, prompt string) (bool, error)
	// Claim hears whom a request goes to, before it is sent; an error ends the attempt, as it is. Nil: nobody does.
	Claim func(ctx context.Context, person string) error
	// Settle lets Run return only when an attempt that was given up has taken back what it sent.
	Settle bool
	// Approval hears each change of the approval that the plugin reports, once. Nil: nobody does.
	Approval func(Approval)
	// Debug logs what the guest reads, sets and asks for, and what it is answered, with secrets masked.
	Debug bool
	// Log gets what the guest logs, bounded, escaped and masked.
	Log *slog.Logger
	// Clock is the time outside. Nil: the real one.
	Clock Clock
}

// Clock is the time outside of the sandbox; tests have their own.
type Clock interface {
	Now() time.Time
	// Sleep waits, or returns the context's cause if that ends first.
	Sleep(ctx context.Context, d time.Duration) error
}

type realClock struct{}

// Now implements [Clock].
func (realClock) Now() time.Time { return time.Now() }

// Sleep implements [Clock].
func (realClock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Approval is a second factor that a person answers, as the plugin reports it.
type Approval struct {
	State  string // requested, delivered, approved, denied, expired, suspended or frozen
	Ref    string // what the other system calls it
	Prompt string // what the person compares
}

// Verified is the answer to a guest's verify.
type Verified struct {
	Code   int32             // sdk.VerifyRight and so on
	Reason string            // why not right
	Fields map[string]string // account.NAME, readable from then on if right
	Groups []string          // account.groups
}

// Result is what an attempt came to. Fields are those that the guest set, such as "reason" or "account.home".
type Result struct {
	Verdict sdk.Verdict
	Fields  map[string]string
	// Verified is whether the host said in this attempt that the password is right.
	Verified bool
	Stats    Stats
}

// Stats are what an attempt used.
type Stats struct {
	Runs     int           `json:"runs"`
	CPU      time.Duration `json:"cpu_ns"`         // executing, all runs
	Memory   int           `json:"memory_bytes"`   // linear memory at the end
	Recorded int           `json:"recorded_bytes"` // of answers
}

// Errors of Run that say nothing of the plugin's health.
var (
	ErrFailed     = errors.New("plugin says that it failed")
	ErrNobody     = errors.New("there is nobody to ask") // of Call.Ask
	ErrOverloaded = errors.New("too many answers are kept for attempts that wait")
)

// Run asks the plugin for a verdict. An error means that it could not decide: it crashed, ran over a
// limit (ErrLimit), or the context ended; the verdict then is Fail.
//
// Where the plugin waits for the host, its instance is given back, and when the answer is there it
// runs again from the start; RATIONALE.md, "Why does a login run twice?". If the context ends in the
// meantime, and the plugin had sent something, it may still clean up for a short time.
func (p *Plugin) Run(ctx context.Context, call Call) (Result, error) {
	if err := p.enter(); err != nil {
		return Result{}, err
	}
	a := p.newAttempt(call)
	result, err := a.run(ctx)
	result.Stats = a.stats
	if ctx.Err() != nil && a.sent && err != nil { // with a verdict there is nothing left to take back
		withdraw := func() {
			defer a.end()
			a.withdraw(context.WithoutCancel(ctx))
		}
		if call.Settle {
			withdraw()
		} else {
			p.runtime.withdrawing.Go(withdraw)
		}
		return Result{Stats: result.Stats}, context.Cause(ctx)
	}
	defer a.end()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx) // the guest may have taken the end for an answer
	}
	if err != nil {
		return Result{Stats: a.stats}, err
	}
	return result, nil
}

// attempt is one question to a plugin, over as many runs as it takes.
type attempt struct {
	plugin *Plugin
	call   Call
	wall   time.Time     // the plugin's clock at the start of each run
	mono   time.Duration // the same, monotonic
	key    [32]byte      // of its randomness
	record record
	stats  Stats

	secrets  []string      // masked in what it logs
	last     string        // the first warning, for the error message
	refused  map[int]int32 // HTTP requests that were not sent, by number, with the code
	sent     bool          // something went out that the plugin may want to take back
	flying   chan *said    // the answer that was under way when the attempt was given up
	flown    *suspension   // and the call that it is for
	givenUp  bool
	told     int    // the call that heard so, counted within a run; 0: none
	withdrew int    // HTTP requests since
	claimed  string // whom its request goes to
	opened   bool   // it has a place among those with sockets
}

// suspension is a run that waits for the host.
type suspension struct {
	call   waitingCall
	person string // whom the call goes to, if it says so
	work   func(ctx context.Context) *said
	until  time.Duration // the plugin's clock: it slept before
	calls  digest
}

func (p *Plugin) newAttempt(call Call) *attempt {
	if call.Clock == nil {
		call.Clock = realClock{}
	}
	a := &attempt{plugin: p, call: call, wall: call.Clock.Now(), mono: p.runtime.now(), record: record{total: &p.runtime.recorded}, secrets: p.secrets(call)}
	_, _ = rand.Read(a.key[:])
	return a
}

// run makes runs until there is a verdict.
func (a *attempt) run(ctx context.Context) (Result, error) {
	for a.stats.Runs < a.plugin.limits.Runs {
		result, wait, err := a.once(ctx)
		if err != nil {
			return Result{}, err
		}
		if wait == nil {
			return result, nil
		}
		if err := a.await(ctx, wait); err != nil {
			return Result{}, err
		}
	}
	return Result{}, overLimit("runs", a.stats.Runs+1, a.plugin.limits.Runs)
}

// await waits until the plugin's sleep is over, and for the host's answer.
func (a *attempt) await(ctx context.Context, w *suspension) error {
	if w.call == callHTTP {
		a.record.forgetResponses() // nobody can read them any more, and the plugin may sleep for long
	}
	if err := a.sleepUntil(ctx, w.until); err != nil {
		return err
	}
	if err := a.claim(ctx, w.call, w.person); err != nil {
		return err
	}
	switch w.call {
	case callVerify, callAsk:
		return a.record.add(w.work(ctx), a.elapsed(), w.calls)
	case callDial:
		if err := a.enterOpen(ctx); err != nil {
			return err
		}
		return a.record.add(&said{call: callDial}, a.elapsed(), w.calls)
	case callHTTP:
	}
	if err := a.call.Reach.enter(ctx); err != nil {
		return err
	}
	a.sent = true
	done := make(chan *said, 1)
	go func() { // what was begun comes to its end: else nobody knows what to take back
		defer a.call.Reach.leave()
		done <- w.work(context.WithoutCancel(ctx))
	}()
	select {
	case s := <-done:
		return a.record.add(s, a.elapsed(), w.calls)
	case <-ctx.Done():
		a.flying, a.flown = done, w
		return context.Cause(ctx)
	}
}

// claim sees to it that nobody else asks the same person, from the first call outside that goes to them.
func (a *attempt) claim(ctx context.Context, call waitingCall, person string) error {
	if person == "" || person == a.claimed || a.call.Claim == nil || call != callHTTP && call != callAsk {
		return nil
	}
	if err := a.call.Claim(ctx, person); err != nil {
		return err
	}
	a.claimed = person
	return nil
}

// enterOpen takes one of the few places of attempts with sockets, while no instance is held.
func (a *attempt) enterOpen(ctx context.Context) error {
	select {
	case a.plugin.open <- struct{}{}:
		a.opened = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end forgets what the attempt recorded, and gives back what it holds.
func (a *attempt) end() {
	a.record.wipe()
	if a.opened {
		<-a.plugin.open
	}
	a.plugin.leave()
}

// elapsed is the time outside since the start of the attempt, in whole milliseconds.
func (a *attempt) elapsed() time.Duration {
	return a.call.Clock.Now().Sub(a.wall).Truncate(time.Millisecond)
}

func (a *attempt) sleepUntil(ctx context.Context, until time.Duration) error {
	if d := until - a.call.Clock.Now().Sub(a.wall); d > 0 {
		return a.call.Clock.Sleep(ctx, d)
	}
	return nil
}

// withdraw lets the plugin clean up after an attempt that was given up. Its verdict is nobody's.
func (a *attempt) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, a.plugin.limits.HTTP+a.plugin.limits.Withdraw, errors.New("no time left to withdraw"))
	defer cancel()
	if a.flying != nil {
		if err := a.record.add(<-a.flying, a.elapsed(), a.flown.calls); err != nil {
			return
		}
	}
	ctx, cancel = context.WithTimeoutCause(ctx, a.plugin.limits.Withdraw, errors.New("no time left to withdraw"))
	defer cancel()
	a.givenUp, a.stats.Runs = true, 0
	if _, err := a.run(ctx); err != nil && a.call.Log != nil {
		a.call.Log.Warn("attempt given up, and the plugin did not end in order", "err", err)
	}
}

// once runs the plugin from the start to its verdict, or to where it waits for an answer that is not recorded.
func (a *attempt) once(ctx context.Context) (_ Result, _ *suspension, err error) {
	a.stats.Runs++
	g, ctx, end := a.newGuest(ctx, a.plugin.limits.Run)
	defer end()
	if err := g.clock.resume(ctx); err != nil {
		return Result{}, nil, err
	}
	verdict, err := a.execute(ctx, g)
	g.clock.pause()
	a.record.forgetParsed()
	a.stats.CPU += a.plugin.limits.Run - g.clock.left
	a.stats.Recorded = a.record.bytes
	switch {
	case g.suspended != nil:
		return Result{}, g.suspended, nil
	case err != nil:
		return Result{}, nil, err
	case g.next < len(a.record.answers):
		return Result{}, nil, errOtherWay
	}
	if !g.holding && !a.givenUp {
		if err := a.sleepUntil(ctx, g.now); err != nil {
			return Result{}, nil, err
		}
	}
	result, err := g.result(verdict)
	return result, nil, err
}

// execute holds the instance.
func (a *attempt) execute(ctx context.Context, g *guest) (verdict int32, err error) {
	a.plugin.runtime.runs.Add(1)
	i, err := a.plugin.take(ctx)
	if err != nil {
		return 0, g.explain(ctx, err)
	}
	defer func() {
		g.clock.pause()
		g.closeSockets()
		a.stats.Memory = int(i.module.Memory().Size())
		a.plugin.put(ctx, i, ctx.Err() == nil && (err == nil || g.suspended != nil))
	}()
	i.memory.heed(ctx)
	g.keys = i.keys
	g.started = true
	results, err := i.module.ExportedFunction(sdk.ExportAuthenticate).Call(ctx) // with a stack of its own, which a run may have made large
	g.flush()
	if err == nil {
		err = context.Cause(ctx) // it came to its end behind the deadline: between two checks
	}
	if err != nil {
		if g.suspended != nil && ctx.Err() == nil {
			return 0, err
		}
		g.suspended = nil
		return 0, g.explain(ctx, err)
	}
	return int32(uint32(results[0])), nil
}

// result turns what the guest returned into a verdict.
func (g *guest) result(verdict int32) (Result, error) {
	result := Result{Verdict: sdk.Verdict(verdict), Fields: g.set, Verified: g.verified != nil}
	switch result.Verdict {
	case sdk.Accept, sdk.Reject, sdk.Unknown:
		return result, nil
	case sdk.Fail:
		if g.last != "" {
			return Result{}, fmt.Errorf("%w: %s", ErrFailed, g.last)
		}
		return Result{}, ErrFailed
	}
	return Result{}, fmt.Errorf("plugin returned %d, which is no verdict", verdict)
}

// newGuest makes the host's side of one run, with a context that ends when its time is over.
func (a *attempt) newGuest(ctx context.Context, limit time.Duration) (*guest, context.Context, func()) {
	g := &guest{attempt: a, set: map[string]string{}, calls: calls{hash: sha256.New()}}
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, guestKey{}, g))
	g.ctx = ctx
	g.clock = &stepClock{slots: a.plugin.runtime.slots, left: limit, expire: func() {
		cancel(fmt.Errorf("%w: ran for more than %v; limits { run } changes it (a plugin's clock stands while it runs: a loop that waits for a time never ends, but sleep does)", ErrLimit, limit))
	}}
	return g, ctx, func() { g.clock.pause(); cancel(nil) }
}

// random fills p from the attempt's stream of random bytes, which is the same in each run.
func (g *guest) random(p []byte) {
	if g.stream == nil {
		block, err := aes.NewCipher(g.key[:])
		if err != nil {
			panic(err) // 32 bytes are a key
		}
		g.stream = cipher.NewCTR(block, make([]byte, aes.BlockSize))
	}
	clear(p)
	g.stream.XORKeyStream(p, p)
}

// explain turns what wazero says into what an author and an administrator can use: the guest's own
// words first, then what it means, then what to do.
func (g *guest) explain(ctx context.Context, err error) error {
	if g.failure != nil {
		return g.failure
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return g.withLastWords(fmt.Errorf("plugin ended itself with exit code %d%s", exit.ExitCode(), hint(g.last)))
	}
	first, _, _ := strings.Cut(err.Error(), "\n") // the rest is a stack of numbers
	first = strings.TrimSuffix(strings.TrimPrefix(first, "wasm error: "), " (recovered by wazero)")
	return g.withLastWords(fmt.Errorf("plugin crashed: %s%s", first, hint(first+g.last)))
}

// hint says what a crash means, by what the guest or the engine says of it.
func hint(text string) string {
	for _, h := range [][2]string{
		{"all goroutines are asleep", "a deadlock: it waits for something that only another call could bring"},
		{"out of memory", "it needs more than limits { memory }, or keeps what it no longer needs"},
		{"stack overflow", "it calls itself without an end"},
		{"out of bounds memory", "it reads or writes outside of its memory"},
		{"unreachable", "a panic, an abort or a failed assertion: what it wrote says which"},
		{"indirect call type mismatch", "it calls a function through a damaged pointer"},
		{"integer divide by zero", "it divides by zero"},
	} {
		if strings.Contains(text, h[0]) {
			return " (" + h[1] + ")"
		}
	}
	return ""
}

// withLastWords begins with the first warning that the guest wrote: a Go plugin's panic, for example.
func (g *guest) withLastWords(err error) error {
	if g.last == "" {
		return err
	}
	return fmt.Errorf("it wrote %q: %w", g.last, err)
}

// stepClock counts the time that a guest executes, and holds a slot meanwhile.
type stepClock struct {
	slots  chan struct{}
	left   time.Duration
	expire func()
	since  time.Time
	timer  *time.Timer
}

func (c *stepClock) resume(ctx context.Context) error {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.since = time.Now()
	c.timer = time.AfterFunc(max(0, c.left), c.expire)
	return nil
}

// pause gives the slot back. Called again before resume it does nothing.
func (c *stepClock) pause() {
	if c.timer == nil {
		return
	}
	c.timer.Stop()
	c.timer = nil
	c.left -= time.Since(c.since)
	<-c.slots
}

// outside runs f without the slot and off the clock: in the host's time, not the guest's.
func (c *stepClock) outside(ctx context.Context, f func()) {
	c.pause()
	f()
	_ = c.resume(ctx) // if the context is over, the guest is stopped at its next check
}
