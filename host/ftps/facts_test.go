package ftps_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

// MLST and MLSD say the facts of RFC 3659, as far as the client asks for them.
func TestFacts(t *testing.T) {
	f := newFixture(t)
	rule, err := policy.NewPathRule("/look/*", policy.Read|policy.List)
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := policy.NewPathRule("/hidden*", 0)
	if err != nil {
		t.Fatal(err)
	}
	f.authority.access = policy.FullAccess().Narrow(policy.Layer{General: policy.FullControl, Rules: []policy.PathRule{rule, hidden}})
	c := f.login()
	when := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, folder := range []string{"look", "look/deep"} {
		if err := os.Mkdir(filepath.Join(f.home, folder), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"a file", "look/file"} {
		name := filepath.Join(f.home, file)
		if err := os.WriteFile(name, []byte("content"), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, when, when); err != nil {
			t.Fatal(err)
		}
	}
	const own, look = "Type=file;Size=7;Modify=20200102030405;Perm=adfrw;UNIX.mode=0640;", "Type=file;Size=7;Modify=20200102030405;Perm=r;UNIX.mode=0640;"
	for command, want := range map[string]string{
		"MLST a file":     own + " /a file",
		"MLST /a file":    own + " /a file",
		"MLST look/file":  look + " /look/file",
		"MLST look//file": look + " /look/file",
	} {
		if got := c.cmd(250, "%s", command); got != "Listed:\n "+want+"\nEnd" {
			t.Errorf("%s: %q", command, got)
		}
	}
	for command, want := range map[string]string{"MLST": "Perm=celmp;", "MLST /": "Perm=celmp;", "MLST look": "Perm=defl;", "MLST look/deep": "Perm=l;"} {
		if got := c.cmd(250, "%s", command); !strings.Contains(got, " Type=dir;") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", command, got)
		}
	}
	if got := c.cmd(550, "MLST nope"); got != "Not listed: no such file or directory" {
		t.Errorf("%q", got)
	}
	_ = c.fetch("NLST a*")
	c.cmd(550, "MLST a*") // a pattern is for LIST and NLST

	if err := os.Symlink("hidden name", filepath.Join(f.home, "peek")); err != nil {
		t.Fatal(err)
	}
	if got := c.fetch("LIST") + c.fetch("MLSD"); strings.Contains(got, "hidden") || !strings.Contains(got, " peek -> elsewhere") {
		t.Errorf("a link tells the name of what may not be seen: %q", got)
	}
	listed := strings.Split(c.fetch("MLSD look"), "\r\n")
	if !slices.Contains(listed, look+" file") || len(listed) != 3 {
		t.Errorf("%q", listed)
	}
	for _, o := range []struct{ option, answer, features, line string }{
		{"OPTS MLST type;perm;size;hair", "MLST OPTS Type;Size;Perm;", " MLST Type*;Size*;Modify;Perm*;UNIX.mode;", "Type=file;Size=7;Perm=r; file\r\n"},
		{"OPTS MLST", "MLST OPTS", " MLST Type;Size;Modify;Perm;UNIX.mode;", " file\r\n"},
		{"OPTS MLST UNIX.mode;Modify;", "MLST OPTS Modify;UNIX.mode;", " MLST Type;Size;Modify*;Perm;UNIX.mode*;", "Modify=20200102030405;UNIX.mode=0640; file\r\n"},
	} {
		if got := c.cmd(200, "%s", o.option); got != o.answer {
			t.Errorf("%s: %q", o.option, got)
		}
		if got := strings.Split(c.cmd(211, "FEAT"), "\n"); !slices.Contains(got, o.features) {
			t.Errorf("%s: %q", o.option, got)
		}
		if got := c.fetch("MLSD look"); !strings.Contains("\r\n"+got, "\r\n"+o.line) {
			t.Errorf("%s: %q", o.option, got)
		}
	}
}

// A listing goes out in records full, however short its lines are.
func TestListingFillsRecords(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	for i := range 900 {
		if err := os.WriteFile(filepath.Join(f.home, fmt.Sprint("file ", i)), nil, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for _, command := range []string{"LIST", "NLST", "MLSD"} {
		addr := c.epsv()
		if err := c.text.PrintfLine("%s", command); err != nil {
			t.Fatal(err)
		}
		raw, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		wire := &recorded{Conn: raw}
		conn := tls.Client(wire, clientTLS())
		c.expect(150)
		content, err := io.ReadAll(conn)
		if lines := bytes.Count(content, []byte("\r\n")); err != nil || lines != 900 {
			t.Errorf("%s: %d lines: %v", command, lines, err)
		}
		_ = conn.Close()
		c.expect(226)
		if n, most := records(wire.read.Bytes()), 12+len(content)/8192; n > most {
			t.Errorf("%s: %d bytes in %d records, more than %d", command, len(content), n, most)
		}
	}
}

// recorded keeps what was read.
type recorded struct {
	net.Conn
	read bytes.Buffer
}

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.read.Write(p[:n])
	return n, err
}

// records counts those of TLS (RFC 8446, section 5.1).
func records(wire []byte) (n int) {
	const header = 5
	for ; len(wire) >= header; n++ {
		wire = wire[min(len(wire), header+int(binary.BigEndian.Uint16(wire[3:]))):]
	}
	return n
}
