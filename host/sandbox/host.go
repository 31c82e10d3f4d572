package sandbox

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// guest is one run as the host functions see it. A guest is single-threaded, so nothing is locked.
type guest struct {
	runtime    *Runtime
	ctx        context.Context // of the run; the writers of stdout and stderr get none
	call       Call
	clock      *stepClock
	describing bool
	started    bool // _initialize is over: before that nothing is granted

	set      map[string]string
	setBytes int
	asked    bool      // verify was called; its answer can't change within a run
	code     int32     // what it said
	verified *Verified // after the host said that the password is right
	reason   string    // why it said no
	secrets  []string
	logs     int
	last     string // the first warning, for the error message
}

type guestKey struct{}

type hostFunction struct {
	params, results []api.ValueType
	call            api.GoModuleFunc
}

// hostFunctions are the imports of the contract.
func hostFunctions() map[string]hostFunction {
	i32 := func(n int) []api.ValueType {
		types := make([]api.ValueType, n)
		for i := range types {
			types[i] = api.ValueTypeI32
		}
		return types
	}
	return map[string]hostFunction{
		"get": {i32(4), i32(1), func(ctx context.Context, m api.Module, stack []uint64) {
			stack[0] = answer(guestOf(ctx).importGet(m.Memory(), span{u32(stack[0]), u32(stack[1])}, span{u32(stack[2]), u32(stack[3])}))
		}},
		"set": {i32(4), i32(1), func(ctx context.Context, m api.Module, stack []uint64) {
			stack[0] = answer(guestOf(ctx).importSet(m.Memory(), span{u32(stack[0]), u32(stack[1])}, span{u32(stack[2]), u32(stack[3])}))
		}},
		"log": {i32(3), nil, func(ctx context.Context, m api.Module, stack []uint64) {
			guestOf(ctx).importLog(m.Memory(), int32(u32(stack[0])), span{u32(stack[1]), u32(stack[2])})
		}},
		"verify": {i32(2), i32(1), func(ctx context.Context, m api.Module, stack []uint64) {
			stack[0] = answer(guestOf(ctx).importVerify(ctx, m.Memory(), span{u32(stack[0]), u32(stack[1])}))
		}},
	}
}

func guestOf(ctx context.Context) *guest { return ctx.Value(guestKey{}).(*guest) }

func u32(v uint64) uint32 { return uint32(v) }

func answer(code int32) uint64 { return api.EncodeI32(code) }

// span is a piece of the guest's memory that the guest names.
type span struct{ at, size uint32 }

// text copies the span out, or returns the code that says why not.
func (s span) text(memory api.Memory, most uint32) (string, int32) {
	if s.size > most {
		return "", sdk.CodeOverLimit
	}
	if memory == nil {
		return "", sdk.CodeBadPointer
	}
	view, ok := memory.Read(s.at, s.size)
	if !ok {
		return "", sdk.CodeBadPointer
	}
	return string(view), 0
}

// importGet writes the field only if it fits, and returns its length either way.
func (g *guest) importGet(memory api.Memory, key, buf span) int32 {
	name, code := key.text(memory, sdk.MaxKey)
	if code < 0 {
		return code
	}
	value, code := g.field(name)
	if code < 0 {
		return code
	}
	if len(value) > sdk.MaxField {
		return sdk.CodeOverLimit
	}
	if uint64(buf.at)+uint64(buf.size) > uint64(memory.Size()) {
		return sdk.CodeBadPointer
	}
	if len(value) <= int(buf.size) && !memory.WriteString(buf.at, value) {
		return sdk.CodeBadPointer
	}
	return int32(len(value))
}

func (g *guest) field(name string) (string, int32) {
	if g.describing || !g.started {
		return "", sdk.CodeBadState
	}
	found := func(value string, ok bool) (string, int32) {
		if !ok {
			return "", sdk.CodeAbsent
		}
		return value, 0
	}
	switch {
	case name == "password":
		if !g.call.SeesPassword {
			return "", sdk.CodeNotGranted
		}
		return g.call.Password.Reveal(), 0
	case name == "verify.reason":
		return found(g.reason, g.reason != "")
	case strings.HasPrefix(name, "settings."):
		return found(render(g.call.Settings[strings.TrimPrefix(name, "settings.")]))
	case strings.HasPrefix(name, "settings:"):
		return found(render(resolve(g.call.Settings, strings.TrimPrefix(name, "settings:"))))
	case strings.HasPrefix(name, "account."):
		return found(g.accountField(strings.TrimPrefix(name, "account.")))
	}
	value, ok := g.call.Fields[name]
	return found(value, ok)
}

