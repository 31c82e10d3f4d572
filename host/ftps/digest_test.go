package ftps_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/ftps"
)

// The digest of a file that was just sent is that of what came, and not read again; of one that was changed meanwhile it is read.
func TestDigestsAreNotReadTwice(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.Digests = ftps.DigestUploads })
	c := f.login()
	content, other := strings.Repeat("0123456789", 100_000), strings.Repeat("9876543210", 100_000)
	sum := func(text string) string { d := sha256.Sum256([]byte(text)); return hex.EncodeToString(d[:]) }
	c.store("STOR a", content)
	before := bytesRead(t)
	reads := func(want int64) { // in units of half the file
		t.Helper()
		now := bytesRead(t)
		if got := (now - before) / 500_000; got != want {
			t.Errorf("%d bytes were read", now-before)
		}
		before = now
	}
	for command, code := range map[string]int{"XSHA256 a": 250, "HASH a": 213} {
		if got := c.cmd(code, "%s", command); !strings.Contains(got, sum(content)) {
			t.Errorf("%s: %s", command, got)
		}
	}
	reads(0)
	if got := c.cmd(250, "XSHA256 a 0 500000"); !strings.Contains(got, sum(content[:500_000])) {
		t.Errorf("a part: %s", got)
	}
	reads(1)
	first := map[string]string{"XCRC": c.cmd(250, "XCRC a"), "MD5": c.cmd(250, "MD5 a")}
	reads(4)
	c.store("STOR a", content) // now it computes what was asked for before, too
	before = bytesRead(t)
	for command, want := range first {
		if got := c.cmd(250, "%s a", command); got != want {
			t.Errorf("%s: %s, want %s", command, got, want)
		}
	}
	reads(0)

	// Other bytes of the same size and time, by whoever wrote, moved or dated them.
	file := filepath.Join(f.home, "a")
	when := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	c.cmd(213, "MFMT 20200102030405 a")
	_ = c.cmd(250, "XSHA256 a")
	time.Sleep(20 * time.Millisecond) // file systems count so
	if err := os.WriteFile(file, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, when, when); err != nil {
		t.Fatal(err)
	}
	if got := c.cmd(250, "XSHA256 a"); !strings.Contains(got, sum(other)) {
		t.Errorf("written to by others: %s", got)
	}
	c.store("STOR b", content)
	c.cmd(213, "MFMT 20200102030405 b")
	_ = c.cmd(250, "XSHA256 b")
	c.cmd(350, "RNFR b")
	c.cmd(250, "RNTO a")
	if got := c.cmd(250, "XSHA256 a"); !strings.Contains(got, sum(content)) {
		t.Errorf("after a rename: %s", got)
	}
	c.cmd(501, "XSHA256 a x")
	c.cmd(550, "XSHA256 a 5 2")
	c.cmd(550, "XSHA256 a 0 2000000")
	c.cmd(550, "XSHA256 ../../etc/passwd")
}

// A download is told of also if the next command is there before it begins.
func TestPipelinedDownloadIsToldOf(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.Digests = ftps.DigestAll })
	c := f.login()
	c.store("STOR a", "content")
	addr := c.epsv()
	if _, err := io.WriteString(c.raw, "RETR a\r\nSTAT\r\n"); err != nil {
		t.Fatal(err)
	}
	conn, done := c.connect(addr)
	defer done()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
	waitFor(t, func() bool {
		for _, e := range f.notes.events() {
			if file, ok := e.(*events.File); ok && file.What == events.FileDownloadedType && file.SHA256 != "" {
				return true
			}
		}
		return false
	})
}

// bytesRead is how many this process has read so far (proc(5), rchar).
func bytesRead(t *testing.T) (n int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(text), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestUmaskAndSync(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.Umask, o.SyncUploads, o.MaxPath = 0o077, true, 100 })
	c := f.login()
	c.cmd(257, "MKD d")
	c.store("STOR d/a", "content")
	for name, want := range map[string]os.FileMode{"d": 0o700 | os.ModeDir, "d/a": 0o600} {
		if info, err := os.Stat(filepath.Join(f.home, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	long := strings.Repeat("x", 120)
	c.cmd(553, "STOR %s", long)
	c.cmd(550, "MKD %s", long)
	c.cmd(550, "CWD d/%s", long)
}

func TestSITETimesAndSessions(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	c.store("STOR a file", "content")
	for command, want := range map[string]string{
		"SITE UTIME 20200102030405 a file":                                   "20200102030405",
		"SITE UTIME 202101020304 a file":                                     "20210102030400",
		"SITE UTIME a file 20190101000000 20220102030405 20190101000000 UTC": "20220102030405",
	} {
		c.cmd(200, "%s", command)
		if got := c.cmd(213, "MDTM a file"); got != want {
			t.Errorf("%s: %s", command, got)
		}
	}
	for _, command := range []string{"SITE UTIME", "SITE UTIME a file", "SITE UTIME 2020 a file", "SITE UTIME 20201399000000 a"} {
		c.cmd(501, "%s", command)
	}
	c.cmd(550, "SITE UTIME 20200102030405 nobody")
	if got := c.cmd(200, "SITE WHO"); strings.Count(got, "127.0.0.1") != 1 {
		t.Error(got)
	}
	if got := c.cmd(200, "SITE QUOTA"); got != "There is no quota." {
		t.Error(got)
	}
}
