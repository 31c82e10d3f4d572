package ftps

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/auth"
)

// ClientCertificates says which certificates of clients are believed. The zero value asks for none.
//
// What a client shows is checked here and not by crypto/tls, so that a refusal has a reason in the log and in an event; crypto/tls
// sees to it that the client has the key.
type ClientCertificates struct {
	Required bool // who shows none is refused
	Asked    bool // clients may show one
	CAs      *x509.CertPool
	// Revoked are lists of those that count no more; with some, each certificate must have one of its issuer.
	Revoked []*x509.RevocationList
}

var (
	errNoCertificate = errors.New("the client shows no certificate, and the service requires one")
	errOther         = errors.New("the data connection shows another certificate than its control connection, or none")
)

// LoadClientCertificates reads the authorities, and the revocation lists of which the time must not be over, in PEM or DER.
func LoadClientCertificates(authorities string, lists []string) (c ClientCertificates, err error) {
	text, err := os.ReadFile(authorities)
	if err != nil {
		return c, fmt.Errorf("client_ca: %w", err)
	}
	c.CAs = x509.NewCertPool()
	if !c.CAs.AppendCertsFromPEM(text) {
		return c, fmt.Errorf("client_ca: %s holds no certificate in PEM", authorities)
	}
	for _, file := range lists {
		list, err := loadRevocations(file)
		if err != nil {
			return c, fmt.Errorf("client_crl: %s: %w", file, err)
		}
		c.Revoked = append(c.Revoked, list)
	}
	return c, nil
}

// ParseCertificates reads certificates in PEM, at least one.
func ParseCertificates(text []byte) (all []*x509.Certificate, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, errors.New("it holds no certificate in PEM")
	}
	return all, nil
}

func loadRevocations(file string) (*x509.RevocationList, error) {
	der, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(der); block != nil {
		der = block.Bytes
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	if !current(list) {
		return nil, fmt.Errorf("it was good until %s: put a new one there, and reload", list.NextUpdate.Format(time.RFC3339))
	}
	return list, nil
}

func current(list *x509.RevocationList) bool {
	return list.NextUpdate.IsZero() || time.Now().Before(list.NextUpdate)
}

// Check says who it is, or why the certificate is not believed. The first is the client's own.
func (c ClientCertificates) Check(shown []*x509.Certificate) (*auth.Certificate, error) {
	if len(shown) == 0 {
		if c.Required {
			return nil, errNoCertificate
		}
		return nil, nil
	}
	between := x509.NewCertPool()
	for _, one := range shown[1:] {
		between.AddCert(one)
	}
	chains, err := shown[0].Verify(x509.VerifyOptions{Roots: c.CAs, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil, fmt.Errorf("client certificate %s: %w", subject(shown[0]), err)
	}
	for _, chain := range chains { // one whose every part is good is enough
		if err = c.revoked(chain); err == nil {
			return identity(shown[0]), nil
		}
	}
	return nil, err
}

// revoked reports what of a chain counts no more, or that nobody knows whether it does.
func (c ClientCertificates) revoked(chain []*x509.Certificate) error {
	if len(c.Revoked) == 0 {
		return nil
	}
	for i, one := range chain[:len(chain)-1] {
		list := c.listOf(one, chain[i+1])
		switch {
		case list == nil:
			return fmt.Errorf("client certificate %s: there is no revocation list of its issuer %s", subject(one), one.Issuer)
		case !current(list):
			return fmt.Errorf("client certificate %s: the revocation list of %s was good until %s", subject(one), one.Issuer, list.NextUpdate.Format(time.RFC3339))
		}
		for _, entry := range list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(one.SerialNumber) == 0 {
				return fmt.Errorf("client certificate %s was revoked at %s", subject(one), entry.RevocationTime.Format(time.RFC3339))
			}
		}
	}
	return nil
}

// listOf is the newest list that the issuer signed.
func (c ClientCertificates) listOf(one, issuer *x509.Certificate) (newest *x509.RevocationList) {
	for _, list := range c.Revoked {
		if bytes.Equal(list.RawIssuer, one.RawIssuer) && list.CheckSignatureFrom(issuer) == nil && (newest == nil || list.ThisUpdate.After(newest.ThisUpdate)) {
			newest = list
		}
	}
	return newest
}

func subject(c *x509.Certificate) string {
	return fmt.Sprintf("%q (serial %x)", c.Subject, c.SerialNumber)
}

// identity is what methods may know of a certificate. Names with control characters are left out: nobody has them honestly.
func identity(c *x509.Certificate) *auth.Certificate {
	digest := sha256.Sum256(c.Raw)
	id := &auth.Certificate{Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: c.SerialNumber.Text(16), SHA256: hex.EncodeToString(digest[:]), Expires: c.NotAfter}
	add := func(kind string, names ...string) {
		for _, name := range names {
			if name != "" && !strings.ContainsFunc(name, unicode.IsControl) {
				id.Names = append(id.Names, kind+":"+name)
			}
		}
	}
	add("cn", c.Subject.CommonName)
	add("email", c.EmailAddresses...)
	add("dns", c.DNSNames...)
	for _, uri := range c.URIs {
		add("uri", uri.String())
	}
	return id
}

// verifyControl is called at the end of the handshake of the control connection.
func (sess *session) verifyControl(state tls.ConnectionState) error {
	defer sess.control.secured()
	id, err := sess.settings.Clients.Check(state.PeerCertificates)
	if err != nil {
		sess.service.refused(sess.peer.String(), events.BadCertificate, err)
		return err
	}
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.certificate = id
	return nil
}

// verifySame wants that a data connection that does not resume shows the certificate of its control connection.
func (sess *session) verifySame(state tls.ConnectionState) error {
	sess.mu.Lock()
	id := sess.certificate
	sess.mu.Unlock()
	switch shown := state.PeerCertificates; {
	case state.DidResume, id == nil && len(shown) == 0, len(shown) == 0 && !sess.settings.Clients.Required:
		return nil
	case id == nil || len(shown) == 0 || identity(shown[0]).SHA256 != id.SHA256:
		return errOther
	}
	return nil
}
