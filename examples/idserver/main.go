// Idserver is a SecSign ID server to try second factors by hand, with a page in place of a phone. It is for this machine
// only, and keeps nothing.
//
//	idserver -ca ca.pem alice bob
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/sallyport-ftps/sallyport/plugins/secsign/idserver"
)

func main() {
	ca := flag.String("ca", "ca.pem", "file that the certificate to trust is written to")
	api := flag.String("api", "127.0.0.1:8443", "address of the API, on loopback")
	page := flag.String("page", "127.0.0.1:8480", "address of the page in place of a phone, on loopback")
	flag.Parse()
	if err := serve(*ca, *api, *page, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func serve(ca, api, page string, ids []string) error {
	pair, certificate, err := selfSigned()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", api)
	if err != nil {
		return err
	}
	pages, err := net.Listen("tcp", page)
	if err != nil {
		return err
	}
	if err := os.WriteFile(ca, certificate, 0o644); err != nil {
		return err
	}
	server := idserver.New(idserver.Options{}, ids...)
	fmt.Printf("The phone of %q is at http://%s\n", ids, pages.Addr())
	phone := http.Server{Handler: server.Control(), ReadHeaderTimeout: 10 * time.Second}
	go func() { log.Fatal(phone.Serve(pages)) }()
	wire := http.Server{Handler: server.Handler(), ReadHeaderTimeout: 10 * time.Second, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
	return wire.ServeTLS(listener, "", "")
}

// selfSigned makes a certificate for this machine, for a day.
func selfSigned() (pair tls.Certificate, certificate []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "ID server on this machine"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return pair, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
