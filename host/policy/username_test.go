package policy_test

import (
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

func TestUsername(t *testing.T) {
	for typed, want := range map[string]string{
		"alice": "alice", "ALICE": "alice", "ａｌｉｃｅ": "alice", "Ångström": "ångström", "a\u030angstro\u0308m": "ångström",
		"alice@example.org": "alice@example.org", "a/b": "a/b", "*)(uid=*": "*)(uid=*",
		"": "", "two words": "", "nul\x00": "", "\xff": "", "line\nbreak": "", strings.Repeat("a", 129): "", "\u200balice": "",
	} {
		got, err := policy.Username(typed)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", typed, got, err, want)
		}
		if err != nil && len(typed) > 2 && strings.Contains(err.Error(), typed) {
			t.Errorf("%q: the error holds the name", typed)
		}
	}
}

func TestPathElement(t *testing.T) {
	for _, bad := range []string{"", ".", "..", ".hidden", "a/b", `a\b`, "c:", "nul\x00"} {
		if policy.PathElement(bad) == nil {
			t.Errorf("%q was allowed as a folder", bad)
		}
	}
	if err := policy.PathElement("alice@example.org"); err != nil {
		t.Error(err)
	}
}

func FuzzUsername(f *testing.F) {
	for _, s := range []string{"alice", "ＡＬＩＣＥ", "\u0345x", "ﬁ", "ß"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		name, err := policy.Username(typed)
		if err != nil {
			return
		}
		again, err := policy.Username(name)
		if err != nil || again != name {
			t.Errorf("not stable: %q -> %q -> %q, %v", typed, name, again, err)
		}
	})
}
