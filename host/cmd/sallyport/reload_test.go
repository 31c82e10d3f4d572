package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/admin"
)

func TestReloadsLeaveMemoryFlat(t *testing.T) { reloads(t, 20) }

// reloads puts another Go plugin into place again and again, while logins go on: none fails, and the
// memory of the server does not grow.
func reloads(t *testing.T, rounds int) {
	wasm, err := os.ReadFile(buildGuestPlugin(t))
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, "")
	conf, err := os.ReadFile(s.path("config.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	conf = []byte(strings.Replace(string(conf), `["accounts"]`, `["guest"]`, 1) + `
authentication "guest" {
  plugin   = "./guest.wasm"
  settings = { user = "visitor", passphrase = "open sesame" }
  grant {
    password = true
    groups   = ["default"]
  }
}`)
	write := func(name string, content []byte) {
		if err := os.WriteFile(s.path(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("config.hcl", conf)
	client := admin.NewClient(func(ctx context.Context) (net.Conn, error) { return dialSocket(ctx, s.path("data")) })
	var logins atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var trying sync.WaitGroup
	var before int
	for n := range rounds {
		// A section that means nothing makes it another file.
		name := strconv.Itoa(n)
		write("guest.wasm", append(wasm[:len(wasm):len(wasm)], append([]byte{0, byte(len(name) + 1), byte(len(name))}, name...)...))
		done, err := client.Reload(ctx)
		if err != nil || len(done.Changed) != 1 {
			t.Fatalf("round %d: %v, %v", n, done.Changed, err)
		}
		if n == 0 {
			for range 2 {
				trying.Go(func() {
					for ctx.Err() == nil {
						if result, err := client.TryLogin(ctx, admin.Login{User: "visitor", Password: "open sesame"}); ctx.Err() == nil && (err != nil || !result.Accepted) {
							t.Errorf("a login was lost: %+v, %v", result, err)
							return
						}
						logins.Add(1)
						time.Sleep(50 * time.Millisecond) // each leaves events, whose ids the event server remembers for two minutes
					}
				})
			}
		}
		if n == rounds/4 {
			before = s.resident()
		}
	}
	after := s.resident()
	cancel()
	trying.Wait()
	t.Logf("%d reloads, %d logins meanwhile, resident %d MiB after a quarter, %d MiB at the end", rounds, logins.Load(), before>>20, after>>20)
	if after > before+before/4+32<<20 {
		t.Errorf("the server grew from %d MiB to %d MiB", before>>20, after>>20)
	}
}

// resident is the memory of the server in bytes.
func (s *server) resident() int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.process.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	pages, _ := strconv.Atoi(strings.Fields(string(text))[1])
	return pages * os.Getpagesize()
}
