package ftps_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/ftps"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

// storing sends a file and returns the code of the reply, of whichever part of the transfer.
func (c *client) storing(command, content string) string {
	c.f.Helper()
	addr := c.epsv()
	if err := c.text.PrintfLine("%s", command); err != nil {
		c.f.Fatal(err)
	}
	conn, done := c.connect(addr)
	defer done()
	line, err := c.text.ReadLine()
	if err != nil {
		c.f.Fatal(err)
	}
	if !strings.HasPrefix(line, "150") {
		return line[:3]
	}
	_, _ = io.WriteString(conn, content)
	_ = conn.Close()
	if line, err = c.text.ReadLine(); err != nil {
		c.f.Fatal(err)
	}
	return line[:3]
}

func TestQuota(t *testing.T) {
	for _, atomic := range []bool{true, false} {
		f := newFixture(t, func(o *ftps.Options) { o.AtomicUpload = atomic })
		f.authority.limits = policy.Limits{Bytes: 1000, Files: 3}
		c := f.login()
		kilo := strings.Repeat("x", 1000)
		expect := func(what, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("atomic %v, %s: %s, want %s; %s", atomic, what, got, want, c.cmd(200, "SITE QUOTA"))
			}
		}
		expect("all of it", c.storing("STOR a", kilo), "226")
		expect("AVBL", c.cmd(213, "AVBL"), "0")
		expect("a byte more", c.storing("APPE a", "x"), "552")
		expect("another file", c.storing("STOR b", "x"), "552")
		expect("the same file again", c.storing("STOR a", kilo[:900]), "226")
		expect("AVBL", c.cmd(213, "AVBL"), "100")
		c.cmd(200, "ALLO 100")
		c.cmd(550, "ALLO 101")
		c.cmd(550, "ALLO -1")
		expect("100 bytes more", c.storing("STOR b", kilo[:100]), "226")
		c.cmd(350, "REST 50")
		expect("resumed within", c.storing("STOR b", kilo[:50]), "226")
		c.cmd(350, "REST 50")
		expect("resumed beyond", c.storing("STOR b", kilo[:51]), "552")
		c.cmd(250, "DELE a")
		c.cmd(250, "DELE b")
		for _, name := range []string{"1", "2", "3"} {
			expect(name, c.storing("STOR "+name, ""), "226")
		}
		expect("a fourth", c.storing("STOR 4", ""), "552")
		expect("AVBL", c.cmd(213, "AVBL"), "0")
		c.cmd(350, "RNFR 1")
		c.cmd(250, "RNTO 2")
		expect("after a rename over another", c.storing("STOR 4", kilo), "226")
		if got := c.cmd(200, "SITE QUOTA"); got != "1000 of 1000 bytes, 3 of 3 files." {
			t.Errorf("atomic %v: %s", atomic, got)
		}
		// What somebody else did is seen before anybody is refused.
		if err := os.Remove(filepath.Join(f.home, "4")); err != nil {
			t.Fatal(err)
		}
		expect("after an administrator made room", c.eventually("STOR 5", kilo, "226"), "226")
		full := 0
		for _, e := range f.notes.events() {
			if file, ok := e.(*events.File); ok && file.Reason == events.QuotaExceeded && file.What == events.FileInterruptedType && file.Direction == "up" {
				full++
			}
		}
		if full < 4 {
			t.Errorf("atomic %v: %d events say that the quota is full", atomic, full)
		}
	}
}

// eventually tries for longer than the folder is not looked at again.
func (c *client) eventually(command, content, want string) (got string) {
	for range 200 {
		if got = c.storing(command, content); got == want {
			return got
		}
		time.Sleep(20 * time.Millisecond)
	}
	return got
}

