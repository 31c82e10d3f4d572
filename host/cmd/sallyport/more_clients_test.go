package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jlaffaye/ftp"
)

// withWget is GNU wget, which only downloads. Its TLS version can't be set for FTP.
func withWget(t *testing.T, s *server, e target, _, user string) {
	needPrograms(t, "wget")
	content := strings.Repeat("0123456789", 100_000)
	writeFile(t, s.path("data", "files", user, "folder", "a file.bin"), strings.NewReader(content))
	writeFile(t, s.path("data", "files", user, "folder", "b.bin"), strings.NewReader("b"))
	dir := s.path("wget-" + user)
	args := []string{"-q", "--tries=1", "--timeout=20", "--ca-certificate=" + s.path("data", "tls.crt"), "--user=" + user, "--password=" + goodPassword, "-P", dir, "-r", "-nH"}
	if e.mode == "implicit" {
		args = append(args, "--ftps-implicit")
	}
	s.run("wget", append(args, "ftps://"+e.addr+"/folder/")...)
	for name, want := range map[string]string{"a file.bin": content, "b.bin": "b"} {
		if got, err := os.ReadFile(filepath.Join(dir, "folder", name)); err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// withGo is the client that Go programs use, github.com/jlaffaye/ftp.
func withGo(t *testing.T, s *server, e target, version, user string) {
	pem, err := os.ReadFile(s.path("data", "tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	number := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[version]
	host, _, _ := net.SplitHostPort(e.addr)
	config := &tls.Config{RootCAs: pool, ServerName: host, MinVersion: number, MaxVersion: number, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	options := []ftp.DialOption{ftp.DialWithTimeout(20 * time.Second)}
	if e.mode == "implicit" {
		options = append(options, ftp.DialWithTLS(config))
	} else {
		options = append(options, ftp.DialWithExplicitTLS(config))
	}
	c, err := ftp.Dial(e.addr, options...)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	content := strings.Repeat("0123456789", 100_000)
	must(c.Login(user, goodPassword))
	must(c.MakeDir("folder"))
	must(c.ChangeDir("folder"))
	must(c.Stor("a file.bin", strings.NewReader(content)))
	must(c.StorFrom("a file.bin", strings.NewReader("abc"), 1_000_000))
	must(c.Append("a file.bin", strings.NewReader("def")))
	size, err := c.FileSize("a file.bin")
	if err != nil || size != 1_000_006 {
		t.Errorf("%d, %v", size, err)
	}
	r, err := c.RetrFrom("a file.bin", 999_995)
	must(err)
	rest, err := io.ReadAll(r)
	if err != nil || string(rest) != "56789abcdef" || r.Close() != nil {
		t.Errorf("%q, %v", rest, err)
	}
	list, err := c.List("")
	if err != nil || len(list) != 1 || list[0].Name != "a file.bin" || list[0].Size != 1_000_006 {
		t.Errorf("%v, %v", list, err)
	}
	when := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	must(c.SetTime("a file.bin", when))
	if got, err := c.GetTime("a file.bin"); err != nil || !got.Equal(when) {
		t.Errorf("%v, %v", got, err)
	}
	must(c.Rename("a file.bin", "b.bin"))
	must(c.Delete("b.bin"))
	must(c.ChangeDirToParent())
	must(c.RemoveDir("folder"))
	must(c.Quit())
}

// withBasicFTP is the client of Node.js programs, npm's basic-ftp.
func withBasicFTP(t *testing.T, s *server, e target, version, user string) {
	needPrograms(t, "node")
	modules := filepath.Join(repository(t), "bin/tools/node_modules")
	if _, err := os.Stat(filepath.Join(modules, "basic-ftp")); err != nil {
		t.Fatal("npm's package basic-ftp is not there: make deps installs it")
	}
	script, err := filepath.Abs("testdata/basicftp_check.js")
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(e.addr)
	if out := s.run("node", script, modules, e.mode, host, port, version, s.path("data", "tls.crt"), user, goodPassword, s.path("basic-"+user)); strings.TrimSpace(out) != "ok" {
		t.Error(out)
	}
}
