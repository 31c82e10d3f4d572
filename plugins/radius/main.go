// The method "radius" asks a RADIUS server (RFC 2865) with PAP. The answer must carry a right
// Message-Authenticator: without it whoever is on the way can turn a Reject into an Accept (CVE-2024-3596,
// "BlastRADIUS").
package main

import (
	"errors"
	"strings"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"

	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdknet"
)

func init() { sdk.Register(method{}) }

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
		Name: "radius", Version: "1",
		Settings: []sdk.Setting{
			{Name: "server", Type: sdk.String, Required: true, Help: `such as "udp://radius.example.org:1812"`},
			{Name: "secret", Type: sdk.String, Required: true, Secret: true, Help: "that is shared with the server"},
			{Name: "nas_identifier", Type: sdk.String, Help: `how the server knows us; if not set "sallyport"`},
			{Name: "timeout", Type: sdk.String, Help: `for one answer; if not set "3s"`},
			{Name: "tries", Type: sdk.Number, Help: "how often a request is sent before nobody answers; if not set 3"},
			{Name: "code_digits", Type: sdk.Number, Help: "users append a code of so many digits to the password; it answers the server's challenge"},
			{Name: "group_map", Type: sdk.List, Help: `from Class and Filter-Id to our groups, such as ["sales => uk-sales", "* => default"]`},
		},
		Needs: sdk.Needs{Password: true, Groups: true, Network: []string{"settings.server"}},
	}
}

type settings struct {
	Server     string        `setting:"server"`
	Secret     string        `setting:"secret"`
	Identifier string        `setting:"nas_identifier"`
	Timeout    time.Duration `setting:"timeout"`
	Tries      int           `setting:"tries"`
	CodeDigits int           `setting:"code_digits"`
	Groups     []string      `setting:"group_map"`
}

// maxPassword is what User-Password can hold (RFC 2865, section 5.2).
const maxPassword = 128

// CheckSettings implements sdk.SettingsChecker.
func (method) CheckSettings(a sdk.Attempt) error {
	_, _, err := readSettings(a)
	return err
}

func readSettings(a sdk.Attempt) (s settings, groups sdk.GroupMap, err error) {
	s = settings{Identifier: "sallyport", Timeout: 3 * time.Second, Tries: 3}
	if err := a.Settings(&s); err != nil {
		return s, nil, err
	}
	if s.Timeout <= 0 || s.Tries < 1 || s.CodeDigits < 0 {
		return s, nil, errors.New("timeout and tries must be more than nothing, and code_digits not less")
	}
	if groups, err = sdk.ParseGroupMap(s.Groups); err != nil {
		return s, nil, errors.New("setting group_map: " + err.Error())
	}
	return s, groups, nil
}

// Authenticate implements sdk.Method.
func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	s, groups, err := readSettings(a)
	if err != nil {
		return a.Fail(err.Error())
	}
	typed, err := a.Password()
	if err != nil {
		return a.Fail("password: " + err.Error())
	}
	password, code := typed, a.Code()
	if code == "" {
		password, code = split(typed, s.CodeDigits)
	}
	if password == "" || len(password) > maxPassword || strings.ContainsRune(password, 0) { // the padding is of zeros
		return a.Reject("wrong_password")
	}
	conn, err := sdknet.Dial(a, s.Server)
	if err != nil {
		return a.Fail(err.Error())
	}
	defer func() { _ = conn.Close() }()
	c := client{conn: conn, secret: []byte(s.Secret), timeout: s.Timeout, tries: s.Tries}

	answer, err := c.exchange(c.request(a, s.Identifier, password, nil))
	if err == nil {
		a.Log(sdk.Debug, "the server answers "+answer.Code.String())
	}
	challenged := err == nil && answer.Code == radius.CodeAccessChallenge
	if challenged {
		if code == "" {
			a.Log(sdk.Info, "the server asks for a code, and the user appended none: "+rfc2865.ReplyMessage_GetString(answer))
			return a.Reject("wrong_code")
		}
		answer, err = c.exchange(c.request(a, s.Identifier, code, answer.Get(rfc2865.State_Type)))
	}
	switch {
	case err != nil:
		return a.Fail(s.Server + ": " + err.Error())
	case answer.Code == radius.CodeAccessReject && challenged, answer.Code == radius.CodeAccessChallenge:
		return a.Reject("wrong_code") // a second challenge: nobody can answer it
	case answer.Code == radius.CodeAccessReject:
		return a.Reject("wrong_password") // RADIUS does not tell whether it knows the user
	case code != "" && a.Code() == "" && !challenged:
		return a.Reject("wrong_password") // nobody has looked at the digits
	}
	account := sdk.Account{Groups: groups.Groups(attributes(answer, rfc2865.Class_Type, rfc2865.FilterID_Type))}
	if err := a.SetAccount(account); err != nil {
		return a.Fail(err.Error())
	}
	return sdk.Accept
}

// split takes the code off the end of what the user typed.
func split(typed string, digits int) (password, code string) {
	at := len(typed) - digits
	if digits <= 0 || at <= 0 || strings.Trim(typed[at:], "0123456789") != "" {
		return typed, ""
	}
	return typed[:at], typed[at:]
}

func attributes(p *radius.Packet, types ...radius.Type) (values []string) {
	for _, avp := range p.Attributes {
		for _, t := range types {
			if avp.Type == t {
				values = append(values, string(avp.Attribute))
			}
		}
	}
	return values
}

var errNoAnswer = errors.New("no answer that is the server's: is the shared secret right, and does it know our address?")
