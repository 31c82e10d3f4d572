// Package admin is the local administration API: HTTP with JSON on a unix socket that only the
// server's own user can open. The commands use it whether the server runs or not: [Handler] is
// the one code path, [Client] its other end.
package admin

import (
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

// NewAccount asks for an account.
type NewAccount struct {
	Name     string `json:"name"`
	Password string `json:"password,omitempty"` // none for an invitation
	account.Change
	Delivery
}

// Account is an account with what the running server knows of it.
type Account struct {
	account.Account
	// LockedUntil is set while too many wrong tries keep the account out.
	LockedUntil *time.Time `json:"locked_until,omitempty"`
	// GroupLimits hold where the account has none of its own.
	GroupLimits policy.Limits `json:"group_limits,omitzero"`
}

// NewPassword asks for another password.
type NewPassword struct {
	Password string `json:"password,omitempty"` // none for an invitation
	Delivery
	// MustChange lets the user do nothing before changing it.
	MustChange bool `json:"must_change,omitempty"`
}

// Accounts is one page of the list.
type Accounts struct {
	Accounts []account.Account `json:"accounts"`
	// Next is the name to continue after; empty at the end.
	Next string `json:"next,omitempty"`
}

// Login asks to try a login.
type Login struct {
	User     string `json:"user"`
	Password string `json:"password"`
	Service  string `json:"service,omitempty"` // empty: the first
	// Certificate is what the client would show, in PEM, its own first; empty: none.
	Certificate string `json:"certificate,omitempty"`
}

// LoginResult is what the login would come to, and why.
type LoginResult struct {
	Accepted    bool          `json:"accepted"`
	Reason      events.Reason `json:"reason,omitempty"`
	Detail      string        `json:"detail,omitempty"`
	Service     string        `json:"service"`
	User        string        `json:"user,omitempty"`
	Method      string        `json:"method,omitempty"`
	Groups      []string      `json:"groups,omitempty"`
	Account     string        `json:"account,omitempty"` // of the server, that the method lets its users in as
	Email       string        `json:"email,omitempty"`
	Home        string        `json:"home,omitempty"`
	Folders     []string      `json:"virtual_folders,omitempty"`
	Permissions []string      `json:"permissions,omitempty"`
	Steps       []Step        `json:"steps"`
	Took        Milliseconds  `json:"took_ms"`
}

// Step is what one method said.
type Step struct {
	Method  string        `json:"method"`
	Factor  bool          `json:"second_factor,omitempty"`
	Verdict string        `json:"verdict"`
	Reason  events.Reason `json:"reason,omitempty"`
	Detail  string        `json:"detail,omitempty"`
	Ignored []string      `json:"ignored,omitempty"` // fields that the plugin set and has no grant for
	Log     []string      `json:"log,omitempty"`     // what the plugin logged
	Took    Milliseconds  `json:"took_ms"`
}

// Milliseconds is a duration in JSON, with three digits after the point.
type Milliseconds float64

// InMilliseconds converts a duration.
func InMilliseconds(d time.Duration) Milliseconds {
	return Milliseconds(float64(d.Round(time.Microsecond)) / float64(time.Millisecond))
}

// Method is one authentication method.
type Method struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Plugin  string `json:"plugin"`
	State   string `json:"state"` // StateRunning and so on
	Version string `json:"version,omitempty"`
}

// The states of a method.
const (
	StateRunning  = "running"
	StateStopped  = "stopped"   // by a command, until the next start of the server
	StateUnused   = "not asked" // no service names it
	StateDisabled = "disabled"  // enabled = false in the configuration
	StateFailing  = "failing"   // its plugin crashed for several sources, and for nobody not
)

// Approval is a second factor that a person is asked for, or that is remembered.
type Approval struct {
	ID      string     `json:"id"`
	State   string     `json:"state"` // asking, requested, delivered or remembered
	User    string     `json:"user"`
	Method  string     `json:"method"` // the first factor
	Factor  string     `json:"factor"`
	Source  string     `json:"source,omitempty"`
	Since   time.Time  `json:"since"`
	Until   *time.Time `json:"until,omitempty"`   // remembered so long
	Session bool       `json:"session,omitempty"` // and as long as a session is open, which one is
	Waiting int        `json:"waiting,omitempty"` // logins
}

// Revoked says how many approvals and requests were taken back.
type Revoked struct {
	Count int `json:"count"`
}

// NewCodes asks for one-time codes for an account.
type NewCodes struct {
	Mail bool `json:"mail,omitempty"` // to its user
}

// Replay asks for what is stored since then.
type Replay struct {
	Since time.Time `json:"since"`
}

// Reloaded says what a reload came to.
type Reloaded struct {
	Services int      `json:"services"`
	Methods  int      `json:"methods"`
	Changed  []string `json:"changed"` // methods whose plugin is another one now, or that are new
}

// Server says which server answers.
type Server struct {
	Version string `json:"version"`
	Config  string `json:"config"` // absolute path of its configuration; empty: the built-in defaults
}

// Failure is the body of every answer that is no success.
type Failure struct {
	Error string `json:"error"`
}
