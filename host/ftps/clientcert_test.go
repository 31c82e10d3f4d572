package ftps_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/ftps"
)

// issuing is an authority with a certificate of the serial number 7.
type issuing struct {
	t    *testing.T
	dir  string
	ca   *x509.Certificate
	key  *ecdsa.PrivateKey
	leaf *x509.Certificate
}

func newIssuing(t *testing.T) *issuing {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuing{t: t, dir: t.TempDir(), key: key}
	make := func(template, parent *x509.Certificate) *x509.Certificate {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	i.ca = make(root, root)
	i.leaf = make(&x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "alice\ncn:root"}, EmailAddresses: []string{"alice"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, i.ca)
	i.write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.ca.Raw}))
	return i
}

func (i *issuing) write(name string, content []byte) string {
	file := filepath.Join(i.dir, name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		i.t.Fatal(err)
	}
	return file
}

func (i *issuing) list(number int64, until time.Time, extra []pkix.Extension, serials ...int64) []byte {
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Hour + time.Duration(number)*time.Minute), NextUpdate: until, ExtraExtensions: extra}
	for _, serial := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, i.ca, i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// Whatever lists there are, a certificate that any of them revokes is not believed, nor one of which nobody can say.
func TestRevocation(t *testing.T) {
	i := newIssuing(t)
	later, stranger := time.Now().Add(time.Hour), newIssuing(t)
	critical := func(id ...int) []pkix.Extension {
		return []pkix.Extension{{Id: id, Critical: true, Value: []byte{5, 0}}}
	}
	der, _ := pem.Decode(i.list(1, later, nil, 7))
	for name, c := range map[string]struct {
		files [][]byte
		want  string // in the error; empty: believed
	}{
		"none":                     {nil, ""},
		"empty":                    {[][]byte{i.list(1, later, nil)}, ""},
		"revoked":                  {[][]byte{i.list(1, later, nil, 7)}, "was revoked"},
		"in DER":                   {[][]byte{der.Bytes}, "was revoked"},
		"another's":                {[][]byte{i.list(1, later, nil, 8)}, ""},
		"the newer is empty":       {[][]byte{i.list(1, later, nil, 7), i.list(2, later, nil)}, "was revoked"},
		"both in one file":         {[][]byte{append(i.list(1, later, nil), i.list(2, later, nil, 7)...)}, "was revoked"},
		"time over":                {[][]byte{i.list(1, time.Now().Add(-time.Minute), nil)}, "good until"},
		"a delta":                  {[][]byte{i.list(1, later, critical(2, 5, 29, 27))}, "critical extension 2.5.29.27"},
		"a part":                   {[][]byte{i.list(1, later, critical(2, 5, 29, 28))}, "critical extension 2.5.29.28"},
		"signed by somebody else":  {[][]byte{stranger.list(1, later, nil)}, "there is no list of"},
		"no list, but what it is?": {[][]byte{[]byte("hello")}, "clients.crl"},
	} {
		var files []string
		for n, content := range c.files {
			files = append(files, i.write(strings.Repeat("x", n)+"clients.crl", content))
		}
		clients, err := ftps.LoadClientCertificates(filepath.Join(i.dir, "ca.pem"), files)
		if err == nil {
			_, err = clients.Check([]*x509.Certificate{i.leaf})
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	clients, err := ftps.LoadClientCertificates(filepath.Join(i.dir, "ca.pem"), nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := clients.Check([]*x509.Certificate{i.leaf})
	if err != nil || len(id.Names) != 1 || id.Names[0] != "email:alice" {
		t.Errorf("a name with a line break counts: %+v, %v", id, err)
	}
	if _, err := ftps.LoadClientCertificates(i.write("empty.pem", nil), nil); err == nil {
		t.Error("no authority is none")
	}
}

// Whatever certificate or list a stranger writes is refused or read, and ends nothing.
func FuzzClientCertificates(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte{0x30, 0x03, 0x02, 0x01, 0x00})
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = ftps.LoadClientCertificates(file, []string{file})
		if all, err := ftps.ParseCertificates(text); err == nil {
			_, _ = ftps.ClientCertificates{CAs: x509.NewCertPool()}.Check(all)
		}
	})
}
