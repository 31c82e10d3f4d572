package sandbox_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/sdk"
)

func TestHTTP(t *testing.T) {
	r := newRuntime(t)
	p, small := loadOn(t, r, goGuest, patient), loadOn(t, r, goGuest, patient, func(l *sandbox.Limits) { l.HTTP = 200 * time.Millisecond })
	var mu sync.Mutex // a request that was given up may still be handled
	var got *http.Request
	var body []byte
	w := newWeb(t, func(int, *http.Request) string { return "" })
	w.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		read, _ := io.ReadAll(q.Body)
		mu.Lock()
		got, body = q.Clone(context.Background()), read
		mu.Unlock()
		switch q.URL.Path {
		case "/json":
			rw.Header().Add("X-Reply", "one")
			rw.Header().Add("X-Reply", "two")
			_, _ = rw.Write([]byte(`{"user":{"name":"Alice"},"list":[1,22]}`))
		case "/redirect":
			http.Redirect(rw, q, "http://169.254.169.254/", http.StatusFound)
		case "/big":
			_, _ = rw.Write(make([]byte, 2<<20))
		case "/middle":
			_, _ = rw.Write(make([]byte, 100<<10))
		case "/slow":
			select {
			case <-q.Context().Done():
			case <-time.After(10 * time.Second):
			}
		case "/header":
			rw.Header().Set("X", strings.Repeat("x", 40<<10))
		case "/zip":
			rw.Header().Set("Content-Encoding", "gzip")
			_, _ = rw.Write([]byte("\x1f\x8b not really"))
		}
	})
	for name, c := range map[string]struct {
		user, path string
		plugin     *sandbox.Plugin
		settings   map[string]any
		want       sdk.Verdict
		says       string
	}{
		"json":            {"json", "/json", p, nil, sdk.Accept, "200 Alice 22 false one, two"},
		"redirect":        {"body", "/redirect", p, nil, sdk.Accept, "body of"},
		"too big":         {"body", "/big", p, nil, sdk.Reject, "response: more of 1048576"},
		"too big to get":  {"body", "/middle", p, nil, sdk.Reject, "over a limit"},
		"too slow":        {"body", "/slow", small, nil, sdk.Reject, "no answer in time"},
		"endless header":  {"body", "/header", p, nil, sdk.Reject, "headers exceeded 32768 bytes"},
		"not unzipped":    {"body", "/zip", p, nil, sdk.Accept, "body of 13"},
		"big request":     {"big request", "/", p, nil, sdk.Reject, "request: 8"},
		"own host":        {"header", "/", p, map[string]any{"header": "Host: evil"}, sdk.Reject, "set by the host"},
		"own connection":  {"header", "/", p, map[string]any{"header": "connection: close"}, sdk.Reject, "set by the host"},
		"proxy":           {"header", "/", p, map[string]any{"header": "Proxy-Authorization: x"}, sdk.Reject, "set by the host"},
		"transfer":        {"header", "/", p, map[string]any{"header": "Transfer-Encoding: chunked"}, sdk.Reject, "set by the host"},
		"CRLF in value":   {"header", "/", p, map[string]any{"header": "X: a\r\nY: b"}, sdk.Reject, "no header can have"},
		"CRLF in name":    {"header", "/", p, map[string]any{"header": "X\r\nY: b"}, sdk.Reject, "no header can have"},
		"ordinary header": {"header", "/", p, map[string]any{"header": "X-Custom: fine"}, sdk.Accept, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := limits()
			if c.plugin == small {
				l.HTTP = 200 * time.Millisecond
			}
			call := reaching(t, r, w.Server, c.user)
			call.Reach = r.NewReach(sandbox.Grants{HTTP: mustParse(t, w.URL)}, l)
			defer call.Reach.Close()
			var log bytes.Buffer
			call.Log = slog.New(slog.NewTextHandler(&log, nil))
			call.Settings["url"] = w.URL + c.path
			for key, value := range c.settings {
				call.Settings[key] = value
			}
			answer, err := c.plugin.Run(t.Context(), call)
			if err != nil || answer.Verdict != c.want || !strings.Contains(log.String(), c.says) {
				t.Errorf("got %v, %v: %s", answer.Verdict, err, log.String())
			}
			mu.Lock()
			defer mu.Unlock()
			if name == "json" {
				user, password, _ := got.BasicAuth()
				if got.Method != "POST" || got.Header.Get("Content-Type") != "application/json" || string(body) != `{"pass":"word","user":{"name":"json"}}` || user != "me" || password != "x" {
					t.Errorf("sent %v %v %s", got.Method, got.Header, body)
				}
			}
			if name == "redirect" && got.URL.Path != "/redirect" {
				t.Errorf("it went to %v", got.URL)
			}
		})
	}
}

func mustParse(t *testing.T, url string) []endpoint.Endpoint {
	t.Helper()
	e, err := endpoint.Parse(url, endpoint.HTTP())
	if err != nil {
		t.Fatal(err)
	}
	return []endpoint.Endpoint{e}
}

