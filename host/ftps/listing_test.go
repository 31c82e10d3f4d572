package ftps_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A large folder, which is read while it is sent, lists as the same one would if it were small.
func TestLargeFolder(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	when := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	make := func(folder string, n int) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(f.home, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			file := filepath.Join(f.home, folder, fmt.Sprintf("file %04d", i))
			if err := os.WriteFile(file, []byte("content"), 0o640); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(file, when, when); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("file 0000", filepath.Join(f.home, folder, "link")); err != nil {
			t.Fatal(err)
		}
	}
	sorted := func(command string) []string {
		lines := strings.Split(strings.TrimSuffix(c.fetch(command), "\r\n"), "\r\n")
		slices.Sort(lines)
		return lines
	}
	make("small", 900)
	make("large", 3456)
	for command, want := range map[string]string{
		"LIST": "-rw-r----- 1 ftp ftp            7 Jan  2  2020 file 0001",
		"MLSD": "Type=file;Size=7;Modify=20200102030405;Perm=adfrw;UNIX.mode=0640; file 0001",
		"NLST": "large/file 0001",
	} {
		small, large := sorted(command+" small"), sorted(command+" large")
		if len(large) != 3457 || len(small) != 901 {
			t.Errorf("%s: %d and %d lines", command, len(small), len(large))
		}
		if !slices.Contains(large, want) {
			t.Errorf("%s: there is no line %q, but %q", command, want, large[:3])
		}
		for _, line := range small {
			if line = strings.Replace(line, "small/", "large/", 1); !slices.Contains(large, line) && !strings.Contains(line, " link") { // whose time is another one
				t.Errorf("%s: %q is in the small one only", command, line)
			}
		}
	}
	if got := sorted("NLST large/file 000*"); len(got) != 10 {
		t.Errorf("%q", got)
	}
	if got := sorted("NLST large/file [12]*"); len(got) != 2000 {
		t.Errorf("%d lines", len(got))
	}
	if got := c.fetch("NLST large/nothing*"); got != "" {
		t.Errorf("%q", got)
	}
	c.cmd(250, "CWD large")
	if got := sorted("NLST"); !slices.Contains(got, "file 0001") || len(got) != 3457 {
		t.Errorf("%q", got[:3])
	}
	c.cmd(250, "CWD ../small")
	if got := sorted("NLST ../large"); !slices.Contains(got, "../large/file 0001") || len(got) != 3457 {
		t.Errorf("%q", got[:3])
	}
	c.cmd(550, "STAT ../large")

	// Who goes away in the middle, and files that do, harm nothing.
	conn := c.data("LIST ../large")
	_ = conn.NetConn().Close()
	if _, _, err := c.text.ReadResponse(0); err != nil {
		t.Error(err)
	}
	conn = c.data("LIST ../large") // its first block may be sent
	if err := os.RemoveAll(filepath.Join(f.home, "large")); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, conn)
	_ = conn.Close()
	if _, _, err := c.text.ReadResponse(0); err != nil {
		t.Error(err)
	}
	if got := sorted("NLST"); len(got) != 901 {
		t.Errorf("%d", len(got))
	}
}

