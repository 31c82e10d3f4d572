package config

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

//go:embed default.hcl
var defaults []byte

// DefaultFiles are tried in order when no file is named.
func DefaultFiles() []string { return []string{"config.hcl", "/etc/sallyport/config.hcl"} }

// maxFile bounds config.hcl and whatever file() reads.
const maxFile = 1 << 20

// Problems are all that is wrong with a configuration.
type Problems struct {
	Diagnostics hcl.Diagnostics
}

// Error gives one line for each problem: file:line,column: what, and what is allowed.
func (p *Problems) Error() string {
	lines := make([]string, 0, len(p.Diagnostics))
	line := func(d *hcl.Diagnostic) int {
		if d.Subject == nil {
			return 0
		}
		return d.Subject.Start.Line
	}
	sorted := slices.SortedStableFunc(slices.Values(p.Diagnostics), func(a, b *hcl.Diagnostic) int { return cmp.Compare(line(a), line(b)) }) // HCL's come in any order
	for _, d := range sorted {
		line := d.Summary
		if d.Detail != "" {
			line += ": " + strings.Join(strings.Fields(d.Detail), " ")
		}
		if d.Subject != nil {
			line = fmt.Sprintf("%s:%d,%d: %s", d.Subject.Filename, d.Subject.Start.Line, d.Subject.Start.Column, line)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// Load reads the file, or if file is empty the first of DefaultFiles that exists, or the
// embedded defaults. Relative paths in it are relative to its folder.
func Load(file string) (*Config, error) {
	if file != "" {
		return loadFile(file)
	}
	for _, candidate := range DefaultFiles() {
		if _, err := os.Stat(candidate); !errors.Is(err, fs.ErrNotExist) {
			return loadFile(candidate)
		}
	}
	return Defaults()
}

// Defaults returns the embedded configuration; paths are relative to the working folder.
func Defaults() (*Config, error) { return Parse("", defaults) }

func loadFile(file string) (*Config, error) {
	source, err := readBounded(file)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return Parse(file, source)
}

// Parse reads a configuration from memory; file is for messages and relative paths.
func Parse(file string, source []byte) (*Config, error) {
	name, dir := file, "."
	if file == "" {
		name = "default.hcl"
	} else {
		dir = filepath.Dir(file)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	parsed, diags := hclparse.NewParser().ParseHCL(source, name)
	if diags.HasErrors() {
		return nil, &Problems{diags}
	}
	var raw rawConfig
	diags = append(diags, gohcl.DecodeBody(parsed.Body, evalContext(dir), &raw)...)
	if diags.HasErrors() {
		return nil, &Problems{named(parsed.Body, diags)}
	}
	c := &checker{dir: dir, diags: diags}
	config := c.config(&raw)
	config.File, config.Warnings = file, c.warnings
	if c.diags.HasErrors() {
		return nil, &Problems{c.diags}
	}
	return config, nil
}

// named adds to HCL's messages what they leave out: what is allowed in place of an unknown name, and which setting has a value of the
// wrong type.
func named(body hcl.Body, diags hcl.Diagnostics) hcl.Diagnostics {
	for _, d := range diags {
		if d.Subject == nil {
			continue
		}
		switch d.Summary {
		case "Unsupported argument", "Unsupported block type":
			if allowed := allowedAt(body, d.Subject.Start); allowed != "" {
				d.Detail += " Allowed here: " + allowed + "."
			}
		case "Unsuitable value type":
			if b, ok := body.(*hclsyntax.Body); ok {
				d.Detail = attributeAt(b, d.Subject.Start) + ": " + strings.TrimPrefix(d.Detail, "Unsuitable value: ")
			}
		}
	}
	return diags
}

// attributeAt is the name of the setting whose value is there.
func attributeAt(body *hclsyntax.Body, at hcl.Pos) string {
	for name, attribute := range body.Attributes {
		if attribute.SrcRange.ContainsPos(at) {
			return name
		}
	}
	for _, block := range body.Blocks {
		if block.Body.SrcRange.ContainsPos(at) {
			return attributeAt(block.Body, at)
		}
	}
	return ""
}

func allowedAt(body hcl.Body, at hcl.Pos) string {
	block := ""
	if b, ok := body.(*hclsyntax.Body); ok {
		for _, found := range b.Blocks {
			if found.Body.SrcRange.ContainsPos(at) {
				block = found.Type
				for _, inner := range found.Body.Blocks {
					if inner.Body.SrcRange.ContainsPos(at) {
						block += "." + inner.Type
					}
				}
			}
		}
	}
	return strings.Join(schemas()[block], ", ")
}

// The functions of the file: env("NAME"), file("path"), lines(text) and pairs(text).
func evalContext(dir string) *hcl.EvalContext {
	text := []function.Parameter{{Name: "name", Type: cty.String}}
	return &hcl.EvalContext{Functions: map[string]function.Function{
		"env": function.New(&function.Spec{Params: text, Type: function.StaticReturnType(cty.String), Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			value, ok := os.LookupEnv(args[0].AsString())
			if !ok {
				return cty.NilVal, fmt.Errorf("the environment variable %s is not set", args[0].AsString())
			}
			return cty.StringVal(value), nil
		}}),
		"file": function.New(&function.Spec{Params: text, Type: function.StaticReturnType(cty.String), Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			content, err := readBounded(absolute(dir, args[0].AsString()))
			if err != nil {
				return cty.NilVal, err
			}
			return cty.StringVal(string(content)), nil
		}}),
		"lines": function.New(&function.Spec{Params: text, Type: function.StaticReturnType(cty.List(cty.String)), Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return listOf(meaningful(args[0].AsString())), nil
		}}),
		"pairs": function.New(&function.Spec{Params: text, Type: function.StaticReturnType(cty.Map(cty.String)), Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return pairs(meaningful(args[0].AsString()))
		}}),
	}}
}

// meaningful are the lines of a text without comments, from # on, and empty ones.
func meaningful(text string) (lines []string) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func listOf(texts []string) cty.Value {
	if len(texts) == 0 {
		return cty.ListValEmpty(cty.String)
	}
	values := make([]cty.Value, len(texts))
	for i, text := range texts {
		values[i] = cty.StringVal(text)
	}
	return cty.ListVal(values)
}

// pairs reads lines such as "user id", "user=id" and "user:id", as secsignid.config has them.
func pairs(lines []string) (cty.Value, error) {
	values := map[string]cty.Value{}
	for _, line := range lines {
		at := strings.IndexAny(line, "=: \t")
		if at <= 0 || strings.TrimLeft(line[at:], "=: \t") == "" {
			return cty.NilVal, fmt.Errorf("%q: a name and a value are expected, with a blank, = or : between", line)
		}
		name := line[:at]
		if _, twice := values[name]; twice {
			return cty.NilVal, fmt.Errorf("%q is there twice", name)
		}
		values[name] = cty.StringVal(strings.TrimLeft(line[at:], "=: \t"))
	}
	if len(values) == 0 {
		return cty.MapValEmpty(cty.String), nil
	}
	return cty.MapVal(values), nil
}

func readBounded(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.IsDir() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s: a file of at most %d bytes is expected", file, maxFile)
	}
	return os.ReadFile(file)
}

func absolute(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
