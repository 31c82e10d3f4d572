package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sallyport-ftps/sallyport/host/cases"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/plugins"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// pluginCommand are the tools of who writes a plugin.
type pluginCommand struct {
	New     pluginNew     `cmd:"" help:"Write a plugin to start from, in Go, C, Rust or AssemblyScript."`
	Build   pluginBuild   `cmd:"" help:"Build the plugin in a folder."`
	Test    pluginTest    `cmd:"" help:"Run a plugin through the cases of a file, in the sandbox of the server."`
	Inspect pluginInspect `cmd:"" help:"Show what a plugin is, what it asks for, and what the server would refuse."`
}

type pluginTest struct {
	Plugin  string `arg:"" help:"The .wasm file, or the plugin's folder." type:"path"`
	Cases   string `arg:"" optional:"" help:"The file with the cases (default: cases.hcl beside the plugin)." type:"path"`
	Only    string `name:"run" help:"Only cases whose name has this in it."`
	Verbose bool   `short:"v" help:"Show requests and log lines of all cases, not only of those that fail."`
	output
}

// Run implements the command.
func (cmd pluginTest) Run(ctx context.Context, s streams) error {
	cmd.Plugin = wasmFile(cmd.Plugin)
	if _, err := os.Stat(cmd.Plugin); err != nil {
		return fmt.Errorf("plugin: %w", err)
	}
	if cmd.Cases == "" {
		cmd.Cases = filepath.Join(filepath.Dir(cmd.Plugin), "cases.hcl")
	}
	source, err := os.ReadFile(cmd.Cases)
	if err != nil {
		return fmt.Errorf("cases: %w", err)
	}
	all, err := cases.Parse(cmd.Cases, source)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(c cases.Case) bool { return !strings.Contains(c.Name, cmd.Only) })
	if len(all) == 0 {
		return fmt.Errorf("%s has no case with %q in its name", cmd.Cases, cmd.Only)
	}
	wasm, _, err := readForTest(cmd.Plugin)
	if err != nil {
		return err
	}
	runtime, plugin, err := loadForTest(ctx, cmd.Plugin, wasm)
	if err != nil {
		return err
	}
	defer func() { _ = runtime.Close(context.WithoutCancel(ctx)) }()
	results, err := cases.RunAll(ctx, runtime, plugin, all)
	if err != nil {
		return err
	}
	failed := 0
	for _, r := range results {
		if len(r.Problems) > 0 {
			failed++
		}
	}
	if err := cmd.print(s.out, results, func(w io.Writer) { cmd.table(w, results) }); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d cases failed", failed, len(results))
	}
	return nil
}

func (cmd pluginTest) table(w io.Writer, results []cases.Result) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "\tCASE\tVERDICT\tRUNS\tCPU\tMEMORY\tRECORDED")
	for _, r := range results {
		mark := "ok"
		if len(r.Problems) > 0 {
			mark = "FAILED"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%v\t%d KiB\t%d B\n", mark, r.Case, r.Verdict, r.Stats.Runs, r.Stats.CPU.Round(time.Microsecond), r.Stats.Memory>>10, r.Stats.Recorded)
	}
	_ = t.Flush()
	for _, r := range results {
		if len(r.Problems) == 0 && !cmd.Verbose {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", r.Case)
		for _, line := range r.Problems {
			fmt.Fprintln(w, "  "+line)
		}
		if r.Error != "" {
			fmt.Fprintln(w, "  failed:", r.Error)
		}
		for _, line := range r.Requests {
			fmt.Fprintln(w, "  request:", line)
		}
		for _, line := range r.Log {
			fmt.Fprintln(w, "  log:", line)
		}
	}
}

// wasmFile is what "plugin build" makes in a folder.
func wasmFile(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return filepath.Join(path, filepath.Base(path)+".wasm")
	}
	return path
}

// userCache keeps compiled code for commands that have no data folder, in the user's own cache. Empty: none.
func userCache() string {
	dir, err := os.UserCacheDir()
	if err != nil || os.MkdirAll(dir, 0o700) != nil {
		return ""
	}
	return filepath.Join(dir, "sallyport")
}

// readForTest reads a plugin's file, or else the bundled plugin of that name.
func readForTest(file string) (wasm []byte, bundled bool, err error) {
	wasm, err = readFile(file, int64(sandbox.DefaultLimits().Module))
	if err == nil {
		return wasm, false, nil
	}
	if wasm, missing := plugins.Bundled(filepath.Base(file)); missing == nil && errors.Is(err, fs.ErrNotExist) {
		return wasm, true, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("plugin: %w; \"sallyport plugin build %s\" makes it", err, shown(filepath.Dir(file)))
	}
	return nil, false, fmt.Errorf("plugin: %w", err)
}

func loadForTest(ctx context.Context, file string, wasm []byte) (*sandbox.Runtime, *sandbox.Plugin, error) {
	runtime, err := sandbox.New(ctx, sandbox.Options{CacheDir: userCache()})
	if err != nil {
		return nil, nil, err
	}
	plugin, err := runtime.Load(ctx, wasm, sandbox.DefaultLimits())
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("plugin %s: %w", file, err), runtime.Close(context.WithoutCancel(ctx)))
	}
	return runtime, plugin, nil
}

type pluginInspect struct {
	Plugin string `arg:"" help:"The .wasm file, the plugin's folder, or the name of a bundled plugin." type:"path"`
	output
}