// LIST and MLSD say what is there as ls does, and as clients read it: links as links, so that nobody deletes what they lead to.
func TestLinesOfUnusualFiles(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	year := time.Now().AddDate(1, 0, 0)
	for name, mode := range map[string]os.FileMode{"setuid": 0o755 | os.ModeSetuid, "sticky": 0o770 | os.ModeSticky | os.ModeDir, "setgid": 0o750 | os.ModeSetgid | os.ModeDir, "later": 0o640} {
		path := filepath.Join(f.home, name)
		if mode.IsDir() {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode&^os.ModeDir); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, year, year); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"folder": "setgid", "out": "/etc", "up": "../home/later", "within": "sticky/../later"} {
		if err := os.Symlink(to, filepath.Join(f.home, name)); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.fetch("NLST"); got != "folder\r\nlater\r\nout\r\nsetgid\r\nsetuid\r\nsticky\r\nup\r\nwithin\r\n" {
		t.Errorf("not sorted: %q", got)
	}
	list, facts := c.fetch("LIST"), "\r\n"+c.fetch("MLSD")
	for _, want := range []string{
		"\r\n-rwxr-xr-x 1 ftp ftp            0 ", "drwxrwx--- 1 ", "drwxr-x--- 1 ", " folder -> setgid\r\n", " out -> elsewhere\r\n", " up -> elsewhere\r\n", " within -> sticky/../later\r\n",
		year.Format("Jan _2  2006") + " later\r\n",
	} {
		if !strings.Contains("\r\n"+list, want) {
			t.Errorf("no %q in %q", want, list)
		}
	}
	for _, want := range []string{"UNIX.mode=0755; setuid\r\n", "UNIX.mode=0770; sticky\r\n", "UNIX.mode=0750; setgid\r\n"} {
		if !strings.Contains(facts, want) {
			t.Errorf("no %q in %q", want, facts)
		}
	}
	for want, times := range map[string]int{"Type=OS.unix=slink:setgid;": 1, "Type=OS.unix=slink:sticky/../later;": 1, "Type=OS.unix=symlink;": 2} {
		if n := strings.Count(facts, "\r\n"+want); n != times {
			t.Errorf("%d times %q in %q", n, want, facts)
		}
	}
	if got := c.fetch("LIST setuid"); !strings.HasPrefix(got, "-rwxr-xr-x 1 ") {
		t.Errorf("%q", got)
	}
	if got := c.cmd(212, "STAT /"); strings.Contains(got, "L") || strings.Contains(got, "dt") {
		t.Errorf("%q", got)
	}
	if got := c.cmd(550, "RETR out"); got != "Not opened: the link leads elsewhere: file does not exist" {
		t.Errorf("%q", got)
	}
	c.cmd(250, "DELE folder")
	if _, err := os.Stat(filepath.Join(f.home, "setgid")); err != nil {
		t.Error(err)
	}
}

// What stays in a folder is listed, whatever comes and goes beside it meanwhile.
func TestListingWhileFilesComeAndGo(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	const stay = 2500
	for i := range stay {
		if err := os.WriteFile(filepath.Join(f.home, fmt.Sprintf("stays %04d", i)), nil, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			file := filepath.Join(f.home, fmt.Sprint("goes ", i%50))
			if os.WriteFile(file, nil, 0o640) != nil || os.Remove(file) != nil {
				return
			}
		}
	}()
	for range 20 {
		for _, command := range []string{"LIST", "NLST", "MLSD"} {
			if n := strings.Count(c.fetch(command), "stays "); n != stay {
				t.Errorf("%s: %d of %d files", command, n, stay)
			}
		}
	}
	close(stop)
	<-stopped
}

// A listing ends with its connection, and facts may change behind ABOR.
func TestABORInAListing(t *testing.T) {
	f := newFixture(t)
	for i := range 20_000 {
		if err := os.WriteFile(filepath.Join(f.mustHome(), fmt.Sprintf("%0200d", i)), nil, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	c := f.login()
	for _, facts := range []string{"Type;", "Type;Size;Modify;Perm;UNIX.mode;"} {
		conn := c.data("MLSD")
		if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		if err := c.text.PrintfLine("ABOR\r\nOPTS MLST %s", facts); err != nil {
			t.Fatal(err)
		}
		for code := 0; code != 200; {
			if code, _, _ = c.text.ReadResponse(0); code == 0 {
				t.Fatal("the session is gone")
			}
		}
		_ = conn.NetConn().Close()
	}
	if n := strings.Count(c.fetch("NLST"), "\r\n"); n != 20_000 {
		t.Errorf("%d files", n)
	}
}
