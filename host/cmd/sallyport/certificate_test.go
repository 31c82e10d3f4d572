package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issuer is an authority that certifies clients.
type issuer struct {
	t           testing.TB
	dir         string
	certificate *x509.Certificate
	key         crypto.Signer
	serial      int64
}

func newIssuer(t testing.TB, dir, name string) *issuer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, dir: dir, key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if i.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	i.write(name+".pem", "CERTIFICATE", der)
	return i
}

func (i *issuer) write(name, kind string, der []byte) {
	writeFile(i.t, i.dir+"/"+name, bytes.NewReader(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

// issue writes name.crt and name.key, and returns the serial number.
func (i *issuer) issue(name string, template x509.Certificate) *big.Int {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	i.serial++
	template.SerialNumber, template.NotBefore = big.NewInt(i.serial), time.Now().Add(-2*time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	if template.ExtKeyUsage == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, i.certificate, key.Public(), i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		i.t.Fatal(err)
	}
	i.write(name+".crt", "CERTIFICATE", der)
	i.write(name+".key", "PRIVATE KEY", pkcs8)
	return template.SerialNumber
}

// revoke writes the list of those that count no more.
func (i *issuer) revoke(file string, until time.Time, serials ...*big.Int) {
	i.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: until}
	for _, serial := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, i.certificate, i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	i.write(file, "X509 CRL", der)
}

func commonName(name string) x509.Certificate {
	return x509.Certificate{Subject: pkix.Name{CommonName: name}}
}

// Real clients log in with a certificate alone, or with one beside the password; whom the service must not believe is refused.
func TestClientCertificates(t *testing.T) {
	needPrograms(t, "curl", "lftp", "python3")
	files := t.TempDir()
	ours, others := newIssuer(t, files, "clients"), newIssuer(t, files, "others")
	ours.issue("alice", commonName("Alice"))
	ours.issue("bob", commonName("bob"))
	ours.issue("mail", x509.Certificate{Subject: pkix.Name{CommonName: "Alice Liddell"}, EmailAddresses: []string{"alice"}})
	ours.issue("stranger", commonName("nobody-here"))
	ours.issue("expired", x509.Certificate{Subject: pkix.Name{CommonName: "alice"}, NotAfter: time.Now().Add(-time.Hour)})
	ours.issue("server", x509.Certificate{Subject: pkix.Name{CommonName: "alice"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	revoked := ours.issue("revoked", commonName("alice"))
	others.issue("foreign", commonName("alice"))
	ours.revoke("clients.crl", time.Now().Add(time.Hour), revoked)
	alone, both := freePort(t), freePort(t)
	s := newServer(t, strings.NewReplacer("DIR", files, "ALONE", alone, "BOTH", both).Replace(`
service "ftps" "alone" {
  listen              = "127.0.0.1:ALONE"
  authentications     = ["certificate", "accounts"]
  client_certificates = "request"
  client_ca           = "DIR/clients.pem"
  client_crl          = ["DIR/clients.crl"]
  session_reuse       = "require"
}
service "ftps" "both" {
  listen              = "127.0.0.1:BOTH"
  authentications     = ["checked"]
  client_certificates = "require"
  client_ca           = "DIR/clients.pem"
  client_crl          = ["DIR/clients.crl"]
}
authentication "certificate" {
  plugin = "certificate"
  grant {
    accounts = ["*"]
  }
}
authentication "second" {
  plugin = "certificate"
}
authentication "checked" {
  plugin        = "local"
  second_factor = ["second"]
}
attempts {
  per_account = 100
  per_source  = 1000
}
`))
	s.addAccount("alice")
	s.addAccount("bob")
	writeFile(t, s.path("data", "files", "alice", "file.txt"), strings.NewReader("content"))
	curl := func(port, user, certificate string) (string, bool) {
		args := []string{"-sS", "--max-time", "20", "--ssl-reqd", "--tlsv1.3", "--cacert", s.path("data", "tls.crt"), "--user", user}
		if certificate != "" {
			args = append(args, "--cert", files+"/"+certificate+".crt", "--key", files+"/"+certificate+".key")
		}
		out, err := s.try("curl", append(args, "ftp://127.0.0.1:"+port+"/file.txt")...)
		return out, err == nil && out == "content"
	}
	const right, wrong = "alice:" + goodPassword, "alice:wrong"
	for _, c := range []struct {
		name, port, user, certificate string
		in                            bool
	}{
		{"alone, her own", alone, "alice:", "alice", true},
		{"alone, her own, whatever the password", alone, wrong, "alice", true},
		{"alone, by an alternative name", alone, "alice:", "mail", true},
		{"alone, none, but the password", alone, right, "", true},
		{"alone, none, and a wrong password", alone, wrong, "", false},
		{"alone, none, and no password", alone, "alice:", "", false},
		{"alone, another's, and no password", alone, "alice:", "bob", false},
		{"alone, another's, though the password is right", alone, right, "bob", false},
		{"alone, of who has no account", alone, "nobody-here:", "stranger", false},
		{"alone, expired", alone, "alice:", "expired", false},
		{"alone, revoked", alone, "alice:", "revoked", false},
		{"alone, of another authority", alone, right, "foreign", false},
		{"alone, not for clients", alone, "alice:", "server", false},
		{"both", both, right, "alice", true},
		{"both, none a moment later", both, right, "", false},
		{"both, another's a moment later", both, right, "bob", false},
		{"both, a wrong password", both, wrong, "alice", false},
		{"both, no password", both, "alice:", "alice", false},
		{"both, revoked", both, right, "revoked", false},
	} {
		if out, in := curl(c.port, c.user, c.certificate); in != c.in {
			t.Errorf("%s: %v, %s", c.name, in, out)
		}
	}
	if out, _ := s.try("lftp", "--norc", "-u", "alice,", "-e", fmt.Sprintf("set net:max-retries 1; set net:timeout 20; set ftp:ssl-force true; set ssl:ca-file %s; set ssl:cert-file %s/alice.crt; set ssl:key-file %[2]s/alice.key; ls; exit", s.path("data", "tls.crt"), files), "ftp://127.0.0.1:"+alone); !strings.Contains(out, "file.txt") {
		t.Errorf("lftp: %s", out)
	}
	writeFile(t, s.path("certificate.py"), strings.NewReader(`
import ftplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
context.load_cert_chain(sys.argv[3] + "/alice.crt", sys.argv[3] + "/alice.key")
ftp = ftplib.FTP_TLS(context=context)
ftp.connect("127.0.0.1", int(sys.argv[1]), timeout=20)
ftp.login("alice", sys.argv[4])
ftp.prot_p()
print(ftp.nlst())
`))
	if out, _ := s.try("python3", s.path("certificate.py"), both, s.path("data", "tls.crt"), files, goodPassword); !strings.Contains(out, "file.txt") {
		t.Errorf("ftplib: %s", out) // its data connections do not resume, and show the certificate again
	}
	s.tellsOfCertificates(files)
	s.disabledIsDisabled(curl, alone)

	ours.revoke("clients.crl", time.Now().Add(time.Hour), big.NewInt(1))
	s.sallyport("", "reload")
	if _, in := curl(alone, "alice:", "alice"); in {
		t.Error("a certificate that was revoked meanwhile is believed after the reload")
	}
	ours.revoke("clients.crl", time.Now().Add(-time.Minute))
	if out, err := s.attempt("", "reload"); err == nil || !strings.Contains(out, "was good until") {
		t.Errorf("a list whose time is over: %v, %s", err, out)
	}
}

// tellsOfCertificates looks at what events, the log and the commands say.
func (s *server) tellsOfCertificates(files string) {
	t := s.t
	tail := s.sallyport("", "events", "tail", "--since", "10m", "--no-follow", "--json")
	for _, want := range []string{
		`"method":"certificate","account":"alice"`, `"certificate":"CN=Alice","certificate_sha256":"`, `"reason":"certificate_not_theirs"`,
		`"type":"sallyport.v1.connection.refused"`, `"reason":"certificate_refused"`, `"method":"checked","factors":["second"]`,
	} {
		if !strings.Contains(tail, want) {
			t.Errorf("no event has %s", want)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "connection refused") || !strings.Contains(log, "certificate") {
		t.Error("the log does not say whose certificates are refused")
	}
	if out := s.sallyport("", "login", "--user", "alice", "--service", "alone", "--certificate", files+"/alice.crt"); !strings.Contains(out, "accepted by certificate") {
		t.Errorf("login: %s", out)
	}
	if out, err := s.attempt("", "login", "--user", "alice", "--service", "both", "--certificate", files+"/alice.crt"); err == nil || !strings.Contains(out, "--password-stdin") {
		t.Errorf("login without the password that this service wants too: %v, %s", err, out)
	}
	for certificate, want := range map[string]string{"bob": "certificate_not_theirs", "revoked": "was revoked at", "foreign": "unknown authority", "expired": "expired"} {
		if out, err := s.attempt("", "login", "--user", "alice", "--service", "alone", "--certificate", files+"/"+certificate+".crt"); err == nil || !strings.Contains(out, want) {
			t.Errorf("login with %s: %v, %s", certificate, err, out)
		}
	}
}

// disabledIsDisabled sees that a certificate opens no account that is closed.
func (s *server) disabledIsDisabled(curl func(port, user, certificate string) (string, bool), port string) {
	s.sallyport("", "account", "disable", "alice")
	if _, in := curl(port, "alice:", "alice"); in {
		s.t.Error("a disabled account was let in by its certificate")
	}
	s.sallyport("", "account", "enable", "alice")
}

// A client that shows another certificate on the data connection than on the control connection is cut off.
func TestCertificateOfDataConnections(t *testing.T) {
	needPrograms(t, "python3")
	files := t.TempDir()
	ours := newIssuer(t, files, "clients")
	ours.issue("alice", commonName("alice"))
	ours.issue("bob", commonName("bob"))
	port := freePort(t)
	s := newServer(t, strings.NewReplacer("DIR", files, "PORT", port).Replace(`
service "ftps" "asked" {
  listen              = "127.0.0.1:PORT"
  authentications     = ["accounts"]
  client_certificates = "request"
  client_ca           = "DIR/clients.pem"
}
`))
	s.addAccount("alice")
	writeFile(t, s.path("data", "files", "alice", "file.txt"), strings.NewReader("content"))
	writeFile(t, s.path("data.py"), strings.NewReader(`
import ftplib, ssl, sys
def context(name):
    c = ssl.create_default_context(cafile=sys.argv[2])
    if name: c.load_cert_chain(sys.argv[3] + "/" + name + ".crt", sys.argv[3] + "/" + name + ".key")
    return c
class Two(ftplib.FTP_TLS):
    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        return context(sys.argv[5]).wrap_socket(conn, server_hostname=self.host), size
ftp = Two(context=context("alice"))
ftp.connect("127.0.0.1", int(sys.argv[1]), timeout=20)
ftp.login("alice", sys.argv[4])
ftp.prot_p()
print(ftp.nlst())
`))
	for certificate, want := range map[string]bool{"alice": true, "": true, "bob": false} {
		out, _ := s.try("python3", s.path("data.py"), port, s.path("data", "tls.crt"), files, goodPassword, certificate)
		if got := strings.Contains(out, "file.txt"); got != want {
			t.Errorf("%q: %v, %s", certificate, got, out)
		}
	}
}

// What the plugin's README says makes an authority, a certificate and a list that work, and that end when the certificate is revoked.
func TestCertificateReadme(t *testing.T) {
	needPrograms(t, "openssl", "curl")
	port, dir := freePort(t), t.TempDir()
	for _, b := range blocks(t, filepath.Join(repository(t), "plugins/certificate/README.md")) {
		if b.language != "sh" {
			continue
		}
		command := exec.Command("sh", "-e", "-c", b.text)
		command.Dir = dir
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	s := newServer(t, strings.NewReplacer("DIR", dir, "PORT", port).Replace(`
service "ftps" "main" {
  listen              = "127.0.0.1:PORT"
  client_certificates = "request"
  client_ca           = "DIR/clients.pem"
  client_crl          = ["DIR/clients.crl"]
  authentications     = ["certificate", "accounts"]
}
authentication "certificate" {
  plugin = "certificate"
  grant {
    accounts = ["*"]
  }
}
`))
	s.addAccount("alice")
	curl := func() error {
		out, err := s.try("curl", "-sS", "--ssl-reqd", "--cacert", s.path("data", "tls.crt"), "--cert", dir+"/alice.crt", "--key", dir+"/alice.key", "-u", "alice:", "ftp://127.0.0.1:"+port+"/")
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	}
	if err := curl(); err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{"-revoke", "alice.crt"}, {"-gencrl", "-out", "clients.crl"}} {
		command := exec.Command("openssl", append([]string{"ca", "-config", "ca.cnf", "-cert", "clients.pem", "-keyfile", "ca.key"}, args...)...)
		command.Dir = dir
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	s.sallyport("", "reload")
	if curl() == nil {
		t.Error("revoked, and let in")
	}
}
