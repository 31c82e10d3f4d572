package cases_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/cases"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
)

// What is wrong in a file is said with its place, and what is allowed.
func TestWrongFiles(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  `there is no block case`,
		"case \"x\" {\n}":                   "f.hcl:1",
		"case \"x\" {\n  usr = \"a\"\n}":    "f.hcl:2",
		whole("now = \"noon\""):             `now = "noon"`,
		whole("give_up = \"soon\""):         `give_up = "soon"`,
		whole("timeout = \"soon\""):         `timeout = "soon"`,
		whole("settings = \"x\""):           "{ name = value, ... } is expected",
		whole("secrets = { a = 1 }"):        `"a" must be a string`,
		whole("answer {\n}"):                "needs a status",
		whole("answer {\nstatus = 1000\n}"): "status from 100 to 599",
		whole("") + whole(""):               "f.hcl:5: case \"x\" is there twice",
		strings.Replace(whole(""), "unknown", "perhaps", 1): `verdict = "perhaps"`,
	} {
		if _, err := cases.Parse("f.hcl", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot %v; want %q", text, err, want)
		}
	}
}

func whole(more string) string {
	return "case \"x\" {\n" + more + "\n  expect { verdict = \"unknown\" }\n}\n"
}

// What does not come as expected is a problem with a name.
func TestProblems(t *testing.T) {
	runtime, plugin := push(t)
	for name, c := range map[string]struct{ text, want string }{
		"good":            {`answer { status = 404 }` + "\n" + `expect { verdict = "unknown" }`, ""},
		"verdict":         {`answer { status = 404 }` + "\n" + `expect { verdict = "accepted" }`, `verdict: "accepted" expected, got "unknown"`},
		"unused answers":  {"answer { status = 404 }\nanswer { status = 404 }\nexpect { verdict = \"unknown\" }", "answers: 1 of 2 were not asked for"},
		"missing answers": {"expect { verdict = \"unknown\" }", "expected, got \"failed\""},
		"requests":        {"answer { status = 404 }\nexpect {\n verdict = \"unknown\"\n requests = []\n}", "requests: 0 expected, got 1"},
		"header":          {"answer { status = 404 }\nexpect {\n verdict = \"unknown\"\n headers = { Authorization = \"x\" }\n}", "header Authorization of request 1"},
		"log":             {"answer { status = 404 }\nexpect {\n verdict = \"unknown\"\n log = [\"never\"]\n}", `no line has "never"`},
		"gone meanwhile":  {"give_up = \"1s\"\nanswer {\n status = 404\n took = \"2s\"\n}\nexpect { verdict = \"given up\" }", ""},
		"too slow":        {"answer {\n status = 404\n took = \"11s\"\n}\nexpect {\n verdict = \"failed\"\n log = [\"no answer in time\"]\n}", ""},
		"time is up": {"timeout = \"3s\"\nanswer {\n status = 201\n body = \"{\\\"id\\\": \\\"1\\\"}\"\n}\nanswer { status = 204 }\n" +
			"expect {\n verdict = \"failed\"\n error = \"its timeout of 3s\"\n slept = \"3s\"\n}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := cases.Parse("f.hcl", []byte("settings = { url = \"https://push.example\" }\nsecrets = { token = \"t0ken-4711\" }\ncase \"x\" {\n"+c.text+"\n}"))
			if err != nil {
				t.Fatal(err)
			}
			report, err := all[0].Run(t.Context(), runtime, plugin, sandbox.DefaultLimits())
			got := strings.Join(report.Problems, "; ")
			if err != nil || !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
	t.Run("settings", func(t *testing.T) {
		all, err := cases.Parse("f.hcl", []byte(`case "x" {
  settings = { urll = "https://push.example" }
  expect { verdict = "failed" }
}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := all[0].Run(t.Context(), runtime, plugin, sandbox.DefaultLimits()); err == nil || !strings.Contains(err.Error(), `has no setting "urll"`) {
			t.Errorf("got %v", err)
		}
	})
}

// push is the example plugin in C.
func push(t *testing.T) (*sandbox.Runtime, *sandbox.Plugin) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "push.wasm")
	build := exec.CommandContext(t.Context(), "clang", "--target=wasm32", "-O2", "-nostdlib", "-Wl,--no-entry", "-o", file, "../../examples/plugins/push-c/push.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("clang (make deps installs it): %v: %s", err, out)
	}
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	runtime, err := sandbox.New(t.Context(), sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = runtime.Close(context.WithoutCancel(t.Context())) })
	plugin, err := runtime.Load(t.Context(), wasm, sandbox.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return runtime, plugin
}
