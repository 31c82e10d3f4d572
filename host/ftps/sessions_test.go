package ftps_test

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/ftps"
)

// An administrator sees who is logged in, and ends sessions, idle or not, with a word.
func TestSessionsAreListedAndEnded(t *testing.T) {
	f := newFixture(t)
	f.secure() // who is not logged in is not listed
	idle, busy := f.login(), f.login()
	conn := busy.data("STOR x")
	if _, err := io.WriteString(conn, "half"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { all := f.service.Sessions(); return len(all) == 2 && all[1].Busy && all[1].Received == 0 })
	all := f.service.Sessions()
	if all[0].User != "alice" || all[0].Busy || all[0].ID == all[1].ID || all[0].TLS != "TLS 1.3" || !all[0].Peer.IsValid() || all[0].Since.IsZero() {
		t.Errorf("%+v", all)
	}
	if n := f.service.CloseSessions("nobody"); n != 0 {
		t.Errorf("%d", n)
	}
	if n := f.service.CloseSessions(all[0].ID); n != 1 {
		t.Errorf("%d", n)
	}
	if said := idle.expect(421); !strings.Contains(said, "An administrator ended the session.") {
		t.Error(said)
	}
	waitFor(t, func() bool { return len(f.service.Sessions()) == 1 })
	if n := f.service.CloseSessions("alice"); n != 1 {
		t.Errorf("%d", n)
	}
	busy.expect(421)
	waitFor(t, func() bool { return len(f.service.Sessions()) == 0 })
	waitFor(t, func() bool { left, _ := os.ReadDir(filepath.Join(f.home, ".sallyport-uploads")); return len(left) == 0 }) // the transfer was cut too
	if _, err := os.Stat(filepath.Join(f.home, "x")); err == nil {
		t.Error("half a file")
	}
}

// A user has so many sessions at a time, and a refused login takes no place. Only who could have logged in hears of the limit.
func TestSessionsOfOneUser(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.MaxPerAccount = 2 })
	first := f.login()
	f.login()
	for range 3 {
		c := f.secure()
		c.cmd(331, "USER alice")
		c.cmd(421, "PASS canary-4711")
		c.gone()
	}
	f.authority.trace = []auth.Trace{{Method: "push", Factor: true}} // a client that tries again by itself would ask somebody again
	asked := f.secure()
	asked.cmd(331, "USER alice")
	asked.cmd(530, "PASS canary-4711")
	f.authority.trace = nil
	other := f.secure()
	other.cmd(331, "USER nobody")
	other.cmd(530, "PASS canary-4711")
	first.cmd(221, "QUIT")
	waitFor(t, func() bool { return len(f.service.Sessions()) == 1 })
	f.login()
}

// Behind NAT, PASV says the address that the client's network can reach.
func TestPublicAddress(t *testing.T) {
	network := netip.MustParsePrefix
	for name, c := range map[string]struct {
		addresses []ftps.PublicAddress
		want      string
	}{
		"none":                {nil, "(127,0,0,1,"},
		"for all":             {[]ftps.PublicAddress{{network("0.0.0.0/0"), netip.MustParseAddr("203.0.113.5")}}, "(203,0,113,5,"},
		"own for its own":     {[]ftps.PublicAddress{{Network: network("127.0.0.0/8")}, {network("0.0.0.0/0"), netip.MustParseAddr("203.0.113.5")}}, "(127,0,0,1,"},
		"for others":          {[]ftps.PublicAddress{{network("10.0.0.0/8"), netip.MustParseAddr("203.0.113.5")}}, "(127,0,0,1,"},
		"the first that fits": {[]ftps.PublicAddress{{network("127.0.0.1/32"), netip.MustParseAddr("198.51.100.1")}, {network("0.0.0.0/0"), netip.MustParseAddr("203.0.113.5")}}, "(198,51,100,1,"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(o *ftps.Options) { o.PublicAddresses = c.addresses })
			if said := f.login().cmd(227, "PASV"); !strings.Contains(said, c.want) {
				t.Errorf("%s, want %s", said, c.want)
			}
		})
	}
}
