package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// isRequestField is the table in sdk/ABI.md of http.request.*. A name that ends in @ takes the name
// of a field in place of a value.
func isRequestField(name string) bool {
	switch name {
	case "method", "url", "withdraw", "timeout": // by value only: a reference may go where the URL says
		return true
	}
	if strings.HasPrefix(name, "value:/") {
		return !strings.HasSuffix(name, "@")
	}
	name = strings.TrimSuffix(name, "@")
	switch name {
	case "body", "basic.username", "basic.password":
		return true
	}
	for _, prefix := range []string{"header.", "query.", "form."} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return rest != ""
		}
	}
	return strings.HasPrefix(name, "json:/")
}

// requestError is what is wrong with a request or its answer: the code for the guest, the text for the log.
type requestError struct {
	code int32
	text string
}

// request is one HTTP request, checked and with all references resolved. Many may wait to be sent, so
// it is small.
type request struct {
	method   string
	url      string
	header   [][2]string // names are canonical
	body     string
	username string
	password string
	basic    bool
	timeout  time.Duration // 0: limits { http_timeout }
}

func malformed(format string, args ...any) *requestError {
	return &requestError{sdk.CodeUnknownKey, fmt.Sprintf(format, args...)}
}

// request makes a request of what the guest has set.
func (g *guest) request() (*request, *requestError) {
	fields := map[string]string{}
	for key, value := range g.set {
		if name, ok := strings.CutPrefix(key, requestPrefix); ok {
			fields[name] = value
		}
	}
	r := &request{method: fields["method"]}
	u, err := url.Parse(fields["url"])
	if err != nil || fields["url"] == "" {
		return nil, malformed("http.request.url is not a URL")
	}
	target := *u
	target.RawQuery, target.ForceQuery = "", false
	to, err := endpoint.From(&target, endpoint.HTTP())
	if err != nil {
		return nil, malformed("http.request.url: %v", err)
	}
	u.Host = to.Host // what was looked at is what is sent
	if strings.Contains(to.Host, ":") {
		u.Host = "[" + to.Host + "]"
	}
	if target.Port() != "" {
		u.Host = to.Address()
	}
	if !g.call.Reach.mayHTTP(to) {
		return nil, &requestError{sdk.CodeNotGranted, fmt.Sprintf("%s is not in grant { http = [...] }", to)}
	}
	if refused := g.resolveReferences(fields, to); refused != nil {
		return nil, refused
	}
	if refused := r.fill(u, fields); refused != nil {
		return nil, refused
	}
	size := len(r.url) + len(r.body)
	for _, h := range r.header {
		size += len(h[0]) + len(h[1])
	}
	if most := g.plugin.limits.Request; size > most {
		return nil, &requestError{sdk.CodeOverLimit, overLimit("request", size, most).Error()}
	}
	return r, nil
}

// resolveReferences puts values in place of names, where they may go.
func (g *guest) resolveReferences(fields map[string]string, to endpoint.Endpoint) *requestError {
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		name, isReference := strings.CutSuffix(key, "@")
		if !isReference {
			continue
		}
		value, refused := g.reference(fields[key], to)
		if refused != nil {
			return refused
		}
		delete(fields, key)
		fields[name] = value
	}
	return nil
}

func (g *guest) reference(field string, to endpoint.Endpoint) (string, *requestError) {
	if field == "password" && !g.call.SeesPassword {
		if !g.call.Reach.mayHavePassword(to) {
			return "", &requestError{sdk.CodeNotGranted, fmt.Sprintf("the password may not go to %s: grant { password_to = [...] } does not name it", to)}
		}
		return g.call.Password.Reveal(), nil
	}
	if name, ok := strings.CutPrefix(field, secretPrefix); ok {
		s := g.call.Reach.secret(name)
		if s == nil {
			return "", &requestError{sdk.CodeAbsent, fmt.Sprintf("there is no secret %q", name)}
		}
		if !covered(s.To, to) {
			return "", &requestError{sdk.CodeNotGranted, fmt.Sprintf("secret %q may not go to %s: its to = [...] does not name it", name, to)}
		}
		return s.Value.Reveal(), nil
	}
	value, code := g.field(field)
	if code < 0 {
		return "", &requestError{code, fmt.Sprintf("there is no field %.64q to refer to", field)}
	}
	return value, nil
}

