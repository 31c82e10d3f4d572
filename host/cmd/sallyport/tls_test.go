package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/plugins/ldap/slapdtest"
)

// What openssl's client can get out of a service, explicit and implicit: no old protocol, no weak cipher, no renegotiation, no early
// data, no compression.
func TestTLS(t *testing.T) {
	needPrograms(t, "openssl")
	s := newServer(t, "")
	ca := s.path("data", "tls.crt")
	client := func(e target, input string, args ...string) string {
		all := append([]string{"s_client", "-connect", e.addr, "-CAfile", ca, "-servername", "localhost"}, args...)
		if e.mode == "explicit" {
			all = append(all, "-starttls", "ftp")
		}
		command := exec.Command("timeout", append([]string{"15", "openssl"}, all...)...)
		command.Stdin = strings.NewReader(input)
		out, _ := command.CombinedOutput()
		return string(out)
	}
	for _, e := range s.targets() {
		for name, c := range map[string]struct {
			args []string
			want string // in what is said
			not  string // and this not
		}{
			"TLS 1.3":            {[]string{"-tls1_3"}, "Verify return code: 0 (ok)", ""},
			"TLS 1.2":            {[]string{"-tls1_2"}, "Verify return code: 0 (ok)", ""},
			"TLS 1.1":            {[]string{"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, "no peer certificate available", "BEGIN CERTIFICATE"},
			"TLS 1.0":            {[]string{"-tls1", "-cipher", "ALL:@SECLEVEL=0"}, "no peer certificate available", "BEGIN CERTIFICATE"},
			"RC4, 3DES, export":  {[]string{"-tls1_2", "-cipher", "RC4:3DES:EXPORT:eNULL:aNULL:@SECLEVEL=0"}, "", "BEGIN CERTIFICATE"},
			"CBC":                {[]string{"-tls1_2", "-cipher", "AES128-SHA:AES256-SHA:@SECLEVEL=0"}, "", "BEGIN CERTIFICATE"},
			"without DH":         {[]string{"-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"}, "", "BEGIN CERTIFICATE"},
			"forward secrecy":    {[]string{"-tls1_2", "-cipher", "ECDHE+AESGCM"}, "Verify return code: 0 (ok)", ""},
			"another's protocol": {[]string{"-alpn", "http/1.1"}, "alert number 120", "BEGIN CERTIFICATE"},
			"its protocol":       {[]string{"-alpn", "ftp"}, "ALPN protocol: ftp", ""},
			"no compression":     {[]string{"-tls1_2"}, "Compression: NONE", ""},
			"no early data":      {[]string{"-tls1_3"}, "", "Early data was accepted"},
		} {
			if out := client(e, "QUIT\n", c.args...); !strings.Contains(out, c.want) || c.not != "" && strings.Contains(out, c.not) {
				t.Errorf("%s, %s: want %q, not %q:\n%s", e.mode, name, c.want, c.not, out)
			}
		}
		// It fails, by the server's alert or, if the banner comes in between, by the record that was not expected.
		if _, after, tried := strings.Cut(client(e, "R\nQUIT\n", "-tls1_2"), "RENEGOTIATING"); !tried || !strings.Contains(after, ":error:") || strings.Contains(after, "verify return") {
			t.Errorf("%s: renegotiation: %v, %s", e.mode, tried, after)
		}
	}
}

// A client gets the certificate of the name that it calls the server by, also another one after a reload, while sessions go on.
func TestSNI(t *testing.T) {
	needPrograms(t, "openssl")
	port := freePort(t)
	files := t.TempDir()
	write := func(name string, hosts ...string) {
		certificate, key := slapdtest.KeyPair(t, time.Now().Add(time.Hour), hosts...)
		writeFile(t, filepath.Join(files, name+".crt"), bytes.NewReader(certificate))
		writeFile(t, filepath.Join(files, name+".key"), bytes.NewReader(key))
	}
	write("first", "first.example.org")
	write("other", "other.example.org", "third.example.org")
	s := newServer(t, strings.ReplaceAll(fmt.Sprintf(`
service "ftps" "named" {
  listen      = "127.0.0.1:%s"
  tls         = "implicit"
  certificate = "DIR/first.crt"
  private_key = "DIR/first.key"
  sni {
    certificate = "DIR/other.crt"
    private_key = "DIR/other.key"
  }
}
`, port), "DIR", files))
	gets := func(name string) string {
		command := exec.Command("timeout", "15", "openssl", "s_client", "-connect", "127.0.0.1:"+port, "-servername", name)
		command.Stdin = strings.NewReader("QUIT\n")
		out, _ := command.CombinedOutput()
		show := exec.Command("openssl", "x509", "-noout", "-ext", "subjectAltName")
		show.Stdin = bytes.NewReader(out)
		names, _ := show.CombinedOutput()
		return string(names)
	}
	for name, want := range map[string]string{"first.example.org": "first.example.org", "other.example.org": "other.example.org", "third.example.org": "other.example.org", "unknown.example.org": "first.example.org"} {
		if got := gets(name); !strings.Contains(got, want) {
			t.Errorf("%s: %s", name, got)
		}
	}
	write("other", "other.example.org", "new.example.org")
	s.sallyport("", "reload")
	if got := gets("new.example.org"); !strings.Contains(got, "new.example.org") {
		t.Errorf("after a reload: %s", got)
	}
	if err := os.WriteFile(filepath.Join(files, "other.key"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := s.attempt("", "reload"); err == nil || !strings.Contains(out, "nothing was changed") {
		t.Errorf("a damaged key: %v: %s", err, out)
	}
}
