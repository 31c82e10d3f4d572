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
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
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
	errOther         = errors.New("the data connection shows another certificate than its control connection, or none where one is required")
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
		all, err := loadRevocations(file)
		if err != nil {
			return c, fmt.Errorf("client_crl: %s: %w", file, err)
		}
		c.Revoked = append(c.Revoked, all...)
	}
	return c, c.eachHasList(text)
}

// eachHasList wants a revocation list of every authority, if there are any: without one nobody whom it certifies would be believed.
func (c ClientCertificates) eachHasList(authorities []byte) error {
	if len(c.Revoked) == 0 {
		return nil
	}
	all, err := ParseCertificates(authorities)
	if err != nil {
		return fmt.Errorf("client_ca: %w", err)
	}
	for _, ca := range all {
		if !slices.ContainsFunc(c.Revoked, func(list *x509.RevocationList) bool {
			return bytes.Equal(list.RawIssuer, ca.RawSubject) && list.CheckSignatureFrom(ca) == nil
		}) {
			return fmt.Errorf("client_crl: there is no list of %s, whom client_ca names: nobody certified by it would be let in", subject(ca))
		}
	}
	return nil
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

// loadRevocations reads the lists in a file: any number in PEM, or one in DER.
func loadRevocations(file string) (all []*x509.RevocationList, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil {
		block = &pem.Block{Bytes: text}
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a revocation list of version 2, in PEM or DER, is expected: %w", err)
		}
		for _, extension := range list.Extensions { // a part of a list must not be taken for the whole (RFC 5280, section 5.2)
			if extension.Critical {
				return nil, fmt.Errorf("the list of %s is for a part of the certificates only, or otherwise special (critical extension %s): a complete list is needed", list.Issuer, extension.Id)
			}
		}
		if !current(list) {
			return nil, fmt.Errorf("the list of %s was good until %s: put a new one there, and reload", list.Issuer, list.NextUpdate.Format(time.RFC3339))
		}
		all = append(all, list)
	}
	return all, nil
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
		known := false
		for _, list := range c.listsOf(one, chain[i+1]) {
			known = known || current(list)
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(one.SerialNumber) == 0 {
					return fmt.Errorf("client certificate %s was revoked at %s", subject(one), entry.RevocationTime.Format(time.RFC3339))
				}
			}
		}
		if !known {
			return fmt.Errorf("client certificate %s: there is no revocation list of its issuer %s, or its time is over", subject(one), one.Issuer)
		}
	}
	return nil
}

// listsOf are those that the issuer signed. What is in any of them is revoked.
func (c ClientCertificates) listsOf(one, issuer *x509.Certificate) (all []*x509.RevocationList) {
	for _, list := range c.Revoked {
		if bytes.Equal(list.RawIssuer, one.RawIssuer) && list.CheckSignatureFrom(issuer) == nil {
			all = append(all, list)
		}
	}
	return all
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
	id, err := sess.settings.Clients.Check(state.PeerCertificates)
	if err != nil {
		sess.service.refused(sess.peer.String(), events.BadCertificate, err)
		sess.mu.Lock()
		sess.told = true
		sess.mu.Unlock()
		return err
	}
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.certificate = id
	return nil
}

// handshakeFailed tells of a handshake of the control connection that failed, if nothing else does. Who just goes is not worth it.
func (sess *session) handshakeFailed(err error) {
	sess.mu.Lock()
	told := sess.told
	sess.mu.Unlock()
	switch {
	case told, errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed): // the last is us
	case errors.Is(err, os.ErrDeadlineExceeded):
		sess.service.refused(sess.peer.String(), events.LoginTimeout, sess.control.late())
	default:
		sess.service.refused(sess.peer.String(), events.TLSFailed, err)
	}
}

// verifySame wants that a data connection that does not resume shows the certificate of its control connection. Where none is required it may
// show none: there session_reuse decides.
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