// fill turns the fields into the parts of a request.
func (r *request) fill(u *url.URL, fields map[string]string) *requestError {
	query, form, object := u.Query(), url.Values{}, map[string]any{}
	bodies := 0
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value := fields[key]
		switch kind, name, _ := strings.Cut(key, "."); kind {
		case "header":
			if refused := r.setHeader(name, value); refused != nil {
				return refused
			}
		case "query":
			query.Set(name, value)
		case "form":
			form.Set(name, value)
		case "basic":
			r.basic = true
		case "body":
			r.body = value
			bodies++
		default:
			if refused := setJSON(object, key, value); refused != nil {
				return refused
			}
		}
	}
	u.RawQuery = query.Encode()
	r.url = u.String()
	if refused := r.setTimeout(fields["timeout"]); refused != nil {
		return refused
	}
	r.username, r.password = fields["basic.username"], fields["basic.password"]
	if len(form) > 0 {
		bodies++
		r.body = form.Encode()
		r.defaultType("application/x-www-form-urlencoded")
	}
	if len(object) > 0 {
		bodies++
		text, _ := json.Marshal(object) // strings and valid JSON in maps
		r.body = string(text)
		r.defaultType("application/json")
	}
	if bodies > 1 {
		return malformed("only one of http.request.body, form and json can be sent")
	}
	return r.checkMethod(bodies > 0)
}

// setTimeout reads milliseconds; more than the limit is the limit.
func (r *request) setTimeout(text string) *requestError {
	if text == "" {
		return nil
	}
	ms, err := strconv.ParseUint(text, 10, 32)
	if err != nil || ms == 0 {
		return malformed("http.request.timeout %.16q; a number of milliseconds is expected", text)
	}
	r.timeout = time.Duration(ms) * time.Millisecond
	return nil
}

// setJSON puts json:/POINTER, a string, or value:/POINTER, any JSON, into the object.
func setJSON(object map[string]any, key, text string) *requestError {
	kind, pointer, ok := strings.Cut(key, ":")
	if !ok {
		return nil
	}
	var value any = text
	if kind == "value" {
		if !json.Valid([]byte(text)) || text == "null" {
			return malformed("http.request.%.64s: a JSON value other than null is expected", key)
		}
		value = json.RawMessage(text)
	}
	if !setPointer(object, pointerParts(pointer), value) {
		return malformed("http.request.%.64s is below a value", key)
	}
	return nil
}

func (r *request) defaultType(value string) {
	if !slices.ContainsFunc(r.header, func(h [2]string) bool { return h[0] == "Content-Type" }) {
		r.header = append(r.header, [2]string{"Content-Type", value})
	}
}

func (r *request) checkMethod(sends bool) *requestError {
	switch {
	case r.method == "" && sends:
		r.method = http.MethodPost
	case r.method == "":
		r.method = http.MethodGet
	case !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"}, r.method):
		return malformed("http.request.method %.16q; GET, POST, PUT, PATCH, DELETE and HEAD are allowed", r.method)
	}
	return nil
}

// isOwnHeader reports whether only the host may say it: the names are canonical.
func isOwnHeader(name string) bool {
	switch name {
	case "Host", "Connection", "Content-Length", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Keep-Alive", "Expect", "Accept-Encoding", "Http2-Settings":
		return true
	}
	return strings.HasPrefix(name, "Proxy-")
}

func (r *request) setHeader(name, value string) *requestError {
	canonical := http.CanonicalHeaderKey(name)
	if isOwnHeader(canonical) {
		return malformed("the header %.64s is set by the host", canonical)
	}
	if !isToken(name) || strings.ContainsFunc(value, unicode.IsControl) {
		return malformed("http.request.header.%.64q: a name or value that no header can have", name)
	}
	r.header = append(r.header, [2]string{canonical, value})
	return nil
}

// isToken reports whether a header can have this name (RFC 9110, section 5.6.2).
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// setPointer puts a value into nested objects. False: a part of the way is no object.
func setPointer(object map[string]any, parts []string, value any) bool {
	if len(parts) == 0 {
		return false
	}
	for _, part := range parts[:len(parts)-1] {
		inner, isObject := object[part].(map[string]any)
		if object[part] == nil {
			inner, isObject = map[string]any{}, true
			object[part] = inner
		}
		if !isObject {
			return false
		}
		object = inner
	}
	last := parts[len(parts)-1]
	if object[last] != nil {
		return false
	}
	object[last] = value
	return true
}

