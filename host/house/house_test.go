// Package house checks the rules of the house that a machine can see.
package house

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sallyport-ftps/sallyport/"

type pkg struct {
	ImportPath string
	Dir        string
	Doc        string
	Standard   bool
	Imports    []string
	GoFiles    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	list := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,Imports,GoFiles", "./...")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		all = append(all, p)
	}
}

// rules say what a package may import beside the standard library; a folder stands for what is in it.
// The reasons are in RATIONALE.md, "Who may import whom?".
var rules = map[string][]string{
	"sdk":                      {},
	"sdk/sdktest":              {"sdk"},
	"sdk/sdknet":               {"sdk"},
	"sdk/sdkhttp":              {"sdk"},
	"plugins":                  {},
	"plugins/local":            {"sdk"},
	"plugins/push":             {"sdk"},
	"plugins/totp":             {"sdk"},
	"plugins/deny":             {"sdk"},
	"plugins/anonymous":        {"sdk"},
	"plugins/certificate":      {"sdk"},
	"plugins/http":             {"sdk"},
	"plugins/secsign":          {"sdk"},
	"plugins/secsign/idserver": {"github.com/pquerna/otp/...", "github.com/skip2/go-qrcode"},
	"plugins/ldap":             {"sdk", "sdk/sdknet", "github.com/go-ldap/ldap/v3", "github.com/go-asn1-ber/asn1-ber"},
	"plugins/radius":           {"sdk", "sdk/sdknet", "layeh.com/radius/..."},
	"events":                   {},
	"events/subscriber":        {"events", "github.com/nats-io/nats.go/..."},
	"events/approver":          {"events", "github.com/nats-io/nats.go/...", "github.com/nats-io/nkeys"},
	"host/secret":              {},
	"host/policy":              {"events", "host/secret", "github.com/nbutton23/zxcvbn-go", "golang.org/x/text/..."},
	"host/state":               {"go.etcd.io/bbolt/..."},
	"host/outbox":              {"events", "host/state", "github.com/google/uuid"},
	"host/account":             {"events", "host/outbox", "host/policy", "host/secret", "host/state", "github.com/go-crypt/crypt/...", "github.com/go-crypt/x/crypt", "github.com/pquerna/otp/..."},
	"host/approval":            {"events", "host/outbox", "host/secret", "host/state", "github.com/google/uuid", "github.com/nats-io/nkeys"},
	"host/auth":                {"events", "host/approval", "host/policy", "host/secret", "github.com/google/uuid"},
	"host/endpoint":            {},
	"host/sandbox":             {"sdk", "host/endpoint", "host/secret", "github.com/tetratelabs/wazero/...", "golang.org/x/sys/unix"},
	"host/bus":                 {"events", "github.com/nats-io/...", "github.com/google/uuid", "golang.org/x/sys/unix"},
	"host/ftps":                {"events", "host/auth", "host/policy", "host/secret", "github.com/fclairamb/ftpserverlib", "github.com/spf13/afero", "github.com/google/uuid", "golang.org/x/sys/unix", "golang.org/x/time/rate"},
	"host/metrics":             {"events", "github.com/prometheus/client_golang/..."},
	"host/mail":                {"host/secret", "github.com/wneessen/go-mail/...", "github.com/skip2/go-qrcode"},
	"host/config":              {"events", "github.com/nats-io/nkeys", "host/approval", "host/endpoint", "host/mail", "host/policy", "host/sandbox", "host/secret", "github.com/hashicorp/hcl/v2/...", "github.com/zclconf/go-cty/..."},
	"host/cases":               {"sdk", "host/config", "host/endpoint", "host/sandbox", "host/secret", "github.com/hashicorp/hcl/v2/..."},
	"host/admin":               {"events", "host/account", "host/approval", "host/mail", "host/policy", "host/secret", "host/state"},
	"host/cmd/sallyport":       {"..."},
	"examples":                 {"sdk", "events", "events/approver", "events/subscriber", "plugins/secsign/idserver", "github.com/nats-io/nats.go"},
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		allowed, ok := ruleFor(p.ImportPath)
		if !ok {
			t.Errorf("%s: no rule says what it may import", p.ImportPath)
			continue
		}
		for _, path := range p.Imports {
			path = strings.TrimPrefix(path, module)
			first, _, _ := strings.Cut(path, "/")
			ours := slices.Contains([]string{"sdk", "plugins", "events", "host"}, first)
			if (ours || strings.Contains(first, ".")) && !slices.ContainsFunc(allowed, func(rule string) bool { return matches(rule, path) }) {
				t.Errorf("%s imports %s; allowed are %q", p.ImportPath, path, allowed)
			}
		}
	}
}

func ruleFor(path string) ([]string, bool) {
	switch {
	case path == "host/house" || strings.HasSuffix(path, "test") && path != "sdk/sdktest":
		return []string{"..."}, true
	case strings.HasPrefix(path, "examples/"):
		path = "examples"
	case strings.Contains(path, "/testdata/"):
		path = "plugins/local"
	}
	allowed, ok := rules[path]
	return allowed, ok
}

func matches(rule, path string) bool {
	prefix, all := strings.CutSuffix(rule, "...")
	if all {
		return strings.HasPrefix(path+"/", prefix)
	}
	return rule == path
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// A context is made in main and comes from there; an error is told by errors.Is, not by its text.
func TestContextsAndPackageState(t *testing.T) {
	for _, p := range packages(t) {
		if strings.HasPrefix(p.ImportPath, "examples/") || p.ImportPath == "host/house" {
			continue
		}
		for _, name := range p.GoFiles {
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := call.X.(*ast.Ident); ok && x.Name == "context" && (call.Sel.Name == "TODO" || call.Sel.Name == "Background") && name != "main.go" {
					t.Errorf("%s: context.%s outside of main", set.Position(n.Pos()), call.Sel.Name)
				}
				return true
			})
			for _, decl := range file.Decls {
				if v, ok := decl.(*ast.GenDecl); ok && v.Tok == token.VAR {
					for _, spec := range v.Specs {
						checkVar(t, set, spec.(*ast.ValueSpec))
					}
				}
			}
		}
	}
}

// checkVar lets package variables be errors, interface guards, constants that Go can't express, what
// the linker or an embed sets, and the SDK's one registered method.
func checkVar(t *testing.T, set *token.FileSet, spec *ast.ValueSpec) {
	for _, name := range spec.Names {
		n := name.Name
		ok := n == "_" || strings.HasPrefix(n, "err") || strings.HasPrefix(n, "Err") ||
			slices.Contains([]string{"registered", "release", "entryCheck", "defaults", "files", "wordLists"}, n)
		if !ok {
			t.Errorf("%s: package variable %s", set.Position(name.Pos()), n)
		}
	}
}
