// The method "ldap" asks a directory: it searches the user's entry with a service account, or makes the
// entry's name of a template, and binds as the user. It uses an unmodified client library on a connection
// that the host makes, with TLS in the host.
package main

import (
	"errors"
	"strings"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// maxMessage bounds one message of a server, in bytes: what it sends must fit into the plugin's memory.
const maxMessage = 1 << 20

func init() {
	ber.MaxPacketLengthBytes = maxMessage
	sdk.Register(method{})
}

func main() {}

type method struct{}

var (
	_ sdk.Method    = method{}
	_ sdk.Describer = method{}

	_ sdk.SettingsChecker = method{}
)

// Describe implements sdk.Describer.
func (method) Describe() sdk.Description {
	return sdk.Description{
		Name: "ldap", Version: "1",
		Settings: []sdk.Setting{
			{Name: "servers", Type: sdk.List, Required: true, Help: `asked in order until one answers, such as ["ldaps://ldap.example.org"]`},
			{Name: "start_tls", Type: sdk.Bool, Help: "begin TLS on connections to ldap://"},
			{Name: "plain", Type: sdk.Bool, Help: "allow ldap:// without TLS: everybody on the way reads the passwords"},
			{Name: "base_dn", Type: sdk.String, Help: `where users are searched, such as "dc=example,dc=org"`},
			{Name: "user_filter", Type: sdk.String, Help: `how they are found; if not set "(uid={username})"`},
			{Name: "bind_dn", Type: sdk.String, Help: "the service account that searches; not set: anybody may search, or bind_dn_template is set"},
			{Name: "bind_password", Type: sdk.String, Secret: true, Help: "of the service account"},
			{Name: "bind_dn_template", Type: sdk.String, Help: `the user's name at the directory, in place of a search: "uid={username},ou=people,dc=example,dc=org" or "{username}@corp.example.org"`},
			{Name: "allowed_groups", Type: sdk.List, Help: "groups of the directory, by name or DN, of which the user must be in one"},
			{Name: "group_attribute", Type: sdk.String, Help: `the user's attribute that lists groups; if not set "memberOf"`},
			{Name: "group_base_dn", Type: sdk.String, Help: "where groups are searched that name their members; not set: nowhere"},
			{Name: "group_filter", Type: sdk.String, Help: `how they are found; if not set "(|(member={dn})(uniqueMember={dn})(memberUid={username}))"`},
			{Name: "group_map", Type: sdk.List, Help: `from groups of the directory to ours, such as ["cn=sales,ou=groups,dc=example,dc=org => uk-sales", "* => default"]`},
			{Name: "home_attribute", Type: sdk.String, Help: "the user's attribute that holds the home folder"},
			{Name: "home_template", Type: sdk.String, Help: `what is made of it; if not set "{home}"`},
			{Name: "email_attribute", Type: sdk.String, Help: `if not set "mail"`},
			{Name: "attributes", Type: sdk.Map, Help: `more attributes, by the name that they get here, such as { secsign_id = "secSignId" }`},
			{Name: "timeout", Type: sdk.String, Help: `for one answer of a server; if not set "5s"`},
		},
		Needs: sdk.Needs{Password: true, Groups: true, Network: []string{"settings.servers"}},
	}
}

type settings struct {
	Servers        []string      `setting:"servers"`
	StartTLS       bool          `setting:"start_tls"`
	Plain          bool          `setting:"plain"`
	BaseDN         string        `setting:"base_dn"`
	UserFilter     string        `setting:"user_filter"`
	BindDN         string        `setting:"bind_dn"`
	BindPassword   string        `setting:"bind_password"`
	Template       string        `setting:"bind_dn_template"`
	AllowedGroups  []string      `setting:"allowed_groups"`
	GroupAttribute string        `setting:"group_attribute"`
	GroupBaseDN    string        `setting:"group_base_dn"`
	GroupFilter    string        `setting:"group_filter"`
	GroupMap       []string      `setting:"group_map"`
	HomeAttribute  string        `setting:"home_attribute"`
	HomeTemplate   string        `setting:"home_template"`
	EmailAttribute string        `setting:"email_attribute"`
	Timeout        time.Duration `setting:"timeout"`

	attributes map[string]string
	groups     sdk.GroupMap
}

func readSettings(a sdk.Attempt) (s settings, err error) {
	s = settings{
		UserFilter: "(uid={username})", GroupAttribute: "memberOf", GroupFilter: "(|(member={dn})(uniqueMember={dn})(memberUid={username}))",
		HomeTemplate: "{home}", EmailAttribute: "mail", Timeout: 5 * time.Second,
	}
	if err := a.Settings(&s); err != nil {
		return s, err
	}
	s.attributes = a.SettingMap("attributes")
	if s.groups, err = sdk.ParseGroupMap(s.GroupMap); err != nil {
		return s, errors.New("setting group_map: " + err.Error())
	}
	switch {
	case len(s.Servers) == 0:
		return s, errors.New("setting servers is empty")
	case s.BaseDN == "" && s.Template == "":
		return s, errors.New("one of the settings base_dn and bind_dn_template is needed")
	case (s.BindDN == "") != (s.BindPassword == ""):
		return s, errors.New("the settings bind_dn and bind_password belong together")
	case !strings.Contains(s.UserFilter+s.Template, "{username}") || (s.Template != "" && !strings.Contains(s.Template, "{username}")):
		return s, errors.New("the settings user_filter and bind_dn_template need {username}: else everybody would be the same user")
	}
	for _, server := range s.Servers {
		if !s.StartTLS && !s.Plain && !encrypted(server) {
			return s, errors.New(server + " is not encrypted: use ldaps://, start_tls = true, or say plain = true")
		}
	}
	return s, nil
}

func encrypted(server string) bool {
	return strings.HasPrefix(server, "ldaps://") || strings.HasPrefix(server, "tls://")
}

// CheckSettings implements sdk.SettingsChecker.
func (method) CheckSettings(a sdk.Attempt) error {
	_, err := readSettings(a)
	return err
}

// Authenticate implements sdk.Method. A server that can't be asked is followed by the next one; what a server
// says of the user is the answer.
func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	s, err := readSettings(a)
	if err != nil {
		return a.Fail(err.Error())
	}
	password, err := a.Password()
	if err != nil {
		return a.Fail("password: " + err.Error())
	}
	if password == "" || a.User() == "" || strings.ContainsRune(a.User(), 0) { // a bind without a password always succeeds (RFC 4513, section 5.1.2)
		return a.Reject("wrong_password")
	}
	for _, server := range s.Servers {
		verdict, err := ask(a, s, server, password)
		if err == nil {
			return verdict
		}
		a.Log(sdk.Warn, server+": "+err.Error())
		if !unreachable(err) {
			break
		}
	}
	return a.Fail("no server could answer")
}