// Whoever deletes a file while it is being replaced gains nothing.
func TestQuotaCountsWhatIsReplacedOnce(t *testing.T) {
	f := newFixture(t)
	f.authority.limits = policy.Limits{Bytes: 1000}
	c, other := f.login(), f.login()
	kilo := strings.Repeat("x", 1000)
	c.store("STOR a", kilo)
	for range 5 {
		conn := c.data("STOR a")
		if _, err := io.WriteString(conn, "x"); err != nil {
			t.Fatal(err)
		}
		other.cmd(250, "DELE a")
		_, _ = io.WriteString(conn, strings.Repeat(kilo, 10))
		_ = conn.Close()
		if code := c.code(); code != "552" {
			t.Errorf("more than the quota: %s", code)
		}
		c.store("STOR a", kilo)
	}
	for range 5 { // both replace the same file
		first, second := c.data("STOR a"), other.data("STOR a")
		for _, conn := range []io.WriteCloser{first, second} {
			_, _ = io.WriteString(conn, kilo)
			_ = conn.Close()
		}
		c.code()
		other.code()
	}
	if got := c.cmd(200, "SITE QUOTA"); got != "1000 of 1000 bytes, 1 files." {
		t.Error(got)
	}
	if code := c.storing("STOR b", "x"); code != "552" {
		t.Errorf("a byte more: %s", code)
	}
}

// Folders count as files, and two names of one file are not taken for two files when one is given to the other.
func TestQuotaOfFoldersAndLinks(t *testing.T) {
	f := newFixture(t)
	f.authority.limits = policy.Limits{Files: 3, Bytes: 3000}
	c := f.login()
	c.cmd(257, "MKD a")
	c.cmd(257, "MKD a/b")
	c.cmd(550, "MKD a/b") // is there already: counts for nothing
	c.cmd(257, "MKD a/c")
	c.cmd(550, "MKD a/d")
	c.cmd(250, "RMD a/b")
	if code := c.storing("STOR x", strings.Repeat("x", 1000)); code != "226" {
		t.Errorf("%s: %s", code, c.cmd(200, "SITE QUOTA"))
	}
	c.cmd(250, "RMD a/c")
	if err := os.Link(filepath.Join(f.home, "x"), filepath.Join(f.home, "y")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.cmd(350, "RNFR x")
		c.cmd(250, "RNTO y")
	}
	if got := c.cmd(200, "SITE QUOTA"); got != "1000 of 3000 bytes, 2 of 3 files." { // and not less; the link is seen at the next count
		t.Error(got)
	}
}

// code is that of the next reply.
func (c *client) code() string {
	c.f.Helper()
	line, err := c.text.ReadLine()
	if err != nil {
		c.f.Fatal(err)
	}
	return line[:3]
}

// Sessions of one user at the same time can't have more than the quota together.
func TestQuotaIsShared(t *testing.T) {
	f := newFixture(t)
	f.authority.limits = policy.Limits{Bytes: 100_000}
	const each = 10_000
	var mu sync.Mutex
	var sending sync.WaitGroup
	stored := 0
	for _, name := range strings.Split("abcdefghijklmnop", "") {
		c := f.login()
		sending.Go(func() {
			if c.storing("STOR "+name, strings.Repeat(name, each)) == "226" {
				mu.Lock()
				defer mu.Unlock()
				stored++
			}
		})
	}
	sending.Wait()
	var size int64
	for _, name := range strings.Split("abcdefghijklmnop", "") {
		if info, err := os.Stat(filepath.Join(f.home, name)); err == nil {
			size += info.Size()
		}
	}
	if size > 100_000 || size != int64(stored)*each || stored == 0 {
		t.Errorf("%d bytes are there, of %d files", size, stored)
	}
}

// Who sends a file that there is no room for hears so, and is not cut in the middle: clients would try again and again.
func TestRefusedUploadHearsWhy(t *testing.T) {
	f := newFixture(t)
	f.authority.limits = policy.Limits{Bytes: 1 << 20}
	for _, atomic := range []string{"STOR x", "APPE y"} {
		c := f.login()
		conn := c.data("%s", atomic)
		piece := make([]byte, 1<<20)
		for range 64 {
			if _, err := conn.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		_ = conn.CloseWrite()
		if got := c.expect(552); !strings.HasPrefix(got, "Not stored: storage limit exceeded: the quota of 1048576 bytes") {
			t.Errorf("%q", got)
		}
		_ = conn.NetConn().Close()
		c.cmd(250, "CWD /")
	}
}
