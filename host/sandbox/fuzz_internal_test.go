package sandbox

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Whatever a plugin sets, its request is refused or is one that HTTP has: nothing of a field gets out of its place.
func FuzzRequest(f *testing.F) {
	f.Add("header.X", "y", "form.a", "b&c=d", "https://h/p?q=1")
	f.Add("header.Host", "y\r\nZ: 1", "json:/a/b", "c", "http://h")
	f.Add("query.a", "b", "json:/a", "c", "https://h/?a=1#x")
	f.Add("basic.username", "a:b", "body", "x", "https://h")
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2, address string) {
		u, err := url.Parse(address)
		if err != nil {
			return
		}
		fields := map[string]string{}
		for key, value := range map[string]string{key1: value1, key2: value2} {
			if isRequestField(key) && !strings.HasSuffix(key, "@") && key != "url" {
				fields[key] = value
			}
		}
		r := &request{method: fields["method"]}
		if refused := r.fill(u, fields); refused != nil {
			return
		}
		for _, h := range r.header {
			if strings.ContainsAny(h[0]+h[1], "\r\n\x00") || isOwnHeader(h[0]) {
				t.Errorf("header %q", h)
			}
		}
		if strings.HasPrefix(key1, "form.") && len(fields) == 1 {
			form, err := url.ParseQuery(r.body)
			if err != nil || len(form) != 1 || form.Get(strings.TrimPrefix(key1, "form.")) != value1 {
				t.Errorf("form %q", r.body)
			}
		}
		if _, err := http.NewRequest(r.method, r.url, strings.NewReader(r.body)); err != nil && u.Host != "" {
			t.Logf("not sent: %v", err)
		}
	})
}