// unreachable reports whether another server may do better: this one did not answer, or says that it can't.
func unreachable(err error) bool {
	var answer *ldap.Error
	if !errors.As(err, &answer) {
		return true
	}
	switch answer.ResultCode {
	case ldap.LDAPResultBusy, ldap.LDAPResultUnavailable, ldap.ErrorNetwork, ldap.LDAPResultTimeout, ldap.LDAPResultServerDown:
		return true
	}
	return false
}

// rejection is what a bind that was not accepted means; empty: nothing of the user.
func rejection(answer *ldap.Error, controls []ldap.Control) (reason string, unknown bool) {
	for _, control := range controls {
		if policy, ok := control.(*ldap.ControlBeheraPasswordPolicy); ok {
			switch policy.Error { // draft-behera-ldap-password-policy-10, section 6.2
			case 0:
				return "password_expired", false
			case 1:
				return "account_locked", false
			case 2:
				return "password_must_change", false
			}
		}
	}
	switch answer.ResultCode {
	case ldap.LDAPResultInvalidCredentials:
		return activeDirectory(answer.Err.Error())
	case ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax:
		return "", true
	case ldap.LDAPResultInappropriateAuthentication: // an entry without a password
		return "wrong_password", false
	}
	return "", false
}

// activeDirectory reads the code that it puts behind "data" (MS-ADTS, and Windows' error codes in hexadecimal).
func activeDirectory(text string) (reason string, unknown bool) {
	_, rest, _ := strings.Cut(text, " data ")
	code, _, _ := strings.Cut(rest, ",")
	switch strings.TrimSpace(code) {
	case "525":
		return "", true
	case "530":
		return "not_at_this_time", false
	case "531":
		return "source_not_allowed", false
	case "532":
		return "password_expired", false
	case "533":
		return "account_disabled", false
	case "701":
		return "account_expired", false
	case "773":
		return "password_must_change", false
	case "775":
		return "account_locked", false
	}
	return "wrong_password", false
}
