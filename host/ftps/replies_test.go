package ftps_test

import (
	"slices"
	"strings"
	"testing"
)

// What a client hears is what RFC 2389, 3659 and the draft on HASH want, and in plain words.
func TestReplies(t *testing.T) {
	f := newFixture(t)
	c := f.secure()
	c.cmd(200, "OPTS MLST Type;")
	c.cmd(214, "HELP")
	c = f.login()
	c.cmd(200, "OPTS MLST Type;")
	features := strings.Split(c.cmd(211, "FEAT"), "\n")
	for _, want := range []string{" HASH CRC32;MD5;SHA-1;SHA-256*;SHA-512", " MLST Type*;Size;Modify;Perm;UNIX.mode;", " AUTH TLS", " PROT", " EPSV", " AVBL"} {
		if !slices.Contains(features, want) {
			t.Errorf("no %q in %q", want, features)
		}
	}
	if slices.Contains(features, " EPRT") {
		t.Error("FEAT offers active mode")
	}
	c.store("STOR x", "content")
	for _, r := range []struct {
		line string
		code int
		want string
	}{
		{"OPTS MLST Size;", 200, "MLST OPTS Size;"},
		{"STRU F", 200, "Structure is file."},
		{"STRU R", 504, "STRU F is expected."},
		{"HELP", 214, "FEAT lists the extensions. SITE knows CHMOD, UTIME, PSWD, QUOTA, WHO and HELP."},
		{"SITE help", 214, "FEAT lists the extensions. SITE knows CHMOD, UTIME, PSWD, QUOTA, WHO and HELP."},
		{"SITE X", 504, "SITE HELP says what there is."},
		{"PORT 127,0,0,1,200,10", 502, "Active mode is off: use EPSV or PASV."},
		{"ALLO many", 501, "A number is expected."},
		{"ALLO 9000000000000000000", 550, "No room: storage limit exceeded"},
		{"EPSV 2", 522, "Use (1)."},
		{"EPSV x", 501, "EPSV, EPSV 1 or EPSV ALL is expected."},
		{"EPSV 1", 229, "Entering Extended Passive Mode"},
		{"MKD d", 257, `"/d" created.`},
		{"RNFR", 501, "RNFR needs something behind it."},
		{"RNFR d", 350, ""},
		{"RNTO nope/d", 550, ""},
		{"RNTO e", 503, "RNFR comes first."},
		{"XCUP", 250, ""},
		{"CCC", 502, "This command is not implemented."},
		{"STAT nope", 550, "Not listed: no such file or directory"},
		{"LIST nope", 550, "Not listed: no such file or directory"},
	} {
		if got := c.cmd(r.code, "%s", r.line); !strings.HasPrefix(got, r.want) {
			t.Errorf("%s: %q", r.line, got)
		}
	}
	if got := c.cmd(212, "STAT /"); !strings.Contains(got, "\n -rw") || strings.Contains(got, "%s") {
		t.Errorf("STAT: %q", got)
	}
	c.store("STOR SHA-256;", "a name like a line of FEAT")
	if got := c.cmd(213, "STAT SHA-256;"); !strings.HasSuffix(got, " SHA-256;\nEnd") {
		t.Errorf("%q", got)
	}
	c.cmd(200, "EPSV ALL")
	c.cmd(503, "PASV")
	c.epsv()
	if got := c.cmd(550, "RETR nope"); got != "Not opened: no such file or directory" {
		t.Errorf("%q", got)
	}
}