// inspected is what the command shows.
type inspected struct {
	File      string   `json:"file"`
	Size      int      `json:"size"`
	SHA256    string   `json:"sha256"`
	Functions int      `json:"functions"`
	Exports   []string `json:"exports"`
	Imports   []string `json:"imports"`
	Name      string   `json:"name,omitempty"`
	Version   string   `json:"version,omitempty"`
	Resets    bool     `json:"resets"` // an instance is used again; else each run has a fresh one
	Refused   string   `json:"refused,omitempty"`
	Config    string   `json:"config,omitempty"` // a block to start from
}

// Run implements the command.
func (cmd pluginInspect) Run(ctx context.Context, s streams) error {
	cmd.Plugin = wasmFile(cmd.Plugin)
	wasm, bundled, err := readForTest(cmd.Plugin)
	if err != nil {
		return err
	}
	if bundled {
		cmd.Plugin = filepath.Base(cmd.Plugin)
	}
	module, err := sandbox.Inspect(wasm)
	if err != nil {
		return fmt.Errorf("plugin %s: %w", cmd.Plugin, err)
	}
	result := inspected{
		File: cmd.Plugin, Size: module.Size, SHA256: fmt.Sprintf("%x", sha256.Sum256(wasm)), Functions: module.Functions,
		Exports: visible(module.Exports), Imports: module.Imports,
	}
	if runtime, plugin, err := loadForTest(ctx, cmd.Plugin, wasm); err != nil {
		result.Refused = err.Error()
	} else {
		d := plugin.Description()
		result.Name, result.Version, result.Resets = d.Name, d.Version, plugin.Resets()
		digest := result.SHA256
		if bundled {
			digest = "" // it comes with the program
		}
		result.Config = startingBlock(cmd.Plugin, digest, d)
		_ = runtime.Close(context.WithoutCancel(ctx))
	}
	if err := cmd.print(s.out, result, func(w io.Writer) { result.show(w) }); err != nil {
		return err
	}
	if result.Refused != "" {
		return errSilent
	}
	return nil
}

func visible(names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, "__") })
}

func (i inspected) show(w io.Writer) {
	fmt.Fprintf(w, "file\t%s\nname\t%s %s\nsize\t%d KiB, %d functions\nsha256\t%s\n", i.File, orDash(i.Name), i.Version, (i.Size+1023)>>10, i.Functions, i.SHA256)
	fmt.Fprintf(w, "exports\t%s\nimports\t%s\n", strings.Join(i.Exports, ", "), strings.Join(i.Imports, "\n\t"))
	if i.Refused != "" {
		fmt.Fprintf(w, "\nThe server would refuse it:\n\n  %s\n", i.Refused)
		return
	}
	memory := "a fresh instance for every run: it changes tables or drops segments"
	if i.Resets {
		memory = "reset after every run"
	}
	fmt.Fprintf(w, "memory\t%s\n\nA block to start from:\n\n%s", memory, i.Config)
}

// startingBlock is what the plugin asks for, as a block of the configuration.
func startingBlock(file, digest string, d sandbox.Description) string {
	var b strings.Builder
	source := file
	if digest != "" {
		source = fromHere(file)
	}
	fmt.Fprintf(&b, "authentication %q {\n  plugin = %q\n", strings.TrimSuffix(filepath.Base(file), ".wasm"), source)
	if digest != "" {
		fmt.Fprintf(&b, "  sha256 = %q # of this build; leave it out while you write it\n", digest)
	}
	if len(d.Settings) > 0 {
		b.WriteString("  settings = {\n")
		for _, name := range slices.Sorted(maps.Keys(d.Settings)) {
			setting := d.Settings[name]
			examples := map[sdk.SettingType]string{sdk.String: `""`, sdk.Number: "0", sdk.Bool: "false", sdk.List: "[]", sdk.Map: "{}"}
			notes := []string{string(setting.Type)}
			if setting.Required {
				notes = append(notes, "required")
			}
			if setting.Secret {
				notes = append(notes, `secret: env("NAME") keeps it out of this file`)
			}
			if setting.Help != "" {
				notes = append(notes, setting.Help)
			}
			optional := "# "
			if setting.Required {
				optional = ""
			}
			fmt.Fprintf(&b, "    %s%s = %s # %s\n", optional, name, examples[setting.Type], strings.Join(notes, "; "))
		}
		b.WriteString("  }\n")
	}
	n := d.Needs
	if n.Password || n.Groups || len(n.HTTP)+len(n.Network)+len(n.PasswordTo) > 0 {
		b.WriteString("  grant {\n")
		if n.Password {
			b.WriteString("    password = true # it sees what the client typed\n")
		}
		if n.Groups {
			b.WriteString("    groups   = [\"default\"] # where its users go\n")
		}
		for _, list := range []struct {
			name  string
			needs []string
		}{{"http", n.HTTP}, {"network", n.Network}, {"password_to", n.PasswordTo}} {
			if len(list.needs) > 0 {
				fmt.Fprintf(&b, "    %s = [] # %s\n", list.name, strings.Join(list.needs, ", "))
			}
		}
		b.WriteString("  }\n")
	}
	for _, name := range n.Secrets {
		fmt.Fprintf(&b, "  secret %q {\n    value = env(%q)\n    to    = [] # where it may be sent\n  }\n", name, strings.ToUpper(name))
	}
	b.WriteString("}\n")
	return b.String()
}

// fromHere is a path as a configuration in this folder would have it.
func fromHere(file string) string {
	path := shown(absolute(file))
	if filepath.IsAbs(path) {
		return path
	}
	return "./" + path
}
