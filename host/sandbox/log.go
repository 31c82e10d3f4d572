package sandbox

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// maxLine is how much of a line is looked at. More than is shown, so that a password at the cut is
// masked before the line is cut.
const maxLine = sdk.MaxLog + 8<<10

// secrets are what must not be seen in a log line: the password, settings marked secret, and what
// is passed by reference.
func (p *Plugin) secrets(call Call) []string {
	secrets := []string{call.Password.Reveal(), call.Fields["code"]}
	for name, setting := range p.description.Settings {
		if setting.Secret {
			secrets = append(secrets, texts(call.Settings[name])...)
		}
	}
	secrets = append(secrets, call.Reach.secretValues()...)
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // one may begin with another
	return secrets
}

func (g *guest) importLog(level int32, message span) {
	message.size = min(message.size, maxLine)
	text, code := message.text(maxLine)
	if code < 0 {
		return
	}
	levels := [...]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
	g.log(levels[max(0, min(int(level), len(levels)-1))], text)
}

// log passes one line on, masked and bounded; the handler escapes it. What a run only repeats was
// logged before.
func (g *guest) log(level slog.Level, line string) {
	if !g.live() {
		return
	}
	if g.call.Debug && level < slog.LevelInfo {
		level = slog.LevelInfo // the dialogue, as the plugin sees it
	}
	g.logs++
	within := g.logs <= g.plugin.limits.Logs
	loud := level >= slog.LevelWarn && strings.TrimSpace(line) != "" && (g.last == "" || strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: "))
	if within || loud {
		line = g.mask(line)
	}
	if loud {
		g.last = line
	}
	switch {
	case g.call.Log == nil:
	case within:
		g.call.Log.Log(g.ctx, level, "plugin says", "line", line)
	case g.logs == g.plugin.limits.Logs+1:
		g.call.Log.Log(g.ctx, slog.LevelWarn, "plugin says more than limits { log_lines } allows in a run: the rest is left out")
	}
}

// logHost is for what the host has to say of a call.
func (a *attempt) logHost(ctx context.Context, level slog.Level, line string) {
	if a.call.Log != nil {
		a.call.Log.Log(ctx, level, "plugin's call", "line", a.mask(line))
	}
}

// debug logs one line of the guest's dialogue, the first time that it happens.
func (g *guest) debug(format string, args ...any) {
	if g.call.Debug && g.live() {
		g.debugLine(format, args...)
	}
}

func (a *attempt) debugLine(format string, args ...any) {
	if a.call.Log != nil {
		a.call.Log.Info("debug", "line", a.mask(fmt.Sprintf(format, args...)))
	}
}

// debugField logs a field. A password is never shown, whatever it may look like.
func (g *guest) debugField(what, name, value string, code int32) {
	switch {
	case !g.call.Debug: // before anything is made for a line that nobody wants
	case code < 0:
		g.debug("%s %s: %v", what, name, sdk.CodeError(code))
	case name == "password":
		g.debug("%s %s = [secret]", what, name)
	default:
		g.debug("%s %s = %q", what, name, value)
	}
}

// debugResponse logs an answer. Cookies are left out: they are secrets that nobody told us of.
func (a *attempt) debugResponse(r *response) {
	if !a.call.Debug {
		return
	}
	a.debugLine("http: answered %d, %d bytes", r.status, len(r.body))
	for _, name := range slices.Sorted(maps.Keys(r.header)) {
		if name != "Set-Cookie" {
			a.debugLine("http: header %s: %s", name, strings.Join(r.header[name], ", "))
		}
	}
	a.debugLine("http: body %s", r.body[:min(len(r.body), maxLine)])
}

// forms are the ways in which a secret is written: as it is, escaped in logs, JSON and URLs, and encoded.
func forms(s string) []string {
	inner := func(quoted string) string { return quoted[1 : len(quoted)-1] }
	inJSON, _ := json.Marshal(s) // a string
	ascii := inner(strconv.QuoteToASCII(s))
	percent := url.QueryEscape(s)
	all := []string{
		s, inner(strconv.Quote(s)), inner(string(inJSON)), ascii, html.EscapeString(s), percent, url.PathEscape(s), strings.ReplaceAll(percent, "+", "%20"),
		base64.RawStdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)), hex.EncodeToString([]byte(s)),
	}
	for _, form := range all[2:4] { // as some languages write JSON
		all = append(all, strings.ReplaceAll(form, "/", `\/`))
	}
	for _, form := range all[5:8] {
		all = append(all, lowerEscapes(form))
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(all)
}

// lowerEscapes writes %C3 as %c3.
func lowerEscapes(text string) string {
	return regexp.MustCompile(`%[0-9A-F]{2}`).ReplaceAllStringFunc(text, strings.ToLower)
}

// HoldsSecret reports whether a text that a plugin made holds a secret of the call, in whatever form.
func (p *Plugin) HoldsSecret(call Call, text string) bool {
	for _, s := range p.secrets(call) {
		if len(s) >= shortSecret && slices.ContainsFunc(forms(s), func(form string) bool { return strings.Contains(text, form) }) {
			return true
		}
	}
	return false
}

// shortSecret is a length below which masking would tell more than it hides.
const shortSecret = 4

func (a *attempt) mask(line string) string {
	for _, s := range a.secrets {
		if s != "" && len(s) < shortSecret && strings.Contains(line, s) {
			return "[a line that may hold a short secret]"
		}
		if s == "" {
			continue
		}
		for _, form := range forms(s) {
			line = strings.ReplaceAll(line, form, "[secret]")
		}
	}
	return strings.ToValidUTF8(line[:min(len(line), sdk.MaxLog)], "?")
}

// lineWriter takes what a guest writes to stdout or stderr apart into lines.
type lineWriter struct{ line []byte }

func (w *lineWriter) write(p []byte, log func(line string)) {
	for rest := p; len(rest) > 0; {
		line, tail, ended := bytes.Cut(rest, []byte("\n"))
		if room := maxLine - len(w.line); room > 0 {
			w.line = append(w.line, line[:min(len(line), room)]...)
		}
		if ended {
			w.flush(log)
		}
		rest = tail
	}
}

func (w *lineWriter) flush(log func(line string)) {
	if len(bytes.TrimSpace(w.line)) > 0 {
		log(string(w.line))
	}
	w.line = w.line[:0]
}

// print logs what the guest wrote to descriptor 1 or 2.
func (g *guest) print(descriptor int32, p []byte) {
	if descriptor == 1 {
		g.out.write(p, func(line string) { g.log(slog.LevelInfo, line) })
		return
	}
	g.err.write(p, func(line string) { g.log(slog.LevelWarn, line) })
}

// flush logs lines that were not ended.
func (g *guest) flush() {
	if len(g.out.line) > 0 {
		g.print(1, []byte("\n"))
	}
	if len(g.err.line) > 0 {
		g.print(2, []byte("\n"))
	}
}
