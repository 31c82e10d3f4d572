package main

import (
	"bufio"
	"bytes"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FileZilla, driven with a mouse on a screen that nobody sees: it lists, downloads and uploads over services that require each data
// connection to resume the TLS session of its control connection.
func TestFileZilla(t *testing.T) {
	needPrograms(t, "filezilla", "Xvfb", "xdotool")
	explicit, implicit := freePort(t), freePort(t)
	s := newServer(t, fmt.Sprintf(`
service "ftps" "bound" {
  listen        = "127.0.0.1:%s"
  session_reuse = "require"
}
service "ftps" "boundimplicit" {
  listen        = "127.0.0.1:%s"
  tls           = "implicit"
  session_reuse = "require"
}
`, explicit, implicit))
	const password = "gravel-umbrella-ninety-tango" // it stands in a URL
	s.sallyport(password+"\n", "account", "add", "alice", "--password-stdin")
	display := screen(t)
	for scheme, port := range map[string]string{"ftpes": explicit, "ftps": implicit} {
		t.Run(scheme, func(t *testing.T) {
			remote, local := s.path("data", "files", "alice"), s.path(scheme)
			if err := os.RemoveAll(remote); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(remote, "remote.bin"), strings.NewReader(strings.Repeat("remote", 50_000)))
			writeFile(t, filepath.Join(local, "a.txt"), strings.NewReader("local"))
			home := fileZillaHome(t, s, port)
			client := exec.Command("filezilla", "--local="+local, fmt.Sprintf("%s://alice:%s@127.0.0.1:%s/", scheme, password, port))
			client.Env = append(os.Environ(), "HOME="+home, "DISPLAY="+display, "XDG_CONFIG_HOME="+home+"/.config", "LANG=C.UTF-8")
			var said syncBuffer
			client.Stdout, client.Stderr = &said, &said
			if err := client.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = client.Process.Kill()
				_ = client.Wait()
			}()
			for _, one := range []struct {
				what   string
				x      int // of the first file in the list of that side; y is the same
				target string
				want   string
			}{
				{"download", 664, filepath.Join(local, "remote.bin"), strings.Repeat("remote", 50_000)},
				{"upload", 65, filepath.Join(remote, "a.txt"), "local"},
			} {
				if !eventually(30*time.Second, func() bool {
					click := exec.Command("xdotool", "mousemove", fmt.Sprint(one.x), "494", "click", "--repeat", "2", "--delay", "60", "1")
					click.Env = append(os.Environ(), "DISPLAY="+display)
					_ = click.Run() // too early it hits nothing
					return eventually(3*time.Second, func() bool {
						got, err := os.ReadFile(one.target)
						return err == nil && string(got) == one.want
					})
				}) {
					t.Fatalf("%s: nothing came; FileZilla says: %s", one.what, said.String())
				}
			}
		})
	}
	if log := s.log.String(); strings.Contains(log, "does not resume") {
		t.Error("FileZilla does not resume")
	}
}

func eventually(within time.Duration, done func() bool) bool {
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return false
}

// screen starts an X server that shows nothing, and returns its display.
func screen(t *testing.T) string {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	x := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "1200x900x24", "-nolisten", "tcp")
	x.ExtraFiles = []*os.File{write}
	if err := x.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	t.Cleanup(func() {
		_ = x.Process.Kill()
		_ = x.Wait()
		_ = read.Close()
	})
	number, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb does not say its display: %v", err)
	}
	return ":" + strings.TrimSpace(number)
}

// fileZillaHome makes settings in which the server's certificate is trusted, and no dialog comes up at the start.
func fileZillaHome(t *testing.T, s *server, port string) string {
	t.Helper()
	home := t.TempDir()
	text, err := os.ReadFile(s.path("data", "tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	const head = `<?xml version="1.0" encoding="UTF-8"?><FileZilla3 version="3.63.0" platform="*nix">`
	for name, content := range map[string]string{
		"filezilla.xml": head + `<Settings><Setting name="Greeting version">99.0.0</Setting><Setting name="Update Check">0</Setting><Setting name="Disable update check">1</Setting></Settings></FileZilla3>`,
		"trustedcerts.xml": head + fmt.Sprintf(`<TrustedCerts><Certificate><Data>%x</Data><ActivationTime>%d</ActivationTime><ExpirationTime>%d</ExpirationTime><Host>%s</Host><Port>%s</Port><TrustSANs>0</TrustSANs></Certificate></TrustedCerts></FileZilla3>`,
			block.Bytes, time.Now().Add(-time.Hour).Unix(), time.Now().Add(time.Hour).Unix(), net.IPv4(127, 0, 0, 1), port),
	} {
		writeFile(t, filepath.Join(home, ".config", "filezilla", name), bytes.NewReader([]byte(content)))
	}
	return home
}
