//go:build bench

package sandbox_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/plugins"
	"github.com/sallyport-ftps/sallyport/plugins/ldap/slapdtest"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// TestBenchMethods prints the tables of "make bench" on methods that ask other systems.
func TestBenchMethods(t *testing.T) {
	if address := os.Getenv("SANDBOX_ENDPOINT"); address != "" {
		slowEndpoint(t)
		return
	}
	t.Run("ldap", benchLDAP)
	t.Run("slow", benchSlowLDAP)
	t.Run("http", benchWaitingHTTP)
}

func bundled(t *testing.T, name string) []byte {
	t.Helper()
	wasm, err := plugins.Bundled(name)
	if err != nil {
		t.Fatal(err, "run make plugins")
	}
	return wasm
}

func ldapCall(t *testing.T, r *sandbox.Runtime, url string, grants sandbox.Grants, l sandbox.Limits) sandbox.Call {
	t.Helper()
	e, err := endpoint.Parse(url, endpoint.Sockets())
	if err != nil {
		t.Fatal(err)
	}
	grants.Network = []endpoint.Endpoint{e}
	reach := r.NewReach(grants, l)
	t.Cleanup(reach.Close)
	return sandbox.Call{
		Fields: map[string]string{"user": "alice"}, Password: secret.New(slapdtest.Password), SeesPassword: true, Reach: reach,
		Settings: map[string]any{"servers": []any{url}, "base_dn": slapdtest.Base, "bind_dn": slapdtest.ServiceDN, "bind_password": slapdtest.ServicePassword, "plain": true},
	}
}

// benchLDAP compares a login through the plugin with the same requests of the same library in this process: connect
// with TLS, bind, search, bind.
func benchLDAP(t *testing.T) {
	server := slapdtest.Start(t)
	r := newRuntime(t)
	p := loadOn(t, r, bundled(t, "ldap"), patient)
	call := ldapCall(t, r, server.Secured, sandbox.Grants{CA: server.Pool}, limits())
	through := func() {
		if got, err := p.Run(t.Context(), call); err != nil || got.Verdict != sdk.Accept {
			t.Error(got.Verdict, err)
		}
	}
	native := func() {
		conn, err := ldap.DialURL(server.Secured, ldap.DialWithTLSConfig(&tls.Config{RootCAs: server.Pool}))
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		if err := conn.Bind(slapdtest.ServiceDN, slapdtest.ServicePassword); err != nil {
			t.Error(err)
		}
		found, err := conn.Search(ldap.NewSearchRequest(slapdtest.Base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, 5, false, "(uid=alice)", []string{"mail", "memberOf"}, nil))
		if err != nil || len(found.Entries) != 1 {
			t.Error(err)
			return
		}
		if err := conn.Bind(found.Entries[0].DN, slapdtest.Password); err != nil {
			t.Error(err)
		}
	}
	fmt.Printf("\nLDAP logins (ldaps, bind, search, bind; a slapd on the same machine)\n%-24s %14s %14s %16s\n", "", "logins/s, 1", "logins/s, 8", "CPU a login")
	for _, c := range []struct {
		name string
		f    func()
	}{{"go-ldap in this process", native}, {"the plugin", through}} {
		one, cpu := loginsPerSecond(1, c.f)
		eight, _ := loginsPerSecond(8, c.f)
		fmt.Printf("%-24s %14.0f %14.0f %16v\n", c.name, one, eight, cpu.Round(10*time.Microsecond))
	}
}

