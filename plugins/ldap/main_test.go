package main

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/sallyport-ftps/sallyport/plugins/ldap/slapdtest"
	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdktest"
)

// The plugin's code as an ordinary program; host/sandbox runs the built one against the same directory.
func TestLDAP(t *testing.T) {
	server := slapdtest.Start(t)
	for name, c := range map[string]struct {
		user, password string
		want           sdk.Verdict
		reason         string
	}{
		"right":  {"alice", slapdtest.Password, sdk.Accept, ""},
		"wrong":  {"alice", "guess", sdk.Reject, "wrong_password"},
		"nobody": {"nobody", slapdtest.Password, sdk.Unknown, ""},
		"empty":  {"alice", "", sdk.Reject, "wrong_password"},
	} {
		t.Run(name, func(t *testing.T) {
			host := sdktest.Host{
				Fields: map[string]string{"user": c.user}, Password: c.password, SeesPassword: true,
				Settings: map[string]string{"base_dn": slapdtest.Base, "bind_dn": slapdtest.ServiceDN, "bind_password": slapdtest.ServicePassword},
				Lists:    map[string][]string{"servers": {server.Secured}},
				Dial: func(address string) (net.Conn, error) {
					return tls.Dial("tcp", strings.TrimPrefix(address, "ldaps://"), &tls.Config{RootCAs: server.Pool, ServerName: "localhost"})
				},
			}
			if got := host.Run(method{}); got != c.want || host.Result["reason"] != c.reason {
				t.Errorf("got %v %q: %q", got, host.Result["reason"], host.Logs)
			}
		})
	}
}

// A server that lies: its entry has no name, and a bind with none always succeeds.
func TestEntryWithoutName(t *testing.T) {
	host := sdktest.Host{
		Fields: map[string]string{"user": "alice"}, Password: "guess", SeesPassword: true,
		Settings: map[string]string{"base_dn": slapdtest.Base},
		Lists:    map[string][]string{"servers": {"ldaps://lying.example"}},
		Dial: func(string) (net.Conn, error) {
			here, there := net.Pipe()
			go lie(there)
			return here, nil
		},
	}
	if got := host.Run(method{}); got != sdk.Fail || !strings.Contains(strings.Join(host.Logs, " "), "no DN") {
		t.Errorf("got %v: %q", got, host.Logs)
	}
}

// lie finds an entry without a name for every search, and takes every bind.
func lie(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for {
		request, err := ber.ReadPacket(conn)
		if err != nil || len(request.Children) < 2 {
			return
		}
		id := request.Children[0].Value.(int64)
		if request.Children[1].Tag == ldap.ApplicationSearchRequest {
			_, _ = conn.Write(message(id, ldap.ApplicationSearchResultEntry, octets(""), ber.NewSequence("attributes")))
			_, _ = conn.Write(message(id, ldap.ApplicationSearchResultDone, success()...))
			continue
		}
		_, _ = conn.Write(message(id, ldap.ApplicationBindResponse, success()...))
	}
}

func octets(text string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, text, "")
}

func success() []*ber.Packet {
	return []*ber.Packet{ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, 0, ""), octets(""), octets("")}
}

func message(id int64, tag ber.Tag, children ...*ber.Packet) []byte {
	body := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	for _, child := range children {
		body.AppendChild(child)
	}
	whole := ber.NewSequence("")
	whole.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	whole.AppendChild(body)
	return whole.Bytes()
}

// What Active Directory and password policies say of a bind.
func TestRejection(t *testing.T) {
	directory := func(data string) *ldap.Error {
		return ldap.NewError(ldap.LDAPResultInvalidCredentials, &text{"80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data " + data + ", v3839"}).(*ldap.Error)
	}
	for data, want := range map[string]string{
		"52e": "wrong_password", "530": "not_at_this_time", "531": "source_not_allowed", "532": "password_expired", "533": "account_disabled",
		"701": "account_expired", "773": "password_must_change", "775": "account_locked", "57": "wrong_password",
	} {
		if got, unknown := rejection(directory(data), nil); got != want || unknown {
			t.Errorf("data %s: got %q, %v; want %q", data, got, unknown, want)
		}
	}
	if got, unknown := rejection(directory("525"), nil); got != "" || !unknown {
		t.Errorf("data 525: got %q, %v", got, unknown)
	}
	for code, want := range map[int8]string{0: "password_expired", 1: "account_locked", 2: "password_must_change", -1: "wrong_password"} {
		control := ldap.NewControlBeheraPasswordPolicy()
		control.Error = code
		if got, _ := rejection(directory("52e"), []ldap.Control{control}); got != want {
			t.Errorf("policy %d: got %q; want %q", code, got, want)
		}
	}
	for _, code := range []uint16{ldap.LDAPResultReferral, ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultOperationsError, ldap.LDAPResultConfidentialityRequired} {
		if got, unknown := rejection(ldap.NewError(code, &text{""}).(*ldap.Error), nil); got != "" || unknown {
			t.Errorf("code %d says %q, %v of the user; it says nothing", code, got, unknown)
		}
	}
}

type text struct{ string }

func (t *text) Error() string { return t.string }
