package sandbox

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// The beginnings of field names.
const (
	requestPrefix  = "http.request."
	responsePrefix = "http.response."
	secretPrefix   = "secret."
	personField    = "approval.person"
)

// importGet writes the field only if it fits, and returns its length either way.
func (g *guest) importGet(key, buf span) int32 {
	name, code := key.key(g.keys)
	if code < 0 {
		return code
	}
	if g.loading() {
		return sdk.CodeBadState
	}
	g.calls.note("get", name)
	value, code := g.field(name)
	g.debugField("get", name, value, code)
	if code < 0 {
		return code
	}
	if len(value) > sdk.MaxField {
		return sdk.CodeOverLimit
	}
	if uint64(buf.at)+uint64(buf.size) > uint64(buf.memory.Size()) {
		return sdk.CodeBadPointer
	}
	if len(value) <= int(buf.size) {
		buf.memory.WriteString(buf.at, value)
	}
	return int32(len(value))
}

func found(value string, ok bool) (string, int32) {
	if !ok {
		return "", sdk.CodeAbsent
	}
	return value, 0
}

// field is the table in sdk/ABI.md of what a plugin may get.
func (g *guest) field(name string) (string, int32) {
	switch {
	case name == "password":
		if !g.call.SeesPassword {
			return "", sdk.CodeNotGranted
		}
		return g.call.Password.Reveal(), 0
	case name == "now":
		return strconv.FormatInt(g.wall.Add(g.time()).UnixMilli(), 10), 0
	case name == "verify.reason":
		return found(g.verifyReason())
	case strings.HasPrefix(name, "random:"):
		return g.randomField(strings.TrimPrefix(name, "random:"))
	case strings.HasPrefix(name, "settings."):
		return found(render(g.call.Settings[strings.TrimPrefix(name, "settings.")]))
	case strings.HasPrefix(name, "settings:"):
		return found(render(resolve(g.call.Settings, strings.TrimPrefix(name, "settings:"))))
	case strings.HasPrefix(name, "account."):
		return found(g.accountField(strings.TrimPrefix(name, "account.")))
	case strings.HasPrefix(name, responsePrefix):
		return g.responseField(strings.TrimPrefix(name, responsePrefix))
	case strings.HasPrefix(name, secretPrefix):
		if g.call.Reach.secret(strings.TrimPrefix(name, secretPrefix)) == nil {
			return "", sdk.CodeAbsent
		}
		return "", sdk.CodeNotGranted // by reference only
	}
	value, ok := g.call.Fields[name]
	return found(value, ok)
}

func (g *guest) verifyReason() (string, bool) {
	if g.checked == nil || g.checked.verified == nil || g.checked.verified.Reason == "" {
		return "", false
	}
	return g.checked.verified.Reason, true
}

func (g *guest) randomField(count string) (string, int32) {
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > maxRandom {
		return "", sdk.CodeUnknownKey
	}
	bytes := make([]byte, n)
	g.random(bytes)
	return string(bytes), 0
}

func (g *guest) responseField(name string) (string, int32) {
	if g.response == nil {
		return "", sdk.CodeAbsent
	}
	value, code, err := g.record.read(g.response, name, g.plugin.limits.Recorded)
	if err != nil {
		g.fail(err)
	}
	return value, code
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

func (g *guest) importSet(key, value span) int32 {
	name, code := key.key(g.keys)
	if code < 0 {
		return code
	}
	text, code := value.text(sdk.MaxField)
	if code < 0 {
		return code
	}
	g.calls.note("set", name, text)
	g.debugField("set", name, text, 0)
	if !g.settable(name) {
		g.log(slog.LevelInfo, "set: there is no field "+strconv.Quote(name)+" to set")
		return sdk.CodeUnknownKey
	}
	if name == "approval" && !slices.Contains(sdk.ApprovalStates(), text) {
		return sdk.CodeUnknownKey
	}
	before, replaced := g.set[name]
	if name == personField && replaced && before != text {
		return sdk.CodeBadState
	}
	if name == personField && len(text) > sdk.MaxKey {
		return sdk.CodeOverLimit
	}
	total := g.setBytes + len(text) - len(before)
	if !replaced {
		total += len(name)
	}
	if total > sdk.MaxFields {
		return sdk.CodeOverLimit
	}
	g.set[name], g.setBytes = text, total
	if name == "approval" {
		return g.tellApproval(text)
	}
	return 0
}

// tellApproval tells a change once, bounded and masked as a log line is. What it returns is the same in each run.
func (g *guest) tellApproval(state string) int32 {
	now := Approval{State: state, Ref: g.mask(g.set["approval.ref"]), Prompt: g.mask(g.set["approval.prompt"])}
	if now == g.approval {
		return 0
	}
	if g.approvals++; g.approvals > maxApprovals {
		return sdk.CodeOverLimit
	}
	g.approval = now
	if g.live() && g.call.Approval != nil {
		g.call.Approval(now)
	}
	return 0
}

// settable is the table in sdk/ABI.md of what a plugin may set.
func (g *guest) settable(name string) bool {
	if g.describing {
		return strings.HasPrefix(name, "describe.")
	}
	if attribute, ok := strings.CutPrefix(name, "account.attribute."); ok {
		return g.started && attribute != ""
	}
	switch name {
	case "reason", "account.name", "account.home", "account.create_home", "account.structure", "account.folders", "account.groups",
		"account.permissions", "account.rules", "account.email",
		"approval", "approval.ref", "approval.prompt", personField, "ask.prompt":
		return g.started
	}
	return g.started && isRequestField(strings.TrimPrefix(name, requestPrefix)) && strings.HasPrefix(name, requestPrefix)
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

// resolve follows a JSON pointer (RFC 6901); nil: there is nothing.
func resolve(root any, pointer string) any {
	at := root
	for _, part := range pointerParts(pointer) {
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

func pointerParts(pointer string) []string {
	if pointer == "" || pointer == "/" {
		return nil
	}
	parts := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i, part := range parts {
		parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
	}
	return parts
}