func loginsPerSecond(parallel int, f func()) (rate float64, cpu time.Duration) {
	f()
	var mu sync.Mutex
	n, start, before := 0, time.Now(), processCPU()
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for time.Since(start) < 2*time.Second {
				f()
				mu.Lock()
				n++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return float64(n) / time.Since(start).Seconds(), (processCPU() - before) / time.Duration(n)
}

// benchSlowLDAP holds 200 logins at a directory that says nothing, and looks at what they hold and whom they hold up.
func benchSlowLDAP(t *testing.T) {
	const logins = 200
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
		}
	}()
	r := newRuntime(t)
	slow := loadOn(t, r, bundled(t, "ldap"))
	local := loadOn(t, r, bundled(t, "local"))
	verified := func(context.Context, string) (sandbox.Verified, error) {
		time.Sleep(20 * time.Millisecond) // as long as a password hash takes
		return sandbox.Verified{Code: sdk.VerifyRight}, nil
	}
	localLogin := func() time.Duration {
		const n = 100
		start := time.Now()
		for range n {
			if got, err := local.Run(t.Context(), sandbox.Call{Fields: map[string]string{"user": "bob"}, Verify: verified}); err != nil || got.Verdict != sdk.Accept {
				t.Fatal(got.Verdict, err)
			}
		}
		return time.Since(start) / n
	}
	localLogin()
	before, undisturbed := resident(t), localLogin()
	call := ldapCall(t, r, "ldap://"+l.Addr().String(), sandbox.Grants{}, limits())
	call.Settings["timeout"] = "60s"
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range logins {
		waiting.Go(func() { _, _ = slow.Run(ctx, call) })
	}
	time.Sleep(time.Second)
	mu.Lock()
	sockets := len(open)
	mu.Unlock()
	held := resident(t) - before
	disturbed := localLogin()
	fmt.Printf("\n%d LDAP logins at a server that hangs (limits { instances } = %d)\n", logins, limits().Open)
	fmt.Printf("%-44s %12d\n%-44s %8d MiB\n%-44s %12v\n%-44s %12v (%+.1f %%)\n", "sockets, and instances held", sockets, "memory more than before", held>>20,
		"a local login before", undisturbed.Round(10*time.Microsecond), "a local login meanwhile", disturbed.Round(10*time.Microsecond), 100*(float64(disturbed)/float64(undisturbed)-1))
	cancel()
	waiting.Wait()
	for conn := range open {
		_ = conn.Close()
	}
}

// slowEndpoint is a process that answers each request with 204 after ten seconds. It ends with its input.
func slowEndpoint(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("ENDPOINT http://" + l.Addr().String())
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(10 * time.Second)
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = server.Serve(l) }()
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

// benchWaitingHTTP lets 10,000 logins wait for a web service that takes ten seconds.
func benchWaitingHTTP(t *testing.T) {
	const logins = 10_000
	endpointProcess := exec.Command(os.Args[0], "-test.run", "TestBenchMethods", "-test.v")
	endpointProcess.Env = append(os.Environ(), "SANDBOX_ENDPOINT=1")
	in, err := endpointProcess.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := endpointProcess.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := endpointProcess.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = endpointProcess.Wait() }()
	url := ""
	for lines := bufio.NewScanner(out); url == "" && lines.Scan(); {
		_, url, _ = strings.Cut(lines.Text(), "ENDPOINT ")
	}
	to, err := endpoint.Parse(url, endpoint.HTTP())
	if err != nil {
		t.Fatal(err)
	}
	many := func(l *sandbox.Limits) { l.Requests, l.HTTP = logins, time.Minute }
	r := newRuntime(t)
	p := loadOn(t, r, bundled(t, "http"), many)
	here := []endpoint.Endpoint{to}
	reach := r.NewReach(sandbox.Grants{HTTP: here, PasswordTo: here}, limits(many))
	defer reach.Close()
	before, cpu, start := resident(t), processCPU(), time.Now()
	var mu sync.Mutex
	accepted := 0
	var waiting sync.WaitGroup
	for range logins {
		waiting.Go(func() {
			got, _ := p.Run(t.Context(), sandbox.Call{
				Fields: map[string]string{"user": "alice"}, Settings: map[string]any{"urls": []any{url}, "timeout": "60s"}, Password: secret.New("x"), Reach: reach,
			})
			mu.Lock()
			defer mu.Unlock()
			if got.Verdict == sdk.Accept {
				accepted++
			}
		})
	}
	time.Sleep(8 * time.Second)
	held := resident(t) - before
	waiting.Wait()
	fmt.Printf("\n%d logins that wait for a web service which takes 10 s (limits { requests } = %d)\n", logins, logins)
	fmt.Printf("%-44s %12d\n%-44s %12d\n%-44s %8d MiB (%d KiB a login, its connection included)\n%-44s %12v\n%-44s %12v\n", "accepted", accepted, "instances at most", runtime.GOMAXPROCS(0),
		"memory more than before", held>>20, held>>10/logins, "all answered after", time.Since(start).Round(100*time.Millisecond), "CPU a login", ((processCPU() - cpu) / logins).Round(time.Microsecond))
}
