package sdk

import (
	"errors"
	"strconv"
	"strings"
)

// Method decides login attempts. It is called once for each attempt, in a fresh memory:
// nothing that it keeps in a variable is there the next time.
type Method interface {
	Authenticate(a Attempt) Verdict
}

// Describer is implemented by a Method that tells which settings it has. The host then refuses
// a configuration with others. Without it, any settings are passed on.
type Describer interface {
	Describe() Description
}

// SettingsChecker is implemented by a Method that can tell whether its settings are right, beyond their types. The
// host asks it before the method is used, so that nobody learns it at the first login. It may read settings, and whether
// the password is granted; everything else is not granted.
type SettingsChecker interface {
	CheckSettings(a Attempt) error
}

// Description is what a plugin says of itself.
type Description struct {
	Name     string
	Version  string
	Settings []Setting
	Needs    Needs
}

// Needs are the grants without which the plugin can't do its work: the host does not start without
// them, and says what to add. A URL may be settings.NAME: then those in that setting are meant.
type Needs struct {
	Password bool     // to see the password
	Code     bool     // to check one-time codes: the host splits them off the password
	Groups   bool     // to put users, who have no account here, into a group
	HTTP     []string // URLs for HTTP
	Network  []string // URLs for dial
	// PasswordTo are URLs that the password is sent to by reference; Secrets are names of secrets.
	PasswordTo, Secrets []string
}

// Setting is one name that may stand in settings = { ... }.
type Setting struct {
	Name     string
	Type     SettingType
	Required bool
	Secret   bool   // masked in the plugin's log lines and crash messages
	Help     string // one line for who configures it
}

// SettingType is the kind of value that a setting takes.
type SettingType string

// The types.
const (
	String SettingType = "string"
	Number SettingType = "number"
	Bool   SettingType = "bool"
	List   SettingType = "list" // of strings
	Map    SettingType = "map"  // of strings
)

// Errors of the host's functions, one for each code in ABI.md.
var (
	ErrAbsent     = errors.New("no such field")
	ErrNotGranted = errors.New("not granted")
	ErrBadPointer = errors.New("bad pointer")
	ErrOverLimit  = errors.New("over a limit")
	ErrUnknownKey = errors.New("unknown key")
	ErrFailed     = errors.New("the host could not do it, and its log says why")
	ErrBadState   = errors.New("not possible now")
	// ErrGivenUp says that nobody waits for the verdict any more: clean up, with at most two
	// requests, and return.
	ErrGivenUp = errors.New("the attempt was given up")
)

// CodeError returns the error that a negative code stands for, or nil.
func CodeError(code int32) error {
	switch {
	case code >= 0:
		return nil
	case code == CodeAbsent:
		return ErrAbsent
	case code == CodeNotGranted:
		return ErrNotGranted
	case code == CodeBadPointer:
		return ErrBadPointer
	case code == CodeOverLimit:
		return ErrOverLimit
	case code == CodeUnknownKey:
		return ErrUnknownKey
	case code == CodeBadState:
		return ErrBadState
	case code == CodeGivenUp:
		return ErrGivenUp
	}
	return ErrFailed
}

// Host is the host's side of the contract. A plugin uses [Attempt], which wraps it.
type Host interface {
	Get(key string) (string, error)
	Set(key, value string) error
	Log(level Level, message string)
	Verify(what string) (int32, error)
	// HTTP sends what was set as http.request.* and returns the status.
	HTTP() (int32, error)
	Sleep(milliseconds uint32) error
	Ask() (int32, error)
	// Dial returns a file descriptor; package sdknet makes a net.Conn of it.
	Dial(address string) (int32, error)
	StartTLS(descriptor int32, server string) error
}

// Attempt is one login try.
type Attempt struct{ host Host }

// NewAttempt wraps a host; tests use it with a fake one (see sdktest).
func NewAttempt(host Host) Attempt { return Attempt{host} }

// Host is what the attempt stands on, for packages that build on this one.
func (a Attempt) Host() Host { return a.host }

// User is the canonical user name (RFC 8265, UsernameCaseMapped).
func (a Attempt) User() string { return a.text("user") }

// Typed is the user name as the client sent it.
func (a Attempt) Typed() string { return a.text("user.typed") }

// Service is the name of the service that the client is connected to.
func (a Attempt) Service() string { return a.text("service") }

// Server is the name of the server.
func (a Attempt) Server() string { return a.text("server") }

// ID names the login try; the events of the login hold it too.
func (a Attempt) ID() string { return a.text("login") }

// ClientIP is the client's address, empty if an administrator tries the login by command.
func (a Attempt) ClientIP() string { return a.text("client.ip") }

// Code is the one-time code that was split off the password, if the method's factors include one.
func (a Attempt) Code() string { return a.text("code") }

// Certificate is that of a client, which it has the key of: issued by who the service trusts, not expired, not revoked.
type Certificate struct {
	Subject, Issuer string   // as RFC 2253 writes names
	Serial, SHA256  string   // hexadecimal; of the whole certificate
	Names           []string // such as "cn:alice", "email:alice@example.org", "dns:..." and "uri:..."
}

