package sandbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
)

// Probe is how far a connection to a granted address comes.
type Probe struct {
	Endpoint  endpoint.Endpoint
	Resolved  []netip.Addr
	Connected netip.AddrPort // not valid: it did not come so far, or is UDP
	TLS       string         // such as "TLS 1.3"
	Until     time.Time      // the certificate is valid until then
	Err       error          // why it went no further
}

// Endpoints are the places that the grants name, each once.
func (g Grants) Endpoints() (all []endpoint.Endpoint) {
	for _, e := range slices.Concat(g.HTTP, g.Network) {
		e.Path = ""
		if !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	return all
}

// Probe resolves, connects and makes TLS as a plugin's request would, and sends nothing.
func (r *Reach) Probe(ctx context.Context, e endpoint.Endpoint) (p Probe) {
	p.Endpoint = e
	if p.Resolved, p.Err = r.resolve(ctx, e.Host); p.Err != nil {
		return p
	}
	network := "tcp"
	if e.Transport() == "udp" {
		network = "udp"
	}
	conn, err := r.dialAddress(ctx, network, e.Address())
	if err != nil {
		p.Err = err
		return p
	}
	defer func() { _ = conn.Close() }()
	if network == "udp" {
		return p // nothing was sent: nobody knows
	}
	p.Connected, _ = netip.ParseAddrPort(conn.RemoteAddr().String())
	if e.Transport() != "tls" {
		return p
	}
	p.Until, p.TLS, p.Err = r.probeTLS(ctx, conn, e.Host)
	return p
}

func (r *Reach) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	resolver := r.dialer.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return resolver.LookupNetIP(ctx, "ip", host)
}

// probeTLS tells how long the certificate is valid even if it is refused.
func (r *Reach) probeTLS(ctx context.Context, conn net.Conn, host string) (until time.Time, version string, err error) {
	config := r.tlsConfig(host)
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		var refused *tls.CertificateVerificationError
		if errors.As(err, &refused) && len(refused.UnverifiedCertificates) > 0 {
			until = refused.UnverifiedCertificates[0].NotAfter
		}
		return until, "", fmt.Errorf("TLS: %w", err)
	}
	state := secured.ConnectionState()
	return state.PeerCertificates[0].NotAfter, tls.VersionName(state.Version), nil
}
