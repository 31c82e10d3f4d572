// Ldap-bind asks a directory with an unmodified client library: it binds as the user, over a connection
// that the host makes, with TLS in the host. It shows how sockets are used; it is not a complete method.
package main

import (
	"errors"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdknet"
)

func init() { sdk.Register(method{}) }

func main() {}

type method struct{}

// Describe tells which settings there are, and what must be granted.
func (method) Describe() sdk.Description {
	return sdk.Description{
		Name: "ldap-bind", Version: "1.0",
		Settings: []sdk.Setting{
			{Name: "server", Type: sdk.String, Required: true, Help: `such as "ldaps://ldap.example.org:636"`},
			{Name: "bind_dn", Type: sdk.String, Required: true, Help: `such as "uid={username},ou=people,dc=example,dc=org"`},
			{Name: "start_tls", Type: sdk.Bool, Help: "with ldap://"},
		},
		Needs: sdk.Needs{Password: true, Groups: true, Network: []string{"settings.server"}},
	}
}

// Authenticate binds as the user.
func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	password, err := a.Password()
	if err != nil || password == "" { // a bind without a password always succeeds (RFC 4513, section 5.1.2)
		return a.Reject("wrong_password")
	}
	conn, err := sdknet.Dial(a, a.Setting("server"))
	if err != nil {
		return a.Fail(err.Error())
	}
	if a.Setting("start_tls") == "true" {
		if err := startTLS(conn); err != nil {
			return a.Fail("start_tls: " + err.Error())
		}
	}
	client := ldap.NewConn(conn, false)
	client.Start()
	defer func() { _ = client.Close() }()

	dn := strings.ReplaceAll(a.Setting("bind_dn"), "{username}", ldap.EscapeDN(a.User()))
	err = client.Bind(dn, password)
	var answer *ldap.Error
	switch {
	case err == nil:
		return sdk.Accept
	case errors.As(err, &answer) && answer.ResultCode == ldap.LDAPResultInvalidCredentials:
		return a.Reject("wrong_password")
	}
	return a.Fail("bind: " + err.Error())
}

// startTLS sends the extended request (RFC 4511, section 4.14) before the library has the connection,
// and reads its answer to the last byte and no further.
func startTLS(conn *sdknet.Conn) error {
	request := append([]byte{0x30, 0x1d, 0x02, 0x01, 0x01, 0x77, 0x18, 0x80, 0x16}, "1.3.6.1.4.1.1466.20037"...)
	if _, err := conn.Write(request); err != nil {
		return err
	}
	var answer [14]byte // a message of success without a text
	for n := 0; n < len(answer); {
		got, err := conn.Read(answer[n:])
		if err != nil {
			return err
		}
		n += got
	}
	if answer[9] != ldap.LDAPResultSuccess {
		return errors.New("the server refuses it")
	}
	return conn.StartTLS("")
}
