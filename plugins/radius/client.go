package main

import (
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"

	"github.com/sallyport-ftps/sallyport/sdk"
)

const (
	messageAuthenticator = 80   // RFC 2869, section 5.14
	headerSize           = 20   // code, identifier, length, authenticator
	maxPacket            = 4096 // RFC 2865, section 3
	virtual              = 5    // NAS-Port-Type
)

// client sends requests to one server.
type client struct {
	conn    net.Conn
	secret  []byte
	timeout time.Duration // for one answer
	tries   int
}

// request is an Access-Request. Its Message-Authenticator comes first, so that no prefix that somebody
// chose stands before it.
func (c client) request(a sdk.Attempt, identifier, password string, state radius.Attribute) (*radius.Packet, error) {
	p := radius.New(radius.CodeAccessRequest, c.secret)
	p.Add(messageAuthenticator, make([]byte, md5.Size))
	p.Add(rfc2865.NASPortType_Type, radius.NewInteger(virtual))
	errs := []error{
		rfc2865.UserName_SetString(p, a.User()),
		rfc2865.UserPassword_SetString(p, password),
		rfc2865.NASIdentifier_SetString(p, identifier),
	}
	if ip := a.ClientIP(); ip != "" {
		errs = append(errs, rfc2865.CallingStationID_SetString(p, ip))
	}
	if state != nil {
		p.Add(rfc2865.State_Type, state)
	}
	return p, errors.Join(errs...)
}

// exchange sends the packet until an answer comes that is the server's. Others are dropped silently, as
// RFC 2865, section 3 wants it.
func (c client) exchange(p *radius.Packet, err error) (*radius.Packet, error) {
	if err != nil {
		return nil, err
	}
	wire, err := p.Encode()
	if err != nil {
		return nil, err
	}
	copy(wire[headerSize+2:], c.sign(wire)) // its place is the first attribute
	for range c.tries {
		if _, err := c.conn.Write(wire); err != nil {
			return nil, err
		}
		answer, err := c.receive(wire)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return answer, err
		}
	}
	return nil, errNoAnswer
}

// receive waits for the answer to a request.
func (c client) receive(request []byte) (*radius.Packet, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return nil, err
	}
	buffer := make([]byte, maxPacket)
	for {
		n, err := c.conn.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
		if err != nil { // what an ICMP message came to
			return nil, fmt.Errorf("nothing listens there, or the machine can't be reached: %w", err)
		}
		if answer, ok := c.check(buffer[:n], request); ok {
			return answer, nil
		}
	}
}

// check takes an answer only if it is to our request, and the secret was used for all of it.
func (c client) check(wire, request []byte) (*radius.Packet, bool) {
	answer, err := radius.Parse(wire, c.secret)
	if err != nil || wire[1] != request[1] {
		return nil, false
	}
	wire = wire[:int(wire[2])<<8|int(wire[3])] // what is behind is padding
	switch answer.Code {
	case radius.CodeAccessAccept, radius.CodeAccessReject, radius.CodeAccessChallenge:
	default:
		return nil, false
	}
	return answer, radius.IsAuthenticResponse(wire, request, c.secret) && c.signed(wire, request)
}

// signed reports whether there is exactly one Message-Authenticator, and it is right.
func (c client) signed(wire, request []byte) bool {
	unsigned := append([]byte(nil), wire...)
	copy(unsigned[4:headerSize], request[4:headerSize])
	var got []byte
	for at := headerSize; at+2 <= len(wire); at += int(wire[at+1]) {
		size := int(wire[at+1])
		if size < 2 || at+size > len(wire) {
			return false
		}
		if wire[at] != messageAuthenticator {
			continue
		}
		if got != nil || size != 2+md5.Size {
			return false
		}
		got = wire[at+2 : at+size]
		clear(unsigned[at+2 : at+size])
	}
	return got != nil && hmac.Equal(got, c.sign(unsigned))
}

func (c client) sign(wire []byte) []byte {
	mac := hmac.New(md5.New, c.secret)
	mac.Write(wire)
	return mac.Sum(nil)
}
