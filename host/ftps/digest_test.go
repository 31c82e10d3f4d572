package ftps_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/ftps"
)

// The digest of a file that was just sent is that of what came, and not read again; of one that was changed meanwhile it is read.
func TestDigestsAreNotReadTwice(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.Digests = ftps.DigestUploads })
	c := f.login()
	content := strings.Repeat("0123456789", 100_000)
	sum := func(text string) string { d := sha256.Sum256([]byte(text)); return hex.EncodeToString(d[:]) }
	c.store("STOR a", content)
	file := filepath.Join(f.home, "a")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	// Other bytes of the same size and time: who reads again sees them.
	other := strings.Repeat("9876543210", 100_000)
	change := func(text string, when time.Time) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, when, when); err != nil {
			t.Fatal(err)
		}
	}
	change(other, info.ModTime())
	if got := c.cmd(250, "XSHA256 a"); !strings.Contains(got, sum(content)) {
		t.Errorf("read again: %s", got)
	}
	if got := c.cmd(213, "HASH a"); !strings.Contains(got, sum(content)) || !strings.Contains(got, "SHA-256 0-1000000") {
		t.Errorf("read again: %s", got)
	}
	if got := c.cmd(250, "XSHA256 a 0 500000"); !strings.Contains(got, sum(other[:500_000])) {
		t.Errorf("a part: %s", got)
	}
	change(other, info.ModTime().Add(time.Second))
	if got := c.cmd(250, "XSHA256 a"); !strings.Contains(got, sum(other)) {
		t.Errorf("after a change: %s", got)
	}
	// The next upload computes what was asked for before, too.
	want := map[string]string{"XCRC": c.cmd(250, "XCRC a"), "MD5": c.cmd(250, "MD5 a")}
	c.store("STOR a", other)
	if info, err = os.Stat(file); err != nil {
		t.Fatal(err)
	}
	change(content, info.ModTime())
	for command, text := range want {
		if got := c.cmd(250, "%s a", command); got != text {
			t.Errorf("%s: %s, want %s", command, got, text)
		}
	}
	c.cmd(501, "XSHA256 a x")
	c.cmd(550, "XSHA256 a 5 2")
	c.cmd(550, "XSHA256 a 0 2000000")
	c.cmd(550, "XSHA256 ../../etc/passwd")
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
