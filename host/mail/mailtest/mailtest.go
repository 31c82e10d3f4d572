// Package mailtest runs a real mail server for tests: aiosmtpd, with STARTTLS, authentication and refusals, on loopback.
package mailtest

import (
	"bufio"
	"embed"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/plugins/ldap/slapdtest"
)

//go:embed smtpd.py
var files embed.FS

// Server is a mail server that runs until the test ends. Its user is "relay" with the password "relay-secret"; it refuses the
// sender nobody@ and the recipient refused@, and the mailbox full@ is full.
type Server struct {
	Addr   string
	CA     []byte // PEM
	folder string
}

// Start runs a server; mode is starttls, implicit or none.
func Start(t testing.TB, mode string) *Server {
	t.Helper()
	python := "python3"
	if exec.Command(python, "-c", "import aiosmtpd").Run() != nil {
		python = "/usr/bin/python3" // Debian's, which has the package, whatever else is in the path
	}
	if err := exec.Command(python, "-c", "import aiosmtpd").Run(); err != nil {
		t.Fatal("python3-aiosmtpd is not there: install it (make deps does)")
	}
	dir := t.TempDir()
	certificate, key := slapdtest.KeyPair(t, time.Now().Add(time.Hour), "127.0.0.1", "localhost")
	script, err := files.ReadFile("smtpd.py")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"smtpd.py": script, "crt": certificate, "key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &Server{CA: certificate, folder: filepath.Join(dir, "mail")}
	if err := os.Mkdir(s.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(python, filepath.Join(dir, "smtpd.py"), s.folder, filepath.Join(dir, "crt"), filepath.Join(dir, "key"), mode)
	var log strings.Builder
	server.Stderr = &log
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = server.Process.Kill(); _ = server.Wait() })
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = server.Wait()
		t.Fatalf("the mail server did not start: %v\n%s", err, log.String())
	}
	s.Addr = net.JoinHostPort("127.0.0.1", strings.TrimSpace(port))
	return s
}

// Letters are the files of the mails that it took, the first one first.
func (s *Server) Letters(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.folder, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(files, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return files
}