func (g *guest) accountField(name string) (string, bool) {
	if g.verified == nil {
		return "", false
	}
	if index, ok := strings.CutPrefix(name, "groups:/"); ok {
		i, err := strconv.Atoi(index)
		if err != nil || i < 0 || i >= len(g.verified.Groups) {
			return "", false
		}
		return g.verified.Groups[i], true
	}
	value, ok := g.verified.Fields[name]
	return value, ok
}

func (g *guest) importSet(memory api.Memory, key, value span) int32 {
	name, code := key.text(memory, sdk.MaxKey)
	if code < 0 {
		return code
	}
	text, code := value.text(memory, sdk.MaxField)
	if code < 0 {
		return code
	}
	if !g.settable(name) {
		return sdk.CodeUnknownKey
	}
	before, replaced := g.set[name]
	total := g.setBytes + len(text) - len(before)
	if !replaced {
		total += len(name)
	}
	if total > sdk.MaxFields {
		return sdk.CodeOverLimit
	}
	g.set[name], g.setBytes = text, total
	return 0
}

// settable is the table in sdk/ABI.md of what a plugin may set.
func (g *guest) settable(name string) bool {
	if g.describing {
		return name == "describe.name" || name == "describe.version" || strings.HasPrefix(name, "describe.setting.")
	}
	switch name {
	case "reason", "account.home", "account.groups", "account.permissions", "account.email":
		return true
	}
	return false
}

func (g *guest) importLog(memory api.Memory, level int32, message span) {
	message.size = min(message.size, maxLine)
	text, code := message.text(memory, maxLine)
	if code < 0 {
		return
	}
	levels := [...]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
	g.log(levels[max(0, min(int(level), len(levels)-1))], text)
}

// log passes one line on, masked and bounded; the handler escapes it.
func (g *guest) log(level slog.Level, line string) {
	line = g.mask(line)
	if level >= slog.LevelWarn && strings.TrimSpace(line) != "" && g.last == "" {
		g.last = line
	}
	if g.logs++; g.logs > sdk.MaxLogs || g.call.Log == nil {
		return
	}
	g.call.Log.Log(g.ctx, level, "plugin says", "line", line)
}

func (g *guest) mask(line string) string {
	for _, s := range g.secrets {
		quoted := strconv.Quote(s)
		for _, form := range []string{s, quoted[1 : len(quoted)-1]} {
			if form != "" {
				line = strings.ReplaceAll(line, form, "[secret]")
			}
		}
	}
	return strings.ToValidUTF8(line[:min(len(line), sdk.MaxLog)], "?")
}

func (g *guest) logWriter(level slog.Level) io.Writer { return &lineWriter{g: g, level: level} }

// importVerify lets the host check the attempt's password while the guest holds no slot.
func (g *guest) importVerify(ctx context.Context, memory api.Memory, what span) int32 {
	name, code := what.text(memory, sdk.MaxKey)
	if code < 0 {
		return code
	}
	if g.describing || !g.started {
		return sdk.CodeBadState
	}
	if name != "password" {
		return sdk.CodeUnknownKey
	}
	if g.asked {
		return g.code
	}
	g.asked, g.code = true, sdk.VerifyNotEnrolled
	if g.call.Verify == nil {
		return g.code
	}
	var verified Verified
	var err error
	g.clock.outside(ctx, func() { verified, err = g.call.Verify(ctx, name) })
	if err != nil {
		g.log(slog.LevelError, "verify: "+err.Error())
		g.code = sdk.CodeFailed
		return g.code
	}
	g.code, g.reason = verified.Code, verified.Reason
	if verified.Code == sdk.VerifyRight {
		g.verified = &verified
	}
	return g.code
}

// sleep is the guest's own waiting: off its clock, and over when the attempt is.
func (g *guest) sleep(ctx context.Context, d time.Duration) {
	g.clock.outside(ctx, func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	})
}

// render gives a setting as text: a string as it is, anything else as JSON.
func render(value any) (string, bool) {
	switch v := value.(type) {
	case nil:
		return "", false
	case string:
		return v, true
	}
	text, err := json.Marshal(value)
	return string(text), err == nil
}

// resolve follows a JSON pointer (RFC 6901) into the settings.
func resolve(root map[string]any, pointer string) any {
	var at any = root
	for _, part := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		switch v := at.(type) {
		case map[string]any:
			at = v[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			at = v[i]
		default:
			return nil
		}
	}
	return at
}
