package sandbox_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// An unmodified go-ldap talks to a real directory through a socket of the sandbox.
func TestGoLDAP(t *testing.T) {
	plain, secured, pool := startSlapd(t)
	wasm, err := buildGuest(t.TempDir(), "../../examples/plugins/ldap-bind")
	if err != nil {
		t.Fatal(err)
	}
	r := newRuntime(t)
	p := loadOn(t, r, wasm, patient)
	for name, c := range map[string]struct {
		server, user, password string
		startTLS               bool
		want                   sdk.Verdict
	}{
		"ldaps":          {secured, "alice", "open sesame", false, sdk.Accept},
		"ldap":           {plain, "alice", "open sesame", false, sdk.Accept},
		"start_tls":      {plain, "alice", "open sesame", true, sdk.Accept},
		"wrong password": {secured, "alice", "guess", false, sdk.Reject},
		"unknown user":   {secured, "bob", "open sesame", false, sdk.Reject},
		"odd user":       {secured, "alice,ou=people", "open sesame", false, sdk.Reject},
		"no password":    {secured, "alice", "", false, sdk.Reject},
	} {
		t.Run(name, func(t *testing.T) {
			call, log := dialing(t, r, c.user, c.server, pool)
			call.Password, call.SeesPassword = secret.New(c.password), true
			call.Settings = map[string]any{"server": c.server, "bind_dn": "uid={username},ou=people,dc=example,dc=org", "start_tls": c.startTLS}
			for range 3 {
				got, err := p.Run(t.Context(), call)
				if err != nil || got.Verdict != c.want {
					t.Fatalf("got %v, %v: %s", got.Verdict, err, log)
				}
				t.Logf("%v CPU, %d KiB", got.Stats.CPU, got.Stats.Memory>>10)
			}
		})
	}
}

// startSlapd runs a directory with one entry.
func startSlapd(t *testing.T) (plain, secured string, pool *x509.CertPool) {
	t.Helper()
	slapd, err := exec.LookPath("slapd")
	if err != nil {
		slapd = "/usr/sbin/slapd"
	}
	if _, err := os.Stat(slapd); err != nil {
		t.Fatal("slapd is not there: install it (make deps does)")
	}
	dir := t.TempDir()
	config, pool := keyPair()
	pair := config.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	crt := write("crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}))
	keyFile := write("key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	conf := write("slapd.conf", fmt.Appendf(nil, `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCACertificateFile %[1]s
TLSCertificateFile %[1]s
TLSCertificateKeyFile %[2]s
database mdb
suffix "dc=example,dc=org"
directory %[3]s
access to * by anonymous auth by self read
`, crt, keyFile, dir))
	entries := write("entries.ldif", []byte(`dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: uid=alice,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: Example
userPassword: open sesame
`))
	if out, err := exec.Command(slapd, "-T", "add", "-f", conf, "-l", entries).CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v: %s", err, out)
	}
	plainPort, securedPort := unusedPort(t), unusedPort(t)
	plain, secured = "ldap://127.0.0.1:"+plainPort, "ldaps://127.0.0.1:"+securedPort
	server := exec.Command(slapd, "-d", "0", "-f", conf, "-h", plain+"/ "+secured+"/")
	var log syncBuffer
	server.Stderr = &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	for range 200 {
		if conn, err := net.Dial("tcp", strings.TrimPrefix(secured, "ldaps://")); err == nil {
			_ = conn.Close()
			return plain, secured, pool
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("slapd does not answer: %s", log.String())
	return "", "", nil
}

func unusedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