// Certificate is what the client showed; false: none.
func (a Attempt) Certificate() (Certificate, bool) {
	names, err := a.host.Get("certificate.names")
	if err != nil {
		return Certificate{}, false
	}
	c := Certificate{Subject: a.text("certificate.subject"), Issuer: a.text("certificate.issuer"), Serial: a.text("certificate.serial"), SHA256: a.text("certificate.sha256")}
	if names != "" {
		c.Names = strings.Split(names, "\n")
	}
	return c, true
}

// Password is what the client sent. Without "password = true" in the method's grant it is ErrNotGranted.
func (a Attempt) Password() (string, error) { return a.host.Get("password") }

// Setting is one setting as text: a string, or a number or bool as written. Empty if it is not set.
func (a Attempt) Setting(name string) string { return a.text("settings." + name) }

// SettingList is a list of strings. The host looks elements up one by one, so a long list costs
// only what is read of it.
func (a Attempt) SettingList(name string) []string {
	var list []string
	for i := 0; ; i++ {
		value, err := a.host.Get("settings:/" + name + "/" + strconv.Itoa(i))
		if errors.Is(err, ErrAbsent) {
			return list
		}
		mustRead(name, err)
		list = append(list, value)
	}
}

// SettingEntry is one entry of a map of strings.
func (a Attempt) SettingEntry(name, key string) (string, bool) {
	value, err := a.host.Get("settings:/" + name + "/" + escapePointer(key))
	return value, err == nil
}

// SettingMap is a whole map of strings.
func (a Attempt) SettingMap(name string) map[string]string {
	entries := map[string]string{}
	text, err := a.host.Get("settings." + name)
	if !errors.Is(err, ErrAbsent) {
		mustRead(name, err)
	}
	rest := strings.TrimPrefix(text, "{") // JSON as the host writes it
	for {
		rest = strings.TrimLeft(rest, ",:")
		key, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return entries
		}
		rest = strings.TrimLeft(rest[len(key):], ":")
		value, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return entries
		}
		rest = rest[len(value):]
		name, _ := strconv.Unquote(key)
		entries[name], _ = strconv.Unquote(value)
	}
}

// mustRead ends the plugin, and so refuses the login: a list of which a part is missing must not be taken for the whole.
func mustRead(setting string, err error) {
	if err != nil {
		panic("settings." + setting + ": " + err.Error())
	}
}

// Get returns any field of the table in ABI.md.
func (a Attempt) Get(key string) (string, error) { return a.host.Get(key) }

// Set sets a field that the table in ABI.md lets a plugin set.
func (a Attempt) Set(key, value string) error { return a.host.Set(key, value) }

// Log writes one line to the host's log. The password is masked there.
func (a Attempt) Log(level Level, message string) { a.host.Log(level, message) }

// Check is the host's answer to VerifyPassword.
type Check struct {
	Enrolled bool   // the host has an account of this name
	Right    bool   // and this is its password
	Reason   string // why not
}

// VerifyPassword asks the host whether the attempt's password is that of its own account of this
// name. The plugin never sees the password. Only after it was right can the account's fields be read.
func (a Attempt) VerifyPassword() (Check, error) {
	code, err := a.host.Verify("password")
	if err != nil {
		return Check{}, err
	}
	return Check{Enrolled: code != VerifyNotEnrolled, Right: code == VerifyRight, Reason: a.text("verify.reason")}, nil
}

// VerifyCode asks the host whether the code that was split off the password is one of the user's one-time codes, and
// uses it up. Not enrolled: the user has none.
func (a Attempt) VerifyCode() (Check, error) {
	code, err := a.host.Verify("code")
	if err != nil {
		return Check{}, err
	}
	return Check{Enrolled: code != VerifyNotEnrolled, Right: code == VerifyRight, Reason: a.text("verify.reason")}, nil
}

// Account is a field of the host's own account, such as "email" or "groups:/0"; empty before
// VerifyPassword said that the password is right.
func (a Attempt) Account(name string) string { return a.text("account." + name) }

// AccountGroups are the groups of the host's own account.
func (a Attempt) AccountGroups() []string {
	var groups []string
	for i := 0; ; i++ {
		group, err := a.host.Get("account.groups:/" + strconv.Itoa(i))
		if err != nil {
			return groups
		}
		groups = append(groups, group)
	}
}

// Reject sets a reason from the closed list in ABI.md and returns the verdict Reject.
func (a Attempt) Reject(reason string) Verdict {
	if err := a.host.Set("reason", reason); err != nil {
		a.host.Log(Warn, "reason "+reason+": "+err.Error())
	}
	return Reject
}

// Fail logs why the method can't decide and returns the verdict Fail.
func (a Attempt) Fail(message string) Verdict {
	a.host.Log(Error, message)
	return Fail
}

func (a Attempt) text(key string) string {
	value, err := a.host.Get(key)
	if err != nil {
		return ""
	}
	return value
}

// escapePointer escapes a key for a JSON pointer (RFC 6901, section 3).
func escapePointer(key string) string {
	var escaped []byte
	for i := range len(key) {
		switch key[i] {
		case '~':
			escaped = append(escaped, "~0"...)
		case '/':
			escaped = append(escaped, "~1"...)
		default:
			escaped = append(escaped, key[i])
		}
	}
	return string(escaped)
}
