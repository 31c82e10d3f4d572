package policy

import (
	"strings"
	"testing"
)

func TestAccess(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules string
		at    string
		want  Permissions
	}{
		{"no rule matches", "/in/*\tallow-write", "/out/x", FullControl},
		{"glob below", "/in/*\tallow-write", "/in/x", Write},
		{"glob far below", "/in/*\tallow-write", "/in/a/b/c", Write},
		{"glob is the whole path", "/in\tallow-write", "/in/x", FullControl},
		{"not a prefix", "/in/*\tallow-write", "/inner/x", FullControl},
		{"the first wins", "/in/*.txt\tallow-read\n/in/*\tallow-write", "/in/a.txt", Read},
		{"question mark", "/in/?\tallow-write", "/in/ab", FullControl},
		{"class", "/[a-c]*\tallow-write", "/b1", Write},
		{"negated class", "/[!a-c]*\tallow-write", "/b1", FullControl},
		{"dots are dots", "/a.b\tallow-write", "/axb", FullControl},
		{"ends with", "*.exe\tdeny-full-control", "/in/a.exe", 0},
		{"a newline is no way round", "*.exe\tdeny-full-control", "/in/a\nb.exe", 0},
		{"beyond ASCII", "/été/?\tallow-write", "/été/ü", Write},
		{"case counts", "*.exe\tdeny-full-control", "/in/a.EXE", FullControl},
		{"regular expression", `m/^\/in(coming)?\//` + "\tallow-write", "/incoming/x", Write},
		{"dots in the path are resolved", "/in/*\tallow-write", "/out/../in/x", Write},
		{"deny beats allow", "/in/*\tallow-read, deny-full-control", "/in/x", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules, err := ParseRules(c.rules)
			if err != nil {
				t.Fatal(err)
			}
			if got := FullAccess().Narrow(Layer{FullControl, rules}).At(c.at); got != c.want {
				t.Errorf("got %v, want %v", got.Words(), c.want.Words())
			}
		})
	}
}

func TestLayersOnlyNarrow(t *testing.T) {
	rules, err := ParseRules("/in/*\tallow-full-control")
	if err != nil {
		t.Fatal(err)
	}
	group := Layer{General: Read | List}
	if got := (Access{group}).Narrow(Layer{Write, rules}).At("/in/x"); got != Read|List {
		t.Errorf("a plugin's rule gave %v", got.Words())
	}
	if got := (Access{}).At("/x"); got != 0 {
		t.Errorf("no layer gave %v", got.Words())
	}
}

func TestWrongRules(t *testing.T) {
	for text, want := range map[string]string{
		"/in/*":                                          "a tab",
		"/in/*\tallow-everything":                        "allow-full-control",
		"in/*\tallow-read":                               "begin it with /",
		"m/abc\tallow-read":                              "must end with /",
		"m/(/\tallow-read":                               "missing closing )",
		"/[a\tallow-read":                                "[ without ]",
		"m/(aaaaaaaaaa){1000}/\tallow-read":              "too large",
		"m/((a{100}){100}){10}/\tallow-read":             "expression",
		strings.Repeat("m/(aa){400}/\tallow-read\n", 20): "too large together",
		"/\x01\tallow-read":                              "control character",
		"\tallow-read":                                   "1 to 512 characters",
		strings.Repeat("/a\tallow-read\n", 1001):         "more than 1000",
	} {
		if _, err := ParseRules(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q", text, err, want)
		}
	}
}

// Whatever a plugin writes, a rule that is taken only ever gives what its words say.
func FuzzParseRules(f *testing.F) {
	f.Add("/in/*\tallow-write", "/in/x")
	f.Add("m/^x/\tallow-read", "/x")
	f.Add("/[!a\\]^[]\tallow-read", "/b")
	f.Fuzz(func(t *testing.T, text, name string) {
		rules, err := ParseRules(text)
		if err != nil {
			return
		}
		if got := (Access{{General: Read, Rules: rules}, {General: Read | Write}}).At(name); got&^(Read|Write) != 0 {
			t.Errorf("%v", got.Words())
		}
	})
}
