package admin_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/admin"
	"github.com/sallyport-ftps/sallyport/host/outbox"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/host/state"
)

var good = secret.New("gravel umbrella ninety tango")

func newBackend(t *testing.T) admin.Backend {
	t.Helper()
	store, err := state.OpenBolt(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	hasher := account.NewHasher(2)
	key, err := account.LoadKey(filepath.Join(t.TempDir(), "codes.key"))
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := account.New(t.Context(), store, outbox.New(store, "test"), hasher, key, account.Rules{Passwords: policy.Passwords{MinimumLength: 11}, Groups: []string{"default"}})
	if err != nil {
		t.Fatal(err)
	}
	return admin.Backend{Accounts: accounts}
}

func serve(t *testing.T, b admin.Backend) (*admin.Client, *httptest.Server) {
	t.Helper()
	server := httptest.NewServer(admin.Handler(b))
	t.Cleanup(server.Close)
	return admin.NewClient(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", server.Listener.Addr().String())
	}), server
}

// Each kind of mistake has its status, and the client returns the server's own sentence.
func TestStatuses(t *testing.T) {
	client, server := serve(t, newBackend(t))
	if _, err := client.AddAccount(t.Context(), "alice", good, account.Change{}, admin.Delivery{}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		says               string
	}{
		"weak":          {"POST", "/v1/accounts", `{"name":"bob","password":"short"}`, 400, "at least 11"},
		"bad group":     {"POST", "/v1/accounts", `{"name":"bob","password":"gravel umbrella","groups":["x"]}`, 400, `group \"x\"`},
		"taken":         {"POST", "/v1/accounts", `{"name":"alice","password":"gravel umbrella"}`, 409, "exists"},
		"nobody":        {"GET", "/v1/accounts/bob", "", 404, "no such account"},
		"unknown field": {"POST", "/v1/accounts", `{"name":"bob","passwrod":"x"}`, 400, "passwrod"},
		"no JSON":       {"PUT", "/v1/accounts/alice/password", `hello`, 400, "can't be read"},
		"too long":      {"POST", "/v1/accounts", `{"name":"` + strings.Repeat("x", 100_000) + `"}`, 400, "too large"},
		"not here":      {"POST", "/v1/login", `{}`, 503, "running server"},
		"not here too":  {"POST", "/v1/methods/x/stop", "", 503, "running server"},
		"nor this":      {"GET", "/v1/events", "", 503, "running server"},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			text := make([]byte, 4096)
			n, _ := response.Body.Read(text)
			if response.StatusCode != c.status || !strings.Contains(string(text[:n]), c.says) {
				t.Errorf("got %d %s, want %d with %q", response.StatusCode, text[:n], c.status, c.says)
			}
		})
	}
}

func TestListPages(t *testing.T) {
	b := newBackend(t)
	client, _ := serve(t, b)
	for _, name := range []string{"carol", "alice", "bob"} {
		if _, err := client.AddAccount(t.Context(), name, good, account.Change{}, admin.Delivery{}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := client.Accounts(t.Context())
	if err != nil || len(all) != 3 || all[0].Name != "alice" || all[2].Name != "carol" {
		t.Errorf("got %+v, %v", all, err)
	}
}

// broken is a stream that fails in the middle.
type broken struct{}

func (broken) Follow(_ context.Context, _ time.Time, _ bool, handle func(events.Event) error) error {
	if err := handle(events.Event{ID: "1", Data: &events.ServerStopped{Name: "x"}}); err != nil {
		return err
	}
	return errors.New("the disk is gone")
}

func TestAStreamThatFailsInTheMiddleSaysSo(t *testing.T) {
	client, _ := serve(t, admin.Backend{Events: broken{}})
	var seen int
	err := client.Follow(t.Context(), time.Time{}, true, func(events.Event) error { seen++; return nil })
	if seen != 1 || err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("%d events, %v", seen, err)
	}
}
