package endpoint_test

import (
	"slices"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
)

func TestParse(t *testing.T) {
	all := slices.Concat(endpoint.HTTP(), endpoint.Sockets())
	for text, want := range map[string]string{
		"https://Auth.Example.org":       "https://auth.example.org:443",
		"https://auth.example.org.:8443": "https://auth.example.org:8443",
		"http://127.0.0.1:80/x/y":        "http://127.0.0.1:80/x/y",
		"ldaps://ldap.example.org":       "ldaps://ldap.example.org:636",
		"tcp://[::1]:389":                "tcp://[::1]:389",
		"udp://radius.example.org:1812":  "udp://radius.example.org:1812",
	} {
		e, err := endpoint.Parse(text, all)
		if err != nil || e.String() != want {
			t.Errorf("%s: got %v, %v; want %s", text, e, err, want)
		}
	}
	for _, text := range []string{
		"", "auth.example.org", "ftp://x:1", "https://", "https://user@host", "https://user:pw@host/", "https://h/?q", "https://h/#f", "tcp://h", "tcp://h:0",
		"tcp://h:65536", "tcp://h:1/path", "https://0x7f.1", "https://2130706433", "https://0177.0.0.1", "https://127.1", "https://[fe80::1%25eth0]", "https://ex ample", "https://bücher.example", "https://\u0130dp.example", "https://\u212aelvin.example", "https://a..b", "https:host", "file:///etc/passwd",
	} {
		if e, err := endpoint.Parse(text, all); err == nil {
			t.Errorf("%q: got %v", text, e)
		}
	}
}

func TestCovers(t *testing.T) {
	parse := func(text string) endpoint.Endpoint {
		e, err := endpoint.Parse(text, slices.Concat(endpoint.HTTP(), endpoint.Sockets()))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, c := range []struct {
		granted, asked string
		want           bool
	}{
		{"https://h", "https://h:443/any", true},
		{"https://h", "http://h:443/", false},
		{"https://h", "https://h:444/", false},
		{"https://h", "https://h.example/", false},
		{"https://h", "tls://h:443", false},
		{"https://h/auth", "https://h/auth", true},
		{"https://h/auth/", "https://h/auth/x", true},
		{"https://h/auth", "https://h/authority", false},
		{"https://h/auth", "https://h/auth/../admin", false},
		{"https://h/auth", "https://h/auth//x", false},
		{"https://h/auth", "https://h/auth%2Fx", false},
		{"https://h/auth", "https://h/auth/%252e%252e/x", false},
		{"ldaps://h", "tls://h:636", true},
		{"tls://h:636", "ldaps://h", true},
		{"ldap://h", "tcp://h:389", true},
		{"ldap://h", "tls://h:389", false},
		{"udp://h:53", "tcp://h:53", false},
	} {
		if got := parse(c.granted).Covers(parse(c.asked)); got != c.want {
			t.Errorf("%s covers %s: got %v", c.granted, c.asked, got)
		}
	}
}

// What is accepted means the same when it is written down and read again.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"https://a.example/x", "ldaps://[::1]:636", "tcp://127.0.0.1:1", "http://A.B.:80/%2e%2e/x", "https://0x7f.1"} {
		f.Add(text)
	}
	all := slices.Concat(endpoint.HTTP(), endpoint.Sockets())
	f.Fuzz(func(t *testing.T, text string) {
		e, err := endpoint.Parse(text, all)
		if err != nil {
			return
		}
		if e.Host == "" || e.Port == 0 {
			t.Errorf("%q: %+v", text, e)
		}
		e.Path = ""
		if again, err := endpoint.Parse(e.String(), all); err != nil || again != e {
			t.Errorf("%q: %+v, and again %+v, %v", text, e, again, err)
		}
	})
}
