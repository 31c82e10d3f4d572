// Package endpoint names what a method may reach over the network: a scheme, a host and a port.
// The configuration parses grants with it, the sandbox what a plugin asks for.
package endpoint

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Endpoint is a place on the network. Host is lower case, without brackets and without a final dot.
type Endpoint struct {
	Scheme string
	Host   string
	Port   uint16
	Path   string // of http and https; empty or "/" covers all
}

// HTTP are the schemes of HTTP.
func HTTP() []string { return []string{"https", "http"} }

// Sockets are the schemes of sockets; ldaps is tls and ldap is tcp.
func Sockets() []string { return []string{"tls", "tcp", "udp", "ldaps", "ldap"} }

// defaultPort is 0 for a scheme that has none.
func defaultPort(scheme string) uint16 {
	switch scheme {
	case "https":
		return 443
	case "http":
		return 80
	case "ldaps":
		return 636
	case "ldap":
		return 389
	}
	return 0
}

// Parse reads a URL with one of the schemes. A port may be left out where the scheme has one;
// user names, queries and fragments are refused, since what they would mean is not clear.
func Parse(text string, schemes []string) (Endpoint, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Endpoint{}, errors.New("it is not a URL")
	}
	return From(u, schemes)
}

// From is Parse for a URL that is parsed already.
func From(u *url.URL, schemes []string) (Endpoint, error) {
	e := Endpoint{Scheme: strings.ToLower(u.Scheme), Host: strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), Path: u.EscapedPath()}
	switch {
	case strings.ContainsFunc(u.Host, func(r rune) bool { return r > unicode.MaxASCII }): // before it is lower case, which makes ASCII of some
		return e, errors.New("its host must be ASCII: write an international name as xn--")
	case !slices.Contains(schemes, e.Scheme):
		return e, fmt.Errorf("its scheme must be one of %q", schemes)
	case u.User != nil:
		return e, errors.New("a user name in it is not allowed")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return e, errors.New("a query or fragment in it is not allowed")
	case u.Opaque != "" || e.Host == "" || !plainHost(e.Host):
		return e, errors.New("it needs a host: a name of letters, digits, dots and hyphens, or an address")
	case slices.Contains(Sockets(), e.Scheme) && strings.Trim(e.Path, "/") != "":
		return e, errors.New("a path in it is not allowed")
	}
	port := u.Port()
	if port == "" {
		e.Port = defaultPort(e.Scheme)
	} else if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		e.Port = uint16(n)
	}
	if e.Port == 0 {
		return e, errors.New("it needs a port from 1 to 65535")
	}
	return e, nil
}

// plainHost keeps out what resolvers read in several ways: addresses in octal, hexadecimal or as
// one number, zones, and names beyond ASCII.
func plainHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return !strings.Contains(host, "%")
	}
	labels := strings.Split(host, ".")
	last := labels[len(labels)-1]
	if strings.HasPrefix(last, "0x") || strings.Trim(last, "0123456789") == "" {
		return false // it would be an address, and is not written as one
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// Transport is "tcp", "tls" or "udp".
func (e Endpoint) Transport() string {
	switch e.Scheme {
	case "https", "ldaps":
		return "tls"
	case "http", "ldap":
		return "tcp"
	}
	return e.Scheme
}

// Covers reports whether a grant for e allows other: the same kind of connection to the same place,
// and a path at or below its own.
func (e Endpoint) Covers(other Endpoint) bool {
	return slices.Contains(HTTP(), e.Scheme) == slices.Contains(HTTP(), other.Scheme) &&
		e.Transport() == other.Transport() && e.Host == other.Host && e.Port == other.Port && pathCovers(e.Path, other.Path)
}

func pathCovers(granted, asked string) bool {
	granted = strings.TrimSuffix(granted, "/")
	if granted == "" {
		return true
	}
	if strings.Contains(asked, "/.") || strings.Contains(asked, "//") || strings.ContainsAny(asked, "\\%") {
		return false // a server may read it as another place
	}
	return asked == granted || strings.HasPrefix(asked, granted+"/")
}

// Address is what a dialer takes: host:port.
func (e Endpoint) Address() string { return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))) }

// String is the endpoint as a grant would write it.
func (e Endpoint) String() string { return e.Scheme + "://" + e.Address() + e.Path }
