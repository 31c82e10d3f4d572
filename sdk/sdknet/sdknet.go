// Package sdknet gives a plugin connections: for protocols such as LDAP, of which an unmodified
// client library works on what [Dial] returns. It is a package of its own because net makes a
// plugin larger. From the first Dial to the verdict the host keeps the plugin's instance, and
// can't suspend it.
package sdknet

import (
	"fmt"
	"net"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// Conn is a connection that the host made. TLS, names and the list of what is granted are the host's.
type Conn struct {
	net.Conn
	host       sdk.Host
	descriptor int32
}

// Dial connects to an address such as "tls://ldap.example.org:636", "tcp://ldap.example.org:389" or
// "udp://radius.example.org:1812", which the administrator must have granted.
func Dial(a sdk.Attempt, address string) (*Conn, error) {
	if fake, ok := a.Host().(interface {
		DialConn(address string) (net.Conn, error)
	}); ok { // a test
		conn, err := fake.DialConn(address)
		if err != nil {
			return nil, err
		}
		return &Conn{Conn: conn, host: a.Host()}, nil
	}
	descriptor, err := a.Host().Dial(address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err) // the host's log names the address
	}
	conn, err := open(descriptor, address)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: conn, host: a.Host(), descriptor: descriptor}, nil
}

// StartTLS puts TLS on the connection, when both sides have agreed on it. The certificate must be of
// server; empty: of the host that was dialled.
func (c *Conn) StartTLS(server string) error { return c.host.StartTLS(c.descriptor, server) }
