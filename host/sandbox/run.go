package sandbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/sys"

	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// ErrLimit says that a plugin used more than it may; the text says of what.
var ErrLimit = errors.New("over a limit")

// Call is what one run is asked, and what it may use.
type Call struct {
	// Fields is what get returns, such as "user" or "client.ip".
	Fields map[string]string
	// Settings is the method's settings = { ... }: strings, bool, float64, []any and map[string]any.
	Settings map[string]any
	// Password goes into the sandbox only if SeesPassword; it is masked in logs in any case.
	Password     secret.Text
	SeesPassword bool
	// Verify answers the guest's verify. Nil: nothing is enrolled.
	Verify func(ctx context.Context, what string) (Verified, error)
	// Log gets what the guest logs, bounded, escaped and masked.
	Log *slog.Logger
}

// Verified is the answer to a guest's verify.
type Verified struct {
	Code   int32             // sdk.VerifyRight and so on
	Reason string            // why not right
	Fields map[string]string // account.NAME, readable from then on if right
	Groups []string          // account.groups
}

// Result is what a run came to. Fields are those that the guest set, such as "reason" or "account.home".
type Result struct {
	Verdict sdk.Verdict
	Fields  map[string]string
	// Verified is whether the host said in this run that the password is right.
	Verified bool
}

// Run asks the plugin once. An error means that it could not decide: it crashed, ran over a
// limit (ErrLimit), or the context ended; the verdict then is Fail.
func (p *Plugin) Run(ctx context.Context, call Call) (Result, error) {
	g := &guest{runtime: p.runtime, call: call, set: map[string]string{}, secrets: p.secrets(call)}
	verdict, err := p.enter(ctx, g, sdk.ExportAuthenticate, p.runtime.limits.Run)
	if err == nil {
		err = context.Cause(ctx) // the guest may have taken the end for an answer
	}
	if err != nil {
		return Result{}, err
	}
	result := Result{Verdict: sdk.Verdict(verdict), Fields: g.set, Verified: g.verified != nil}
	switch result.Verdict {
	case sdk.Accept, sdk.Reject, sdk.Unknown:
		return result, nil
	case sdk.Fail:
		return Result{}, withLastWords(g, errors.New("plugin says that it failed"))
	}
	return Result{}, fmt.Errorf("plugin returned %d, which is no verdict", verdict)
}

func (p *Plugin) describe(ctx context.Context, describes bool) (Description, error) {
	g := &guest{runtime: p.runtime, call: Call{Log: slog.New(slog.DiscardHandler)}, set: map[string]string{}, describing: true}
	export := sdk.ExportDescribe
	if !describes {
		export = "" // _initialize only
	}
	if _, err := p.enter(ctx, g, export, p.runtime.limits.Load); err != nil {
		return Description{}, err
	}
	for key, value := range g.set { // it is shown on terminals
		if strings.ContainsFunc(key+value, unicode.IsControl) || !utf8.ValidString(key+value) {
			return Description{}, fmt.Errorf("%.40q holds control characters", key)
		}
	}
	d := Description{Name: g.set["describe.name"], Version: g.set["describe.version"]}
	if describes {
		d.Settings = map[string]Setting{}
	}
	for key, value := range g.set {
		name, ok := strings.CutPrefix(key, "describe.setting.")
		if !ok {
			continue
		}
		words := strings.Fields(value)
		if len(words) == 0 {
			return Description{}, fmt.Errorf("describe.setting.%s has no type", name)
		}
		setting := Setting{Type: sdk.SettingType(words[0])}
		for _, word := range words[1:] {
			setting.Required = setting.Required || word == "required"
			setting.Secret = setting.Secret || word == "secret"
		}
		d.Settings[name] = setting
	}
	return d, nil
}

// enter makes an instance, calls _initialize and one export, and throws the instance away.
func (p *Plugin) enter(ctx context.Context, g *guest, export string, limit time.Duration) (result int32, err error) {
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, guestKey{}, g))
	defer cancel(nil)
	g.ctx = ctx
	g.clock = &stepClock{slots: p.runtime.slots, left: limit, expire: func() {
		cancel(fmt.Errorf("%w: ran for more than %v", ErrLimit, limit))
	}}
	select {
	case p.runtime.places <- struct{}{}:
		defer func() { <-p.runtime.places }()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	if err := g.clock.resume(ctx); err != nil {
		return 0, err
	}
	defer g.clock.pause()
	defer func() { err = explain(ctx, g, err) }()

	instance, err := p.runtime.engine.InstantiateModule(ctx, p.compiled, p.config(ctx, g))
	if err != nil {
		return 0, err
	}
	// Only after the call has returned: closing frees the memory at once.
	defer func() { _ = instance.Close(ctx) }()
	if p.reactor {
		if _, err := instance.ExportedFunction(sdk.ExportInitialize).Call(ctx); err != nil {
			return 0, err
		}
	}
	if export == "" {
		return 0, nil
	}
	g.started = true
	results, err := instance.ExportedFunction(export).Call(ctx)
	if err == nil {
		err = context.Cause(ctx) // it came to its end behind the deadline: between two checks
	}
	if err != nil || len(results) == 0 {
		return 0, err
	}
	return int32(uint32(results[0])), nil
}

func (p *Plugin) config(ctx context.Context, g *guest) wazero.ModuleConfig {
	return wazero.NewModuleConfig().
		WithName("").         // anonymous: many at once
		WithStartFunctions(). // none: enter calls _initialize itself
		WithStdout(g.logWriter(slog.LevelInfo)).
		WithStderr(g.logWriter(slog.LevelWarn)).
		WithRandSource(rand.Reader).
		WithSysWalltime().
		WithSysNanotime().
		WithNanosleep(func(ns int64) { g.sleep(ctx, time.Duration(ns)) })
}

// explain turns what wazero says into what an administrator can use.
func explain(ctx context.Context, g *guest, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("plugin ended itself with exit code %d", exit.ExitCode())
	} else {
		first, _, _ := strings.Cut(err.Error(), "\n") // the rest is a stack of numbers
		err = fmt.Errorf("plugin crashed: %s", strings.TrimSuffix(first, " (recovered by wazero)"))
	}
	return withLastWords(g, err)
}

// withLastWords adds the first warning that the guest wrote: a Go plugin's panic, for example.
func withLastWords(g *guest, err error) error {
	if g.last == "" {
		return err
	}
	return fmt.Errorf("%w: it wrote %q", err, g.last)
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

// maxLine is how much of a line is looked at. More than is shown, so that a password at the cut is
// masked before the line is cut.
const maxLine = sdk.MaxLog + 8<<10

// secrets are what must not be seen in a log line: the password, and settings marked secret.
func (p *Plugin) secrets(call Call) []string {
	secrets := []string{call.Password.Reveal()}
	for name, setting := range p.description.Settings {
		if value, ok := call.Settings[name].(string); ok && setting.Secret {
			secrets = append(secrets, value)
		}
	}
	return secrets
}

// lineWriter logs what a guest writes to stdout or stderr, line by line.
type lineWriter struct {
	g     *guest
	level slog.Level
	line  []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, tail, ended := bytes.Cut(rest, []byte("\n"))
		if room := maxLine - len(w.line); room > 0 {
			w.line = append(w.line, line[:min(len(line), room)]...)
		}
		if ended {
			w.g.log(w.level, string(w.line))
			w.line = w.line[:0]
		}
		rest = tail
	}
	return len(p), nil
}
