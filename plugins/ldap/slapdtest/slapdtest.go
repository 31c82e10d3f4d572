// Package slapdtest runs a real directory server for tests: OpenLDAP's slapd, with users, groups and password
// policies, over ldap, StartTLS and ldaps on loopback.
package slapdtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// Base is the suffix; Password is that of every user, and ServicePassword that of ServiceDN, who may search.
const (
	Base            = "dc=example,dc=org"
	Password        = "open sesame"
	ServiceDN       = "cn=ftp," + Base
	ServicePassword = "service secret"
	rootDN          = "cn=admin," + Base
)

// Server is a directory that runs until the test ends.
type Server struct {
	Plain, Secured string // ldap:// and ldaps://
	Pool           *x509.CertPool
}

// Start runs a directory. Its users: alice (in cn=sales, by member), bob (in cn=unix, by memberUid), jürgen, twin (two
// entries), locked, reset (must change the password), and old (whose password has expired).
func Start(t testing.TB) Server {
	t.Helper()
	slapd, err := exec.LookPath("slapd")
	if err != nil {
		slapd = "/usr/sbin/slapd"
	}
	if _, err := os.Stat(slapd); err != nil {
		t.Fatal("slapd is not there: install it (make deps does)")
	}
	dir := t.TempDir()
	certificate, key := KeyPair(t, time.Now().Add(time.Hour), "127.0.0.1", "localhost")
	write := func(name string, content []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	s := Server{Plain: "ldap://" + unusedAddress(t), Secured: "ldaps://" + unusedAddress(t), Pool: x509.NewCertPool()}
	s.Pool.AppendCertsFromPEM(certificate)
	conf := write("slapd.conf", fmt.Appendf(nil, configuration, write("crt", certificate), write("key", key), dir, Base, rootDN))
	server := exec.Command(slapd, "-d", "0", "-f", conf, "-h", s.Plain+"/ "+s.Secured+"/")
	var log strings.Builder
	server.Stderr = &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	admin := connect(t, s.Plain)
	defer func() { _ = admin.Close() }()
	fill(t, admin)
	for range 3 { // the policy locks an account after three
		other := connect(t, s.Plain)
		_ = other.Bind("uid=locked,ou=people,"+Base, "wrong")
		_ = other.Close()
	}
	return s
}

const configuration = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
TLSCACertificateFile %[1]s
TLSCertificateFile %[1]s
TLSCertificateKeyFile %[2]s
database mdb
suffix "%[4]s"
rootdn "%[5]s"
rootpw admin
directory %[3]s
overlay memberof
overlay ppolicy
ppolicy_default "cn=policy,%[4]s"
ppolicy_use_lockout
access to attrs=userPassword by anonymous auth
access to * by dn="cn=ftp,%[4]s" read by self read by anonymous auth
`

func connect(t testing.TB, url string) *ldap.Conn {
	t.Helper()
	for range 200 {
		if conn, err := ldap.DialURL(url); err == nil {
			return conn
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("slapd does not answer")
	return nil
}

// fill adds the entries while the server runs: so its overlays see them.
func fill(t testing.TB, admin *ldap.Conn) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	must(admin.Bind(rootDN, "admin"))
	add := func(dn string, attributes ...string) {
		t.Helper()
		request := ldap.NewAddRequest(dn+Base, nil)
		values := map[string][]string{}
		for _, a := range attributes {
			name, value, _ := strings.Cut(a, "=")
			values[name] = append(values[name], value)
		}
		for name, value := range values {
			request.Attribute(name, value)
		}
		must(admin.Add(request))
	}
	person := func(dn, uid string, more ...string) {
		t.Helper()
		add(dn, append([]string{"objectClass=inetOrgPerson", "uid=" + uid, "cn=" + uid, "sn=x", "userPassword=" + Password}, more...)...)
	}
	add("", "objectClass=dcObject", "objectClass=organization", "dc=example", "o=Example")
	add("cn=policy,", "objectClass=pwdPolicy", "objectClass=applicationProcess", "cn=policy", "pwdAttribute=userPassword", "pwdLockout=TRUE", "pwdMaxFailure=3", "pwdMustChange=TRUE")
	add("cn=short,", "objectClass=pwdPolicy", "objectClass=applicationProcess", "cn=short", "pwdAttribute=userPassword", "pwdMaxAge=1")
	add("ou=people,", "objectClass=organizationalUnit", "ou=people")
	add("ou=more,", "objectClass=organizationalUnit", "ou=more")
	add("ou=groups,", "objectClass=organizationalUnit", "ou=groups")
	add("cn=ftp,", "objectClass=organizationalRole", "objectClass=simpleSecurityObject", "cn=ftp", "userPassword="+ServicePassword)
	person("uid=alice,ou=people,", "alice", "objectClass=posixAccount", "uidNumber=1", "gidNumber=1", "homeDirectory=/srv/ftp/alice", "mail=alice@example.org", "employeeNumber=alice-at-example")
	for _, uid := range []string{"bob", "jürgen", "twin", "locked", "reset"} {
		person("uid="+uid+",ou=people,", uid)
	}
	person("uid=old,ou=people,", "old", "pwdPolicySubentry=cn=short,"+Base)
	person("uid=twin,ou=more,", "twin")
	add("cn=sales,ou=groups,", "objectClass=groupOfNames", "cn=sales", "member=uid=alice,ou=people,"+Base)
	add("cn=unix,ou=groups,", "objectClass=posixGroup", "cn=unix", "gidNumber=7", "memberUid=bob")
	reset := ldap.NewModifyRequest("uid=reset,ou=people,"+Base, nil)
	reset.Replace("pwdReset", []string{"TRUE"})
	must(admin.Modify(reset))
	time.Sleep(1100 * time.Millisecond) // until the password of old has expired
}

// KeyPair makes a self-signed certificate, in PEM.
func KeyPair(t testing.TB, until time.Time, names ...string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]}, NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func unusedAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
