//go:build bench

package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/plugins/secsign/idserver"
)

// TestBenchPhone holds 10,000 FTPS connections, each of its own user with its own push, and approves them all.
func TestBenchPhone(t *testing.T) {
	const logins, poll = 10_000, 20
	names := make([]string, logins)
	for i := range names {
		names[i] = fmt.Sprintf("user%d", i)
	}
	ids := idserver.New(idserver.Options{Lifetime: time.Hour}, names...)
	web := httptest.NewTLSServer(ids.Handler())
	defer web.Close()
	web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	dir := t.TempDir()
	ca, wasm := dir+"/ca.pem", dir+"/accept.wasm"
	writeFile(t, ca, bytes.NewReader(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})))
	// The first factor lets everybody in: the hash of a password would be most of what is measured.
	if out, err := exec.Command("wat2wasm", repository(t)+"/host/sandbox/testdata/hostile/accept.wat", "-o", wasm).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	port := freePort(t)
	s := newServer(t, fmt.Sprintf(`
service "ftps" "phones" {
  listen                     = "127.0.0.1:%s"
  authentications            = ["everybody"]
  max_connections            = 20000
  max_connections_per_source = 20000
  login_timeout              = "30m"
  idle_timeout               = "1h"
}
authentication "everybody" {
  plugin        = %q
  second_factor = ["phone"]
  grant {
    groups = ["default"]
  }
}
authentication "phone" {
  plugin  = "secsign"
  timeout = "25m"
  settings = {
    server       = %q
    service_name = "Bench"
    pattern      = "{username}"
    poll         = "%ds"
    wait         = "20m"
  }
  grant {
    http = [%[3]q]
    ca   = file(%[5]q)
  }
  limits {
    run = "5s" # the clients and the ID server want the same two cores
  }
}
attempts {
  per_account = 1000
  per_source  = 100000
}
`, port, wasm, web.URL, poll, ca))
	before := s.resident()
	var mu sync.Mutex
	approvedAt, in := map[string]time.Time{}, []time.Duration{}
	var clients sync.WaitGroup
	start := time.Now()
	room := make(chan struct{}, 64) // that shake hands at once
	for _, name := range names {
		clients.Go(func() {
			room <- struct{}{}
			answer := beginLogin(t, "127.0.0.1:"+port, name)
			<-room
			if answer() {
				mu.Lock()
				in = append(in, time.Since(approvedAt[name]))
				mu.Unlock()
			}
		})
	}
	for last, since := 0, time.Now(); last < logins && time.Since(since) < 15*time.Second; time.Sleep(time.Second) {
		if n := len(ids.Open()); n > last {
			last, since = n, time.Now()
		}
	}
	all := ids.Open()
	arrived := time.Since(start)
	time.Sleep(5 * time.Second)
	held := s.resident() - before
	cpu, window := s.cpu(t), 20*time.Second
	time.Sleep(window)
	cpu = s.cpu(t) - cpu
	for _, one := range all {
		mu.Lock()
		approvedAt[one.SecSignID] = time.Now()
		mu.Unlock()
		if err := ids.Answer(one.ID, idserver.Authenticated); err != nil {
			t.Error(err)
		}
	}
	clients.Wait()
	slices.Sort(in)
	if len(in) == 0 {
		t.Fatal("nobody got in")
	}
	at := func(p int) time.Duration { return in[min(len(in)-1, len(in)*p/100)].Round(10 * time.Millisecond) }
	fmt.Printf("\n%d FTPS connections that wait for a push each, polled every %d s\n%-44s %12d in %v\n%-44s %8d KiB, its connection and TLS included\n%-44s %12.2f cores\n%-44s %12d of %d\n%-44s %12v p50, %v p99 (a poll comes after %d s at most)\n",
		len(all), poll, "waiting", len(all), arrived.Round(time.Second), "memory a login", held>>10/max(1, len(all)), "CPU of the server while they wait", cpu.Seconds()/window.Seconds(),
		"accepted", len(in), logins, "from approval to 230", at(50), at(99), poll)
	if strings.Contains(s.log.String(), "panic") {
		t.Error(s.log.String())
	}
	_ = os.Stdout.Sync()
}
