package ftps

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"
)

// selfSignedFor is how long a self-signed certificate is good; it is made anew a month before.
const selfSignedFor = 397 * 24 * time.Hour

// LoadCertificate reads a key pair in PEM. The error says which file is wrong and how.
func LoadCertificate(certificate, key string) (tls.Certificate, error) {
	for _, file := range []string{certificate, key} {
		if _, err := os.ReadFile(file); err != nil {
			return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
		}
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate %s with key %s: %w", certificate, key, err)
	}
	now := time.Now()
	switch leaf := pair.Leaf; {
	case now.After(leaf.NotAfter):
		return tls.Certificate{}, fmt.Errorf("certificate %s expired on %s: put a new one there", certificate, leaf.NotAfter.Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		return tls.Certificate{}, fmt.Errorf("certificate %s is good from %s on only: is the clock right?", certificate, leaf.NotBefore.Format(time.DateOnly))
	}
	return pair, nil
}

// SelfSigned returns the key pair in the two files, and makes it first if it is not there or
// is about to expire. made tells whether it did.
func SelfSigned(certificate, key, name string) (pair tls.Certificate, made bool, err error) {
	pair, err = tls.LoadX509KeyPair(certificate, key)
	if err == nil && time.Until(pair.Leaf.NotAfter) > 30*24*time.Hour {
		return pair, false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, false, fmt.Errorf("self-signed certificate: %w; remove %s and %s to have new ones made", err, certificate, key)
	}
	if err := makeSelfSigned(certificate, key, name); err != nil {
		return tls.Certificate{}, false, fmt.Errorf("self-signed certificate: %w", err)
	}
	pair, err = tls.LoadX509KeyPair(certificate, key)
	return pair, true, err
}

func makeSelfSigned(certificate, key, name string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	names := []string{"localhost"}
	if host, err := os.Hostname(); err == nil && host != "localhost" {
		names = append(names, host)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Sallyport, self-signed"}},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(selfSignedFor),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // so that a client can be told to trust the file
		DNSNames:              names,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	if err := writePEM(key, 0o600, "PRIVATE KEY", keyDER); err != nil {
		return err
	}
	return writePEM(certificate, 0o644, "CERTIFICATE", der)
}

// writePEM replaces the file at once, so that a crash leaves the old one or the new one.
func writePEM(file string, mode os.FileMode, kind string, der []byte) error {
	aside := file + ".new"
	if err := os.WriteFile(aside, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return err
	}
	return os.Rename(aside, file)
}
