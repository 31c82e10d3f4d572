package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/cases"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/plugins"
	"github.com/sallyport-ftps/sallyport/plugins/ldap/slapdtest"
)

// What we tell users is executed: every README's blocks, and every HCL file.

type block struct{ language, text string }

func blocks(t *testing.T, file string) (all []block) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		all = append(all, block{m[1], m[2]})
	}
	return all
}

func TestHCLFilesLoad(t *testing.T) {
	t.Setenv("GUEST_PASSPHRASE", "open sesame")
	t.Setenv("LDAP_PASSWORD", "x")
	t.Setenv("RADIUS_SECRET", "x")
	t.Setenv("SECSIGN_PIN", "x")
	certificate, _ := slapdtest.KeyPair(t, time.Now().Add(time.Hour), "localhost")
	t.Setenv("IDSERVER_CA", string(certificate))
	var checked int
	err := filepath.WalkDir(repository(t), func(path string, _ os.DirEntry, err error) error {
		if err != nil || strings.Contains(path, "testdata") {
			return err
		}
		switch filepath.Ext(path) {
		case ".hcl":
			checked++
			if strings.HasSuffix(path, "cases.hcl") {
				checkCases(t, path)
			} else if _, err := config.Load(path); err != nil {
				t.Error(err)
			}
		case ".md":
			for _, b := range blocks(t, path) {
				if b.language != "hcl" {
					continue
				}
				checked++
				if _, err := config.Parse(path, []byte(whole(b.text))); err != nil {
					t.Errorf("%v\nin\n%s", err, b.text)
				}
			}
		}
		return nil
	})
	if err != nil || checked < 5 {
		t.Errorf("%d blocks and files, %v", checked, err)
	}
}

// What the README of a bundled method says is what its plugin has: settings and grants.
func TestPluginReadmes(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(repository(t), "plugins", "*", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("LDAP_PASSWORD", "x")
	t.Setenv("RADIUS_SECRET", "x")
	t.Setenv("SECSIGN_PIN", "x")
	dir, checked := t.TempDir(), map[string]bool{}
	newIssuer(t, dir, "clients")
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		for i, b := range blocks(t, file) {
			if b.language != "hcl" {
				continue
			}
			conf := filepath.Join(dir, fmt.Sprintf("%s%d.hcl", name, i))
			if err := os.WriteFile(conf, []byte(whole(b.text)), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("sallyport", "check", "--config", conf).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s\nin\n%s", file, err, out, b.text)
			}
			checked[name] = true
		}
	}
	for _, name := range plugins.Names() {
		if !checked[name] {
			t.Errorf("plugins/%s/README.md has no configuration to try", name)
		}
	}
}

func checkCases(t *testing.T, path string) {
	source, err := os.ReadFile(path)
	if err == nil {
		_, err = cases.Parse(path, source)
	}
	if err != nil {
		t.Error(err)
	}
}

// whole adds what a block of one method leaves out.
func whole(text string) string {
	if strings.Contains(text, `service "`) {
		return text
	}
	id := regexp.MustCompile(`authentication "([^"]+)"`).FindStringSubmatch(text)[1]
	return text + "\nserver {\n  authentications = [\"" + id + "\"]\n}\nservice \"ftps\" \"x\" {}\n"
}

