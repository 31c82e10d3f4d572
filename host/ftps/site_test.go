package ftps_test

import (
	"strings"
	"testing"
)

func TestSitePSWD(t *testing.T) {
	f := newFixture(t)
	c := f.login()
	for _, wrong := range []string{"", "old", `"old`, `old new more`, `"old"new`, `"" new`, `old ""`} {
		if got := c.cmd(501, "SITE PSWD %s", wrong); !strings.Contains(got, "SITE PSWD old new") {
			t.Errorf("%q: %s", wrong, got)
		}
	}
	if got := c.cmd(550, `SITE PSWD wrong new`); !strings.Contains(got, "the old one is wrong") {
		t.Error(got)
	}
	if got := c.cmd(550, `SITE PSWD "the ""old"" one" other`); !strings.Contains(got, "last 8 passwords") || strings.Contains(got, "other;") {
		t.Error(got)
	}
	c.cmd(550, `SITE PSWD "the ""old"" one" panic`)
	c.cmd(200, `SITE PSWD "the ""old"" one" new`)
	c.cmd(200, `site pswd "the ""old"" one" "new"`)
	if got := c.cmd(214, "SITE HELP"); !strings.Contains(got, "PSWD") {
		t.Error(got)
	}
}
