package sandbox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// Grants are what the administrator lets a method reach. The zero value is nothing.
type Grants struct {
	HTTP       []endpoint.Endpoint // for http
	Network    []endpoint.Endpoint // for dial
	PasswordTo []endpoint.Endpoint // where the password may be sent by reference, by a plugin that does not see it
	Secrets    map[string]Secret
	CA         *x509.CertPool // trusted there; nil: the system's
	// Transport answers HTTP requests in place of the network, in tests of plugins.
	Transport http.RoundTripper
}

// Secret is a value that a plugin may send, but never sees.
type Secret struct {
	Value secret.Text
	To    []endpoint.Endpoint
}

// Reach is what one method may reach over the network, with the connections that it keeps. A nil
// Reach reaches nothing.
type Reach struct {
	grants   Grants
	dialer   *net.Dialer
	refuse   func(netip.AddrPort) bool
	client   *http.Client
	underWay chan struct{}
}

// NewReach makes a Reach. Close it when the method is gone.
func (r *Runtime) NewReach(grants Grants, limits Limits) *Reach {
	reach := &Reach{grants: grants, refuse: r.options.Refuse, underWay: make(chan struct{}, max(1, limits.Requests))}
	reach.dialer = &net.Dialer{Timeout: connectTimeout, Resolver: r.options.Resolver}
	reach.client = &http.Client{
		Timeout:       limits.HTTP,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{ // no proxy from the environment, no compression, no HTTP/2
			DialContext:            reach.dialTCP,
			TLSClientConfig:        &tls.Config{RootCAs: grants.CA, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    connectTimeout,
			MaxResponseHeaderBytes: maxHeader,
			MaxIdleConnsPerHost:    max(1, limits.Requests), // fewer, and a busy service gets a TLS handshake for each request
			IdleConnTimeout:        limits.HTTP * 6,
			DisableCompression:     true,
		},
	}
	if grants.Transport != nil {
		reach.client.Transport = grants.Transport
	}
	return reach
}

// Close ends the connections that are kept.
func (r *Reach) Close() { r.client.CloseIdleConnections() }

func (r *Reach) secret(name string) *Secret {
	if r == nil {
		return nil
	}
	if s, ok := r.grants.Secrets[name]; ok {
		return &s
	}
	return nil
}

func (r *Reach) secretValues() (values []string) {
	if r == nil {
		return nil
	}
	for _, s := range r.grants.Secrets {
		values = append(values, s.Value.Reveal())
	}
	return values
}

func (r *Reach) mayHTTP(e endpoint.Endpoint) bool { return r != nil && covered(r.grants.HTTP, e) }

func (r *Reach) maySocket(e endpoint.Endpoint) bool { return r != nil && covered(r.grants.Network, e) }

func (r *Reach) mayHavePassword(e endpoint.Endpoint) bool {
	return r != nil && covered(r.grants.PasswordTo, e)
}

func covered(granted []endpoint.Endpoint, e endpoint.Endpoint) bool {
	return slices.ContainsFunc(granted, func(g endpoint.Endpoint) bool { return g.Covers(e) })
}

func (r *Reach) tlsConfig(server string) *tls.Config {
	return &tls.Config{RootCAs: r.grants.CA, MinVersion: tls.VersionTLS12, ServerName: server}
}

// dial opens a socket.
func (r *Reach) dial(ctx context.Context, e endpoint.Endpoint) (net.Conn, error) {
	if e.Transport() == "udp" {
		return r.dialAddress(ctx, "udp", e.Address())
	}
	conn, err := r.dialAddress(ctx, "tcp", e.Address())
	if err != nil || e.Transport() == "tcp" {
		return conn, err
	}
	secured := tls.Client(conn, r.tlsConfig(e.Host))
	limit, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := secured.HandshakeContext(limit); err != nil {
		_ = conn.Close()
		if limit.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("connected, and no TLS handshake within %v", connectTimeout)
		}
		return nil, err
	}
	return secured, nil
}

func (r *Reach) dialTCP(ctx context.Context, _, address string) (net.Conn, error) {
	return r.dialAddress(ctx, "tcp", address)
}

// dialAddress resolves the name, and looks at every address before it is connected to: a name that
// was harmless a moment ago may now be somewhere else.
func (r *Reach) dialAddress(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dialer := *r.dialer
	dialer.ControlContext = func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(resolved)
		if err != nil {
			return err
		}
		return r.allow(host, to)
	}
	return dialer.DialContext(ctx, network, address)
}

var errRefusedAddress = errors.New("refused address")

// isMetadata knows the metadata services of clouds that are outside of the link-local networks.
func isMetadata(ip netip.Addr) bool {
	switch ip.String() {
	case "fd00:ec2::254", "100.100.100.200", "168.63.129.16":
		return true
	}
	return false
}

// allow refuses addresses that no grant by name can mean. Private ones are fine: directories are there.
func (r *Reach) allow(host string, to netip.AddrPort) error {
	ip := inner(to.Addr().Unmap().WithZone(""))
	why := ""
	switch {
	case !ip.IsValid() || ip.IsUnspecified():
		why = "it is unspecified"
	case ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		why = "it is multicast or broadcast"
	case ip.IsLinkLocalUnicast():
		why = "it is link-local, where metadata services are"
	case isMetadata(ip):
		why = "it is a metadata service"
	case ip.IsLoopback() && !namesLoopback(host):
		why = "it is this machine, and the grant does not say so: grant localhost or the address"
	case r.refuse != nil && r.refuse(netip.AddrPortFrom(ip, to.Port())):
		why = "it is this server itself"
	}
	if why != "" {
		return fmt.Errorf("%w %v of %s: %s", errRefusedAddress, ip, host, why)
	}
	return nil
}

// inner is the IPv4 address in an IPv6 one that is another way to write or to reach it (RFC 4291, 6052, 3056).
func inner(ip netip.Addr) netip.Addr {
	if !ip.Is6() || ip.IsLoopback() || ip.IsUnspecified() {
		return ip
	}
	b := ip.As16()
	for prefix, at := range map[string]int{"::/96": 12, "64:ff9b::/96": 12, "64:ff9b:1::/48": 12, "2002::/16": 2} {
		if netip.MustParsePrefix(prefix).Contains(ip) {
			return netip.AddrFrom4([4]byte(b[at : at+4]))
		}
	}
	return ip
}

func namesLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.Unmap().IsLoopback())
}
