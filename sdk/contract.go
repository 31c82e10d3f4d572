// Package sdk is for writing an authentication method of Sallyport in Go, and holds the
// contract that such a plugin and the host share. ABI.md in this folder has the same
// contract in words, for authors in other languages.
//
// A plugin implements [Method], registers it in init, and has an empty main:
//
//	func init() { sdk.Register(method{}) }
//	func main() {}
//
//	type method struct{}
//
//	func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
//		if a.User() == "alice" {
//			return sdk.Accept
//		}
//		return sdk.Unknown
//	}
//
// Build it with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o mine.wasm .
//
// and name the file in config.hcl: authentication "mine" { plugin = "./mine.wasm" }.
// Package sdktest runs a Method in an ordinary go test.
package sdk

// Module is the WebAssembly module name of all imports of the contract.
const Module = "sallyport_1"

// The functions that a plugin exports. The marker is never called: it says which version
// of the contract the plugin was written for.
const (
	ExportMarker       = "sallyport_abi_1"
	ExportMarkerPrefix = "sallyport_abi_"
	ExportAuthenticate = "authenticate"
	ExportDescribe     = "describe"
	ExportInitialize   = "_initialize"
)

// Verdict is what a method says of an attempt. The zero value never lets anybody in.
type Verdict int32

// The verdicts. Any other number is Fail.
const (
	Fail    Verdict = 0 // could not decide; the login is refused at once
	Accept  Verdict = 1 // it is this user
	Reject  Verdict = 2 // it is not, and no other method is asked
	Unknown Verdict = 3 // no such user here; the next method is asked
)

// String names the verdict as the events do.
func (v Verdict) String() string {
	switch v {
	case Accept:
		return "accepted"
	case Reject:
		return "rejected"
	case Unknown:
		return "unknown"
	}
	return "failed"
}

// The negative answers of the host's functions.
const (
	CodeAbsent     = -1 // no such field
	CodeNotGranted = -2 // the administrator did not grant it
	CodeBadPointer = -3 // pointer or length outside of the memory
	CodeOverLimit  = -4 // too long, or too many
	CodeUnknownKey = -5 // no such key in this version
	CodeFailed     = -6 // the host could not do it; its log says why
	CodeBadState   = -7 // not now, such as verify during describe
	CodeGivenUp    = -9 // the attempt was given up: clean up and return
)

// The answers of verify that are no failure.
const (
	VerifyWrong       = 0
	VerifyRight       = 1
	VerifyNotEnrolled = 2
)

// The answers of ask that are no failure.
const (
	AskNo  = 0
	AskYes = 1
)

// ApprovalStates are what a plugin may set approval to, as the life of a request that a person answers.
func ApprovalStates() []string {
	return []string{"requested", "delivered", "approved", "denied", "expired", "suspended", "frozen"}
}

// Reasons are what a plugin may give with Reject; any other becomes "rejected".
func Reasons() []string {
	return []string{
		"wrong_password", "wrong_code", "account_disabled", "account_expired", "account_unused", "account_locked", "group_not_allowed", "password_expired", "password_must_change",
		"not_at_this_time", "source_not_allowed", "name_not_allowed", "approval_denied", "approval_expired", "approval_frozen", "approval_suspended", "certificate_not_theirs", "rejected",
	}
}

// The limits of fields, in bytes.
const (
	MaxKey    = 256
	MaxField  = 64 << 10
	MaxFields = 256 << 10 // all that one run sets
	MaxLog    = 1 << 10   // one line; the rest is cut
)

// Level is the urgency of a log line.
type Level int32

// The levels.
const (
	Debug Level = 0
	Info  Level = 1
	Warn  Level = 2
	Error Level = 3
)
