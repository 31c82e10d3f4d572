package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/sallyport-ftps/sallyport/sdk"
)

//go:embed template
var files embed.FS

type pluginNew struct {
	Dir  string `arg:"" help:"The folder to make." type:"path"`
	Lang string `help:"Language: go, c, rust or assemblyscript." enum:"go,c,rust,assemblyscript" default:"go"`
}

// Run implements the command.
func (cmd pluginNew) Run(s streams) error {
	name := filepath.Base(cmd.Dir)
	if !regexp.MustCompile(`^[a-z][a-z0-9_-]*$`).MatchString(name) {
		return fmt.Errorf("%q: the folder's name becomes the plugin's: lower-case letters, digits, - and _ are allowed", name)
	}
	if err := os.Mkdir(cmd.Dir, 0o755); err != nil {
		return fmt.Errorf("new plugin: %w", err)
	}
	for _, source := range []string{"template/common", "template/" + cmd.Lang} {
		if err := cmd.copy(files, source, "", name); err != nil {
			return err
		}
	}
	var err error
	if cmd.Lang == "go" {
		err = cmd.copyGoSDK()
	} else {
		err = cmd.copy(sdk.Files(), cmd.Lang, "", name)
	}
	if err != nil {
		return err
	}
	first := ""
	if cmd.Lang == "assemblyscript" {
		first = "  npm install --prefix " + shown(cmd.Dir) + "\n"
	}
	_, err = fmt.Fprintf(s.out, "%s is a plugin in %s. Next:\n\n"+first+"  sallyport plugin build %s\n  sallyport plugin test %s\n  sallyport plugin inspect %s\n",
		shown(cmd.Dir), cmd.Lang, shown(cmd.Dir), shown(filepath.Join(cmd.Dir, name+".wasm")), shown(filepath.Join(cmd.Dir, name+".wasm")))
	return err
}

// copyGoSDK makes a module of the SDK, so that the plugin builds without any network.
func (cmd pluginNew) copyGoSDK() error {
	for _, dir := range []string{".", "sdktest", "sdknet", "sdkhttp"} {
		if err := cmd.copy(sdk.Files(), dir, path.Join("sallyport/sdk", dir), "", ".go"); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(cmd.Dir, "sallyport/sdk/source.go")); err != nil { // it would carry itself
		return err
	}
	return os.WriteFile(filepath.Join(cmd.Dir, "sallyport/go.mod"), []byte("module github.com/sallyport-ftps/sallyport\n\ngo 1.26\n"), 0o644)
}

// copy writes the files of a folder; NAME in them becomes the plugin's name. It does not go into folders.
func (cmd pluginNew) copy(from fs.FS, source, target, name string, suffixes ...string) error {
	entries, err := fs.ReadDir(from, source)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() || len(suffixes) > 0 && !strings.HasSuffix(e.Name(), suffixes[0]) {
			continue
		}
		content, err := fs.ReadFile(from, path.Join(source, e.Name()))
		if err != nil {
			return err
		}
		if name != "" {
			content = []byte(strings.ReplaceAll(string(content), "NAME", name))
		}
		file := filepath.Join(cmd.Dir, target, strings.TrimSuffix(e.Name(), ".txt"))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

type pluginBuild struct {
	Dir string `arg:"" help:"The plugin's folder." type:"existingdir"`
}

// Run implements the command.
func (cmd pluginBuild) Run(ctx context.Context, s streams) error {
	dir, err := filepath.Abs(cmd.Dir)
	if err != nil {
		return err
	}
	out := filepath.Join(dir, filepath.Base(dir)+".wasm")
	steps, err := recipe(ctx, dir, out)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.err, pasteable(steps))
	_ = os.Remove(out) // what was built before is not this source
	build := exec.CommandContext(ctx, steps[0], steps[1:]...)
	build.Dir, build.Stdout, build.Stderr = dir, s.err, s.err
	if steps[0] == "go" {
		build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWORK=off")
	}
	if err := build.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("%s is not installed; needed are %s", steps[0], toInstall(steps[0]))
		}
		return fmt.Errorf("%s could not build it (%w): what it says is above; if a tool is missing, needed are %s", filepath.Base(steps[0]), err, toInstall(steps[0]))
	}
	info, err := os.Stat(out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s: %d KiB\n", shown(out), (info.Size()+1023)>>10)
	return err
}

// pasteable is a command as a shell takes it.
func pasteable(words []string) string {
	quoted := slices.Clone(words)
	for i, word := range quoted {
		if strings.Contains(word, " ") {
			quoted[i] = "'" + word + "'"
		}
	}
	if words[0] == "go" {
		quoted = append([]string{"GOOS=wasip1", "GOARCH=wasm"}, quoted...)
	}
	return strings.Join(quoted, " ")
}

// recipe is the command that builds what is in the folder.
func recipe(ctx context.Context, dir, out string) ([]string, error) {
	find := func(pattern string) string {
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, file := range found {
			if base := filepath.Base(file); !strings.HasPrefix(base, "sallyport.") && !strings.HasSuffix(base, "_test.go") {
				return base
			}
		}
		return ""
	}
	switch {
	case find("*.go") != "":
		return []string{"go", "build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "."}, nil
	case find("*.c") != "":
		return []string{"clang", "--target=wasm32", "-O2", "-nostdlib", "-Wall", "-Wl,--no-entry", "-o", out, find("*.c")}, nil
	case find("*.rs") != "":
		return []string{rustc(ctx), "--edition", "2021", "--target", "wasm32-unknown-unknown", "--crate-type", "cdylib", "-O", "-C", "panic=abort", "-C", "strip=symbols", "-o", out, find("*.rs")}, nil
	case find("*.ts") != "":
		asc := filepath.Join(dir, "node_modules", ".bin", "asc")
		if _, err := os.Stat(asc); err != nil {
			asc = "asc"
		}
		return []string{asc, find("*.ts"), "-o", out, "-O", "--runtime", "stub", "--use", "abort=sallyport/abort"}, nil
	}
	return nil, fmt.Errorf("%s: there is no .go, .c, .rs or .ts file to build", dir)
}

// rustc is a compiler that has the target: there may be several.
func rustc(ctx context.Context) string {
	for _, candidate := range []string{"rustc", "/usr/bin/rustc"} {
		libraries, err := exec.CommandContext(ctx, candidate, "--print", "target-libdir", "--target", "wasm32-unknown-unknown").Output()
		if err != nil {
			continue
		}
		if _, err := os.Stat(strings.TrimSpace(string(libraries))); err == nil {
			return candidate
		}
	}
	return "rustc"
}

func toInstall(program string) string {
	switch filepath.Base(program) {
	case "go":
		return "Go 1.26 (https://go.dev/dl) and a go.mod in the folder"
	case "clang":
		return "clang and wasm-ld: apt-get install clang lld"
	case "rustc":
		return "rustc and its library for wasm32: apt-get install rustc libstd-rust-dev-wasm32, or rustup target add wasm32-unknown-unknown"
	}
	return "AssemblyScript: npm install, in the plugin's folder"
}