// response is an answer as it came.
type response struct {
	status int
	header http.Header
	body   []byte
	parsed *any // the body as JSON
}

// enter takes one of the places of requests under way; leave gives it back. A plugin without a Reach makes none.
func (r *Reach) enter(ctx context.Context) error {
	select {
	case r.underWay <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *Reach) leave() { <-r.underWay }

// do sends a request. A redirect is an answer like any other.
func (r *Reach) do(ctx context.Context, limits Limits, q *request) (*response, *requestError) {
	if q.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.timeout)
		defer cancel()
	}
	sent, err := http.NewRequestWithContext(ctx, q.method, q.url, strings.NewReader(q.body))
	if err != nil {
		return nil, malformed("the request can't be sent") // the error holds the URL, which may hold a secret
	}
	for _, h := range q.header {
		sent.Header[h[0]] = []string{h[1]}
	}
	if sent.Header.Get("User-Agent") == "" {
		sent.Header.Set("User-Agent", "sallyport")
	}
	if q.basic {
		sent.SetBasicAuth(q.username, q.password)
	}
	got, err := r.client.Do(sent)
	if err != nil {
		return nil, &requestError{sdk.CodeFailed, describeHTTP(err)}
	}
	defer func() { _ = got.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(got.Body, int64(limits.Response)+1))
	if err != nil {
		return nil, &requestError{sdk.CodeFailed, describeHTTP(err)}
	}
	if len(body) > limits.Response {
		return nil, &requestError{sdk.CodeOverLimit, overLimit("response", "more", limits.Response).Error()}
	}
	return &response{status: got.StatusCode, header: got.Header, body: body}, nil
}

// describeHTTP leaves out the URL, which may hold a secret in its query.
func describeHTTP(err error) string {
	var inner *url.Error
	if errors.As(err, &inner) {
		if inner.Timeout() {
			return "no answer in time"
		}
		err = inner.Err
	}
	return err.Error()
}

// field is one of http.response.*.
func (r *response) field(name string) (string, int32) {
	switch {
	case name == "status":
		return strconv.Itoa(r.status), 0
	case name == "body":
		if len(r.body) > sdk.MaxField {
			return "", sdk.CodeOverLimit
		}
		return string(r.body), 0
	case strings.HasPrefix(name, "header."):
		values := r.header.Values(strings.TrimPrefix(name, "header."))
		return found(strings.Join(values, ", "), len(values) > 0)
	case strings.HasPrefix(name, "json:"):
		value, code := r.json(strings.TrimPrefix(name, "json:"))
		if len(value) > sdk.MaxField {
			return "", sdk.CodeOverLimit
		}
		return value, code
	}
	return "", sdk.CodeAbsent
}

// json is one value of the body, as text: a string as it is, anything else as JSON.
func (r *response) json(pointer string) (string, int32) {
	if r.parsed == nil {
		r.parsed = new(any)
		if utf8.Valid(r.body) && json.Valid(r.body) { // the second bounds the depth, too
			decoder := json.NewDecoder(bytes.NewReader(r.body))
			decoder.UseNumber()
			if value, ok := unambiguous(decoder); ok {
				*r.parsed = value
			}
		}
	}
	return found(render(resolve(*r.parsed, pointer)))
}

// unambiguous reads valid JSON in which no object has a name twice: of two verdicts there is none (RFC 8259, section 4).
func unambiguous(d *json.Decoder) (any, bool) {
	token, err := d.Token()
	if err != nil {
		return nil, false
	}
	switch token {
	case json.Delim('['):
		list := []any{}
		for d.More() {
			value, ok := unambiguous(d)
			if !ok {
				return nil, false
			}
			list = append(list, value)
		}
		_, err = d.Token()
		return list, err == nil
	case json.Delim('{'):
		object := map[string]any{}
		for d.More() {
			name, _ := d.Token()
			value, ok := unambiguous(d)
			if _, twice := object[name.(string)]; twice || !ok {
				return nil, false
			}
			object[name.(string)] = value
		}
		_, err = d.Token()
		return object, err == nil
	}
	return token, true
}
