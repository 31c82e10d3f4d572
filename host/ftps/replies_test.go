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
	if got := c.cmd(425, "RETR x"); got != "EPSV or PASV comes first." {
		t.Errorf("%q", got)
	}
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
		{"RNFR d", 350, ""},
		{"RNFR nope", 550, ""},
		{"RNTO e", 503, "RNFR comes first."},
		{"MFMT 2020 x", 501, "A time is expected, YYYYMMDDhhmmss in UTC."},
		{"MFMT 20200101000000 nope", 550, "Time not changed: "},
		{"STOR a\tb", 553, "Not opened: filename not allowed: control characters in a name"},
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
	c.cmd(200, "TYPE A")
	if got := c.cmd(550, "SIZE x"); got != "SIZE is for TYPE I." {
		t.Errorf("%q", got)
	}
	c.cmd(200, "TYPE I")
	c.epsv()
	if got := c.cmd(501, "MLSD x"); got != "MLSD is for folders, and MLST for files." {
		t.Errorf("%q", got)
	}
	c.store("STOR blank ", "behind the name")
	c.cmd(200, "SITE CHMOD 600 blank ")
	c.cmd(200, "EPSV ALL")
	c.cmd(503, "PASV")
	c.epsv()
	if got := c.cmd(550, "RETR nope"); got != "Not opened: no such file or directory" {
		t.Errorf("%q", got)
	}
}