// A server-side request forgery must not get anywhere: neither by how the URL is written, nor by
// where a granted name points to.
func TestRequestsThatMustNotGetOut(t *testing.T) {
	addresses := map[string][]string{
		"metadata.test.": {"169.254.169.254"}, "mapped.test.": {"::ffff:169.254.169.254"}, "loop.test.": {"127.0.0.1"}, "loop6.test.": {"::1"},
		"zero.test.": {"0.0.0.0"}, "many.test.": {"224.0.0.1"}, "aws6.test.": {"fd00:ec2::254"}, "azure.test.": {"168.63.129.16"}, "link6.test.": {"fe80::1"}, "both.test.": {"169.254.1.1", "127.0.0.1"},
		"nat64.test.": {"64:ff9b::a9fe:a9fe"}, "six.test.": {"2002:7f00:1::1"}, "old.test.": {"::127.0.0.1"},
	}
	resolver := fakeDNS(t, addresses)
	reached := atomic.Int32{}
	w := newWeb(t, func(int, *http.Request) string { reached.Add(1); return "reached" })
	_, port, _ := net.SplitHostPort(w.Listener.Addr().String())
	own := netip.MustParseAddrPort(w.Listener.Addr().String())
	r := newRuntime(t, func(o *sandbox.Options) {
		o.Resolver = resolver
		o.Refuse = func(to netip.AddrPort) bool { return to == own }
	})
	p := loadOn(t, r, goGuest, patient)
	try := func(grant, url string) string {
		var log bytes.Buffer
		c := call("body")
		c.Settings = map[string]any{"url": url}
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		c.Reach = r.NewReach(sandbox.Grants{HTTP: mustParse(t, grant)}, limits())
		defer c.Reach.Close()
		got, err := p.Run(t.Context(), c)
		if err != nil || got.Verdict != sdk.Reject {
			t.Errorf("%s: got %v, %v: %s", url, got.Verdict, err, log.String())
		}
		return log.String()
	}
	for name := range addresses {
		url := "http://" + strings.TrimSuffix(name, ".") + ":" + port
		if says := try(url, url+"/"); !strings.Contains(says, "refused address") {
			t.Errorf("%s: %s", url, says)
		}
	}
	if says := try(w.URL, w.URL); !strings.Contains(says, "this server itself") {
		t.Errorf("our own listener: %s", says)
	}
	for _, url := range []string{
		"http://127.0.0.1.:" + port, "http://127.1:" + port, "http://0177.0.0.1:" + port, "http://2130706433:" + port, "http://0x7f000001:" + port, "http://[::ffff:127.0.0.1]:" + port,
		"http://granted.test@127.0.0.1:" + port, "http://granted.test:" + port + "@127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1:" + port, "//127.0.0.1:" + port, "/relative",
		"http://granted.test:" + port + "#@127.0.0.1", "http://granted.test:" + port + "\\@127.0.0.1", "http://granted.test:0", "HTTP://LOCALHOST:" + port, "http://grantéd.test:" + port, "http://granted.test%2e127.0.0.1:" + port,
		"http://granted.test\r\nHost: x:" + port,
	} {
		try("http://granted.test:"+port, url)
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests got out", n)
	}
}

// A name that changes its address between two looks is looked at where it is connected to.
func TestRebinding(t *testing.T) {
	var asked atomic.Int32
	resolver := fakeDNS(t, nil, func(string) []string {
		if asked.Add(1) <= 2 { // A and AAAA of the first look
			return []string{"192.0.2.1"}
		}
		return []string{"127.0.0.1"}
	})
	reached := atomic.Int32{}
	w := newWeb(t, func(int, *http.Request) string { reached.Add(1); return "" })
	_, port, _ := net.SplitHostPort(w.Listener.Addr().String())
	r := newRuntime(t, func(o *sandbox.Options) { o.Resolver = resolver })
	c := call("poll map")
	c.Settings = map[string]any{"url": "http://rebind.test:" + port}
	l := limits()
	l.HTTP = 100 * time.Millisecond
	c.Reach = r.NewReach(sandbox.Grants{HTTP: mustParse(t, "http://rebind.test:"+port)}, l)
	defer c.Reach.Close()
	if _, err := loadOn(t, r, goGuest, patient).Run(t.Context(), c); err != nil || reached.Load() != 0 || asked.Load() < 4 {
		t.Errorf("%v, %d requests got out, %d questions", err, reached.Load(), asked.Load())
	}
}

// fakeDNS answers questions for addresses.
func fakeDNS(t *testing.T, addresses map[string][]string, dynamic ...func(name string) []string) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		buffer := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			name, kind, end := question(buffer[:n])
			all := addresses[name]
			for _, f := range dynamic {
				all = f(name)
			}
			_, _ = server.WriteTo(dnsAnswer(buffer[:end], kind, all), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

func question(packet []byte) (name string, kind uint16, end int) {
	at := 12
	for packet[at] != 0 {
		n := int(packet[at])
		name += string(packet[at+1:at+1+n]) + "."
		at += 1 + n
	}
	return name, binary.BigEndian.Uint16(packet[at+1:]), at + 5
}

func dnsAnswer(query []byte, kind uint16, addresses []string) []byte {
	answer := append([]byte(nil), query...)
	count := 0
	for _, text := range addresses {
		ip := netip.MustParseAddr(text)
		if ip.Is4() != (kind == 1) || (kind != 1 && kind != 28) {
			continue
		}
		count++
		answer = append(answer, 0xc0, 12, byte(kind>>8), byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(len(ip.AsSlice())))
		answer = append(answer, ip.AsSlice()...)
	}
	copy(answer[2:], []byte{0x81, 0x80, 0, 1, 0, byte(count), 0, 0, 0, 0})
	return answer
}

func TestHTTPWithTheStandardLibrary(t *testing.T) {
	r := newRuntime(t)
	w := newWeb(t, func(_ int, q *http.Request) string {
		body, _ := io.ReadAll(q.Body)
		return fmt.Sprintf("%s %s", q.Method, body)
	})
	var log bytes.Buffer
	c := reaching(t, r, w.Server, "http")
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	if got, err := loadOn(t, r, netGuest(t), patient).Run(t.Context(), c); err != nil || got.Verdict != sdk.Accept || !strings.Contains(log.String(), "200 OK POST hello") {
		t.Errorf("got %v, %v: %s", got.Verdict, err, log.String())
	}
}