// TestReadme runs README.md from top to bottom in a folder of its own, as a reader would.
func TestReadme(t *testing.T) {
	needPrograms(t, "curl", "lftp")
	dir, err := os.MkdirTemp("", "readme")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	repo := repository(t)
	for _, name := range []string{"README.md", "config.hcl", "go.mod", "go.sum", "examples", "sdk", "events", "host"} {
		if err := os.Symlink(filepath.Join(repo, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// The working folder must be the module's, so that "go build ./examples/..." finds it; config.hcl says ./data.
	config, err := os.ReadFile(filepath.Join(repo, "config.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "config.hcl")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.hcl"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	shell := func(text string) string {
		t.Helper()
		cmd := exec.Command("bash", "-e", "-c", text)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "GOFLAGS=-mod=mod -buildvcs=false", "GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v in\n%s\n%s", err, text, out)
		}
		return string(out)
	}
	var server *exec.Cmd
	defer func() {
		if server != nil {
			_ = server.Process.Signal(syscall.SIGTERM)
			_ = server.Wait()
		}
	}()
	var ran int
	for _, b := range blocks(t, filepath.Join(repo, "README.md")) {
		switch {
		case b.language == "hcl":
			if err := os.WriteFile(filepath.Join(dir, "door.hcl"), []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
		case b.language == "go":
			if source, err := files.ReadFile("template/go/main.go.txt"); err != nil || strings.HasPrefix(b.text, "// Auth") && !strings.Contains(string(source), b.text) {
				t.Errorf("the Go code of README.md is not what plugin new writes: %v", err)
			} else if !strings.HasPrefix(b.text, "// Auth") {
				mustCompile(t, repo, b.text)
			}
		case b.language == "" && strings.HasPrefix(b.text, "settings ="):
			if _, err := cases.Parse("README.md", []byte(b.text)); err != nil {
				t.Error(err)
			}
		case b.language != "sh":
		case strings.HasPrefix(b.text, "make "): // make test runs this test; TestDemo does what make run does
			for line := range strings.Lines(b.text) {
				if out := exec.Command("make", "-n", "-C", repo, strings.Fields(line)[1]); out.Run() != nil {
					t.Errorf("%s: no such target", line)
				}
			}
		case strings.Contains(b.text, "serve &"):
			shell(strings.ReplaceAll(b.text, "sallyport serve &\n", ""))
			server = exec.Command("sallyport", "serve")
			server.Dir = dir
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			waitForServer(t, dir)
			ran++
		case strings.HasPrefix(b.text, "go run ./examples/subscribers/go"):
			out := shell("timeout -s INT 60 " + strings.TrimSpace(b.text) + " > subscriber.txt & " +
				"for i in $(seq 300); do grep -q subscribed subscriber.txt && break; sleep 0.1; done; " +
				"echo wrong | sallyport login --user alice --password-stdin > /dev/null || true; " +
				"for i in $(seq 100); do grep -q refused subscriber.txt && break; sleep 0.1; done; cat subscriber.txt; kill %1; wait || true")
			if !strings.Contains(out, "alice was refused") {
				t.Errorf("the subscriber printed %q", out)
			}
			ran++
		default:
			shell(b.text)
			ran++
		}
	}
	if ran < 7 {
		t.Errorf("only %d blocks ran", ran)
	}
}

// mustCompile compiles a few lines of a plugin, or of a subscriber.
func mustCompile(t *testing.T, repo, lines string) {
	t.Helper()
	dir := t.TempDir()
	const ours = "github.com/sallyport-ftps/sallyport/"
	source := "package snippet\n\nimport (\n\t\"context\"\n\t\"fmt\"\n\n\t\"" + ours + "events\"\n\t\"" + ours + "events/subscriber\"\n)\n\nfunc snippet(ctx context.Context) error {\n" + lines + "\treturn err\n}\n"
	if !strings.Contains(lines, "subscriber.") {
		source = pluginSnippet(lines)
	}
	build(t, repo, dir, source, lines)
}

func pluginSnippet(lines string) string {
	return "package snippet\n\nimport (\n\t\"time\"\n\n\t\"github.com/sallyport-ftps/sallyport/sdk\"\n)\n\nfunc snippet(a sdk.Attempt, url string) (string, error) {\n" +
		lines + "\treturn status, err\n}\n\nvar _ = time.Second\n"
}

func build(t *testing.T, repo, dir, source, lines string) {
	t.Helper()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(repo, "examples/snippet/snippet.go"): write("snippet.go", source)}})
	if err != nil {
		t.Fatal(err)
	}
	compile := exec.Command("go", "build", "-overlay", write("overlay.json", string(replace)), "./examples/snippet")
	compile.Dir = repo
	if out, err := compile.CombinedOutput(); err != nil {
		t.Errorf("%v: %s\nin\n%s", err, out, lines)
	}
}

// The plugin in sdk/ABI.md, which has no SDK, does what it says.
func TestPluginWithoutSDK(t *testing.T) {
	toolsOnPath(t)
	var source string
	for _, b := range blocks(t, filepath.Join(repository(t), "sdk", "ABI.md")) {
		if b.language == "c" {
			source = b.text
		}
	}
	dir := t.TempDir()
	cases := "case \"root\" {\n  user = \"root\"\n  expect {\n    verdict = \"rejected\"\n    reason  = \"account_disabled\"\n  }\n}\n" +
		"case \"nobody\" {\n  expect { verdict = \"unknown\" }\n}\n" +
		"case \"right\" {\n  password = \"x\"\n  account { password = \"x\" }\n  expect { verdict = \"accepted\" }\n}\n"
	for name, text := range map[string]string{"mine.c": source, "cases.hcl": cases} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"clang", "--target=wasm32", "-O2", "-nostdlib", "-Wall", "-Werror", "-Wl,--no-entry", "-o", "mine.wasm", "mine.c"}, {"sallyport", "plugin", "test", "mine.wasm"}} {
		command := exec.Command(args[0], args[1:]...)
		command.Dir = dir
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
}

func waitForServer(t *testing.T, dir string) {
	t.Helper()
	for range 600 {
		if conn, err := dialSocket(t.Context(), filepath.Join(dir, "data")); err == nil {
			_ = conn.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the server does not answer")
}

// TestDemo does what make run does after the build, and then what it prints.
func TestDemo(t *testing.T) {
	needPrograms(t, "curl", "lftp")
	dir, err := os.MkdirTemp("", "demo")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.WriteFile(filepath.Join(dir, "README.md"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for round := range 2 { // the second time the account is there already
		var printed syncBuffer
		server := exec.Command("sallyport", "demo")
		server.Dir, server.Stdout = dir, &printed
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		for range 600 {
			if strings.Contains(printed.String(), "Ctrl-C") {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		var ran int
		for line := range strings.Lines(printed.String()) {
			line = strings.TrimSpace(line)
			name, _, _ := strings.Cut(line, " ")
			if name != "curl" && name != "lftp" && !strings.HasSuffix(line, "events tail --since 10m") {
				continue
			}
			if strings.HasSuffix(line, "10m") {
				line += " --no-follow | grep login.accepted"
			}
			cmd := exec.Command("bash", "-e", "-o", "pipefail", "-c", line)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("round %d: %v in %s\n%s", round, err, line, out)
			}
			ran++
		}
		if ran != 4 {
			t.Errorf("round %d: %d lines ran:\n%s", round, ran, printed.String())
		}
		_ = server.Process.Signal(syscall.SIGTERM)
		if err := server.Wait(); err != nil {
			t.Error(err)
		}
	}
}
