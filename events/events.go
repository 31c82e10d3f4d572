// Package events says what happened, as others see it: the types, their subjects
// and their fields. It imports the standard library only, so that a program that
// subscribes needs nothing else of Sallyport.
//
// On the wire an event is a NATS message: the CloudEvents 1.0 attributes are headers
// (binary mode), the body is the JSON of one of the payload types below, and the
// subject is the type itself. Start at [Event]; [Decode] turns a message into one.
package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Type names what happened. It is the NATS subject too, and never holds user input.
type Type string

// Root is the first part of every type; subscribe to Root + ".>" for all events.
const Root = "sallyport.v1"

// The types of this version.
const (
	LoginAcceptedType      Type = Root + ".login.accepted"            // a user got in; it is on disk before the client hears of it
	LoginRefusedType       Type = Root + ".login.refused"             // a login was refused, and why
	RefusalsType           Type = Root + ".login.refusals"            // many were refused within a minute; summed up
	MethodAcceptedType     Type = Root + ".method.accepted"           // a method said yes
	MethodRejectedType     Type = Root + ".method.rejected"           // a method said no
	MethodUnknownType      Type = Root + ".method.unknown"            // a method does not know the user
	MethodFailedType       Type = Root + ".method.failed"             // a method could not say anything: it, or what it asks, is broken
	MethodSkippedType      Type = Root + ".method.skipped"            // a method was not asked, since an administrator stopped it
	SessionOpenedType      Type = Root + ".session.opened"            // a client was told that it is in
	SessionClosedType      Type = Root + ".session.closed"            // a session ended
	ConnectionRefusedType  Type = Root + ".connection.refused"        // connections were ended before a login, or were nobody's data
	ApprovalRequestedType  Type = Root + ".approval.requested"        // a person is asked
	ApprovalDeliveredType  Type = Root + ".approval.delivered"        // the request is on their device
	ApprovalApprovedType   Type = Root + ".approval.approved"         // they said yes
	ApprovalDeniedType     Type = Root + ".approval.denied"           // they said no
	ApprovalExpiredType    Type = Root + ".approval.expired"          // they said nothing
	ApprovalCancelledType  Type = Root + ".approval.cancelled"        // the request was taken back
	ApprovalSuspendedType  Type = Root + ".approval.suspended"        // another request took its place
	ApprovalFrozenType     Type = Root + ".approval.frozen"           // the other system asks this person no more
	ApprovalRememberedType Type = Root + ".approval.remembered"       // an equal login was approved a moment ago
	DecisionRefusedType    Type = Root + ".approval.decision_refused" // an approver's message did not count
	AccountCreatedType     Type = Root + ".account.created"           // an account was made
	AccountChangedType     Type = Root + ".account.changed"           // something is another one now
	AccountEnabledType     Type = Root + ".account.enabled"           // it may log in again
	AccountDisabledType    Type = Root + ".account.disabled"          // it may not log in any more
	AccountDeletedType     Type = Root + ".account.deleted"           // it was deleted
	AccountExpiringType    Type = Root + ".account.expiring"          // it expires within two weeks
	PasswordExpiringType   Type = Root + ".password.expiring"         // a password is too old within two weeks
	AccountLockedType      Type = Root + ".account.locked"            // too many wrong tries
	SourceBannedType       Type = Root + ".source.banned"             // nobody logs in from an address for a while
	SourceUnbannedType     Type = Root + ".source.unbanned"           // an administrator lifted a ban
	AccountUnlockedType    Type = Root + ".account.unlocked"          // an administrator lifted a lock
	PasswordChangedType    Type = Root + ".password.changed"          // a password is another one
	PasswordRefusedType    Type = Root + ".password.refused"          // the policy refused a new password
	ApproverEnrolledType   Type = Root + ".approver.enrolled"         // somebody may decide
	ApproverRevokedType    Type = Root + ".approver.revoked"          // somebody may decide no more
	FileUploadedType       Type = Root + ".file.uploaded"             // a file came whole
	FileDownloadedType     Type = Root + ".file.downloaded"           // a file went whole
	FileInterruptedType    Type = Root + ".file.interrupted"          // a transfer ended before its end
	FileDeletedType        Type = Root + ".file.deleted"              // a file, or an empty folder, was deleted
	FileRenamedType        Type = Root + ".file.renamed"              // a file or folder has another name
	ServerStartedType      Type = Root + ".server.started"            // the first event of a run
	ServerStoppedType      Type = Root + ".server.stopped"            // the last event of a run that ended in order
	ServerReloadedType     Type = Root + ".server.reloaded"           // another configuration is in use
	ServerDegradedType     Type = Root + ".server.degraded"           // a part does not work as it should
	ServerRestoredType     Type = Root + ".server.restored"           // it works again
	KeyRotatedType         Type = Root + ".server.key_rotated"        // one-time codes are sealed with a new key
	MailSentType           Type = Root + ".mail.sent"                 // credentials were mailed
	MailFailedType         Type = Root + ".mail.failed"               // credentials could not be mailed
)

// Is reports whether a type has this name, or is of this family, with or without [Root]: "login.refused", "login".
func (t Type) Is(name string) bool {
	name = strings.TrimSuffix(strings.TrimPrefix(name, Root+"."), ".")
	own := strings.TrimPrefix(string(t), Root+".")
	return own == name || strings.HasPrefix(own, name+".")
}

// Matching lists the types that are so, see [Type.Is].
func Matching(name string) (types []Type) {
	for _, t := range Types() {
		if t.Is(name) {
			types = append(types, t)
		}
	}
	return types
}

// Types lists all.
func Types() []Type {
	return []Type{
		LoginAcceptedType, LoginRefusedType, RefusalsType, MethodAcceptedType, MethodRejectedType,
		MethodUnknownType, MethodFailedType, MethodSkippedType, SessionOpenedType, SessionClosedType, ConnectionRefusedType,
		ApprovalRequestedType, ApprovalDeliveredType, ApprovalApprovedType, ApprovalDeniedType, ApprovalExpiredType,
		ApprovalCancelledType, ApprovalSuspendedType, ApprovalFrozenType, ApprovalRememberedType, DecisionRefusedType,
		AccountCreatedType, AccountChangedType, AccountEnabledType, AccountDisabledType, AccountDeletedType,
		AccountExpiringType, PasswordExpiringType, AccountLockedType, SourceBannedType, SourceUnbannedType,
		AccountUnlockedType, PasswordChangedType, PasswordRefusedType, ApproverEnrolledType, ApproverRevokedType,
		FileUploadedType, FileDownloadedType, FileInterruptedType, FileDeletedType, FileRenamedType, ServerStartedType, ServerStoppedType, ServerReloadedType, ServerDegradedType, ServerRestoredType,
		KeyRotatedType, MailSentType, MailFailedType,
	}
}

// Reason says why, from a closed list, so that a program can branch on it.
type Reason string

// The closed list of reasons.
const (
	WrongPassword    Reason = "wrong_password"
	WrongCode        Reason = "wrong_code"
	UnknownUser      Reason = "unknown_user"
	Rejected         Reason = "rejected" // by a method that gave no narrower reason
	AccountDisabled  Reason = "account_disabled"
	AccountExpired   Reason = "account_expired"
	AccountUnused    Reason = "account_unused" // for longer than it may be
	GroupNotAllowed  Reason = "group_not_allowed"
	AccountLocked    Reason = "account_locked"
	SourceBanned     Reason = "source_banned"
	MethodFailed     Reason = "method_failed"
	TimedOut         Reason = "timed_out"
	Overloaded       Reason = "overloaded"
	ClientLeft       Reason = "client_left"
	FactorMissing    Reason = "second_factor_missing"
	NoMethod         Reason = "no_method"
	BadName          Reason = "bad_name" // not a user name by RFC 8265, or unusable as a folder
	EmptyPassword    Reason = "empty_password"
	InputTooLong     Reason = "input_too_long"
	HomeUnavailable  Reason = "home_unavailable"
	TooManySessions  Reason = "too_many_sessions" // of the user
	EventNotStored   Reason = "event_not_stored"
	ForwardFailed    Reason = "forward_failed" // the other NATS does not get the events
	EventsFull       Reason = "events_full"    // the audit stream is nearly as big as it may be
	ShuttingDown     Reason = "shutting_down"
	MethodStopped    Reason = "method_stopped"
	ClientQuit       Reason = "client_quit"
	ConnectionLost   Reason = "connection_lost"
	IdleTimeout      Reason = "idle_timeout"
	ServerShutdown   Reason = "server_shutdown"
	InternalError    Reason = "internal_error"
	AccountDamaged   Reason = "account_damaged" // its record or hash can't be read
	MethodOverLimits Reason = "limit_exceeded"
	ApproverBusy     Reason = "approver_busy"      // a request to the same person from elsewhere is open
	ApprovalsPaused  Reason = "approvals_paused"   // the person has just denied one
	TooManyApprovals Reason = "too_many_approvals" // the person was asked too often
	ApprovalDenied   Reason = "approval_denied"
	ApprovalExpired  Reason = "approval_expired"
	ApprovalFrozen   Reason = "approval_frozen" // the other system asks this person no more
	ApprovalLost     Reason = "approval_suspended"
	BadDecision      Reason = "bad_decision" // a message that can't be read
	BadSignature     Reason = "bad_signature"
	OtherRequest     Reason = "other_request"
	TooLate          Reason = "too_late"
	NotEnrolled      Reason = "not_enrolled"
	DecidedTwice     Reason = "decided_twice"
	Revoked          Reason = "revoked" // by an administrator
	PasswordExpired  Reason = "password_expired"
	MustChange       Reason = "password_must_change" // before anything else
	NotAtThisTime    Reason = "not_at_this_time"
	SourceNotAllowed Reason = "source_not_allowed"
	NameNotAllowed   Reason = "name_not_allowed"       // a name that nobody may log in with
	OtherCertificate Reason = "certificate_not_theirs" // the client's certificate is somebody else's
	BadCertificate   Reason = "certificate_refused"    // of a client: none, not trusted, expired, revoked
	QuotaExceeded    Reason = "quota_exceeded"         // the home folder holds as much as it may
	DiskFull         Reason = "disk_full"
	TransferAborted  Reason = "transfer_aborted"    // by the client: ABOR, or EPSV again
	DataStalled      Reason = "data_stalled"        // nothing moved for data_idle_timeout
	NoDataConnection Reason = "no_data_connection"  // none came
	TLSFailed        Reason = "tls_failed"          // a handshake
	TLSMissing       Reason = "tls_missing"         // USER in clear text
	NotResumed       Reason = "tls_not_resumed"     // by a data connection, with session_reuse = "require"
	StrangeData      Reason = "data_from_elsewhere" // a data connection from an address that has no session which waits for one
	TooManyConns     Reason = "too_many_connections"
	TooManyOfSource  Reason = "too_many_from_source"
	TooManyCommands  Reason = "too_many_commands"
	LoginTimeout     Reason = "login_timeout" // a client that did not log in in time
	MethodBroken     Reason = "method_broken" // it crashed again and again, and is not asked for a while
)

// Known reports whether r is in the closed list; a plugin may only give such a reason.
func (r Reason) Known() bool {
	switch r {
	case WrongPassword, WrongCode, UnknownUser, Rejected, AccountDisabled, AccountExpired, AccountUnused, GroupNotAllowed,
		AccountLocked, SourceBanned, MethodFailed, TimedOut, Overloaded, ClientLeft, FactorMissing, NoMethod,
		BadName, EmptyPassword, InputTooLong, HomeUnavailable, TooManySessions, EventNotStored, EventsFull, ForwardFailed, ShuttingDown, MethodStopped,
		ClientQuit, ConnectionLost, IdleTimeout, ServerShutdown, InternalError, AccountDamaged, MethodOverLimits, MethodBroken,
		ApproverBusy, ApprovalsPaused, TooManyApprovals, ApprovalDenied, ApprovalExpired, ApprovalFrozen, ApprovalLost, Revoked,
		BadDecision, BadSignature, OtherRequest, TooLate, NotEnrolled, DecidedTwice,
		PasswordExpired, MustChange, NotAtThisTime, SourceNotAllowed, NameNotAllowed,
		OtherCertificate, BadCertificate, TLSFailed, TLSMissing, QuotaExceeded, DiskFull, TransferAborted, DataStalled, NoDataConnection, NotResumed, StrangeData, TooManyConns, TooManyOfSource, TooManyCommands, LoginTimeout:
		return true
	}
	return false
}

// Payload is the body of an event.
type Payload interface{ EventType() Type }

// Login is what every event of one login shares; LoginID joins them.
type Login struct {
	LoginID string `json:"login_id"`
	// Service is the name of the listener, such as "partners".
	Service string `json:"service,omitempty"`
	// User is the canonical name (RFC 8265). It is left out for a name that no method knew,
	// since people type passwords there.
	User string `json:"user,omitempty"`
	// Peer is the client's address and port.
	Peer string `json:"peer,omitempty"`
	// Trial marks a login tried by an administrator's command, not by a client.
	Trial bool `json:"trial,omitempty"`
}

// LoginAccepted is stored before the client hears that it is in.
type LoginAccepted struct {
	Login
	Method  string   `json:"method"`
	Account string   `json:"account,omitempty"` // of the host, if the method maps its users to one
	Factors []string `json:"factors,omitempty"` // second-factor methods that accepted
	Groups  []string `json:"groups,omitempty"`
	TLS     string   `json:"tls,omitempty"` // such as "TLS 1.3"
	// Certificate is the subject of the client's certificate (RFC 2253), if it showed one, and CertificateSHA256 its digest.
	Certificate       string `json:"certificate,omitempty"`
	CertificateSHA256 string `json:"certificate_sha256,omitempty"`
	// SharedWith is the login whose methods were asked for this one too: an equal attempt at the same time.
	SharedWith string `json:"shared_with,omitempty"`
	DurationMS int64  `json:"duration_ms"`
}

// LoginRefused says why, which the client is not told.
type LoginRefused struct {
	Login
	Reason     Reason `json:"reason"`
	Method     string `json:"method,omitempty"`      // the method that decided, if one did
	SharedWith string `json:"shared_with,omitempty"` // see LoginAccepted
	DurationMS int64  `json:"duration_ms"`
}

// Refusals sums up those of a minute that have no event of their own, because there were too many.
type Refusals struct {
	Source  string         `json:"source,omitempty"` // an address; IPv6: the /64. Empty: many
	Count   int            `json:"count"`
	Reasons map[Reason]int `json:"reasons"`
	// Accounts are known users that were tried, at most ten, and MoreAccounts says how often others were.
	Accounts     []string  `json:"accounts,omitempty"`
	MoreAccounts int       `json:"more_accounts,omitempty"`
	From         time.Time `json:"from"`
	Until        time.Time `json:"until"`
}

// ConnectionRefused says that connections were ended before anybody was logged in, or that data connections came from elsewhere. Those of a minute with the same reason are summed up.
type ConnectionRefused struct {
	Service string `json:"service"`
	Peer    string `json:"peer"` // of the last one
	Reason  Reason `json:"reason"`
	Detail  string `json:"detail,omitempty"` // of the last one, in words
	Count   int    `json:"count"`
}

// EventType implements [Payload].
func (*ConnectionRefused) EventType() Type { return ConnectionRefusedType }

// EventType implements [Payload].
func (*Refusals) EventType() Type { return RefusalsType }

// MethodResult is one method's part in a login; its type says the verdict.
type MethodResult struct {
	Login
	Verdict    Type   `json:"-"`
	Method     string `json:"method"`
	Reason     Reason `json:"reason,omitempty"`
	DurationMS int64  `json:"duration_ms"`
	// Ignored names fields that the plugin set and has no grant for.
	Ignored []string `json:"ignored,omitempty"`
}

// Approval is one change of a request that a person answers as a second factor; its type says which.
type Approval struct {
	Login
	State  Type   `json:"-"`
	Factor string `json:"factor"` // the method that asks
	Reason Reason `json:"reason,omitempty"`
	// DurationMS is since the factor was asked.
	DurationMS int64 `json:"duration_ms"`
}

// DecisionRefused says that an approver's message did not count.
type DecisionRefused struct {
	Key     string `json:"key"`               // on whose subject it came
	Request string `json:"request,omitempty"` // the ID that it names, if it is one
	Reason  Reason `json:"reason"`
}

// EventType implements [Payload].
func (*DecisionRefused) EventType() Type { return DecisionRefusedType }

// AccountChanged is a change of one of the host's accounts; its type says which. It is stored with the change.
type AccountChanged struct {
	Change  Type   `json:"-"`
	Account string `json:"account"`
	// Fields are what is another one now, such as "email", "groups" or "codes". Their values are not told.
	Fields []string `json:"fields,omitempty"`
	// Until is how long it is locked, or when it expires, and Source from where alone; empty: from everywhere but familiar sources.
	Until  time.Time `json:"until,omitzero"`
	Source string    `json:"source,omitempty"`
}

// PasswordChanged says that an account has another password, or that one was refused; its type says which.
type PasswordChanged struct {
	Change  Type   `json:"-"`
	Account string `json:"account"`
	// Self: by the user, not by an administrator.
	Self bool `json:"self,omitempty"`
	// Rules are those of the policy that refused, such as "length" or "strength".
	Rules []string `json:"rules,omitempty"`
	// Skipped is how many refusals for the account before this one have no event, since there were too many in a minute.
	Skipped int `json:"skipped,omitempty"`
	// Until is when it will have been good for as long as it may be.
	Until time.Time `json:"until,omitzero"`
}

// SourceChanged says that nobody may log in from an address for a while, or may again before that; its type says which.
type SourceChanged struct {
	Change Type      `json:"-"`
	Source string    `json:"source"` // an address; IPv6: the /64
	Until  time.Time `json:"until,omitzero"`
}

// EventType implements [Payload].
func (s *SourceChanged) EventType() Type { return s.Change }

// ApproverChanged says who may decide for whom, or not any more; its type says which.
type ApproverChanged struct {
	Change   Type     `json:"-"`
	Approver string   `json:"approver"`
	Key      string   `json:"key"` // public
	Accounts []string `json:"accounts,omitempty"`
	Groups   []string `json:"groups,omitempty"`
}

// EventType implements [Payload].
func (a *AccountChanged) EventType() Type { return a.Change }

// EventType implements [Payload].
func (p *PasswordChanged) EventType() Type { return p.Change }

// EventType implements [Payload].
func (a *ApproverChanged) EventType() Type { return a.Change }

// SessionOpened follows an accepted login once the client was told so.
type SessionOpened struct {
	Login
	SessionID string `json:"session_id"`
	TLS       string `json:"tls,omitempty"`
}

// SessionClosed sums a session up.
type SessionClosed struct {
	Login
	SessionID     string `json:"session_id"`
	Reason        Reason `json:"reason"`
	DurationMS    int64  `json:"duration_ms"`
	FilesUp       int64  `json:"files_up"`
	FilesDown     int64  `json:"files_down"`
	BytesReceived int64  `json:"bytes_received"`
	BytesSent     int64  `json:"bytes_sent"`
	// DataConns are the data connections whose TLS handshake was done, and DataResumed those that resumed the session of the
	// control connection, as session_reuse = "require" wants.
	DataConns   int64 `json:"data_connections"`
	DataResumed int64 `json:"data_resumed"`
}

// File is what happened to a file; its type says what.
type File struct {
	Login
	What      Type   `json:"-"`
	SessionID string `json:"session_id"`
	// Path is what the client calls it, from its root.
	Path string `json:"path"`
	// To is its new path.
	To string `json:"to,omitempty"`
	// Direction is up or down, of what was interrupted, and Reason why.
	Direction string `json:"direction,omitempty"`
	Reason    Reason `json:"reason,omitempty"`
	// Bytes are those of this transfer: of a resumed one, the rest.
	Bytes      int64 `json:"bytes,omitempty"`
	DurationMS int64 `json:"duration_ms,omitempty"`
	// SHA256 is of the whole file, if it went whole in this transfer and the service has file_digests, in hexadecimal digits.
	SHA256 string `json:"sha256,omitempty"`
}

// EventType implements [Payload].
func (f *File) EventType() Type { return f.What }

// ServerStarted is the first event of a run.
type ServerStarted struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Services []string `json:"services"`
	Methods  []string `json:"methods"`
}

// ServerStopped is the last event of a run that ended in order.
type ServerStopped struct {
	Name     string `json:"name"`
	UptimeMS int64  `json:"uptime_ms"`
}

// ServerReloaded says that another configuration is in use.
type ServerReloaded struct {
	Name     string   `json:"name"`
	Services []string `json:"services"`
	Methods  []string `json:"methods"`
}

// ServerDegraded says that a part of the server does not work as it should.
type ServerDegraded struct {
	Name   string `json:"name"`
	Reason Reason `json:"reason"`
	// Method is the one whose plugin crashes again and again.
	Method string `json:"method,omitempty"`
	// Source is the address (IPv6: the /64) for which it is not asked until then. Empty: it crashed for
	// several, and for nobody it did not.
	Source string    `json:"source,omitempty"`
	Until  time.Time `json:"until,omitzero"`
	// Since is when events could not be stored, or copied, any more. The event of the first was kept until they could.
	Since time.Time `json:"since,omitzero"`
}

// ServerRestored is the end of what ServerDegraded with the same method and source began.
type ServerRestored struct {
	Name   string `json:"name"`
	Reason Reason `json:"reason,omitempty"` // empty: a plugin that crashed
	Method string `json:"method,omitempty"`
	Source string `json:"source,omitempty"`
	// Lost is how many events could not be stored meanwhile.
	Lost int `json:"lost,omitempty"`
}

// KeyRotated says that one-time codes are sealed with another key now.
type KeyRotated struct {
	Accounts int `json:"accounts"` // that have codes
}

// Mail says that credentials were sent to a user, or that they could not be; its type says which.
type Mail struct {
	State   Type   `json:"-"`
	Account string `json:"account"`
	// Contents are "invitation", "password" or "codes".
	Contents []string `json:"contents"`
}

// EventType implements [Payload].
func (*KeyRotated) EventType() Type { return KeyRotatedType }

// EventType implements [Payload].
func (m *Mail) EventType() Type { return m.State }

// EventType implements [Payload].
func (*ServerReloaded) EventType() Type { return ServerReloadedType }

// EventType implements [Payload].
func (*ServerDegraded) EventType() Type { return ServerDegradedType }

// EventType implements [Payload].
func (*ServerRestored) EventType() Type { return ServerRestoredType }

// EventType implements [Payload].
func (*LoginAccepted) EventType() Type { return LoginAcceptedType }

// EventType implements [Payload].
func (*LoginRefused) EventType() Type { return LoginRefusedType }

// EventType implements [Payload].
func (m *MethodResult) EventType() Type { return m.Verdict }

// EventType implements [Payload].
func (a *Approval) EventType() Type { return a.State }

// EventType implements [Payload].
func (*SessionOpened) EventType() Type { return SessionOpenedType }

// EventType implements [Payload].
func (*SessionClosed) EventType() Type { return SessionClosedType }

// EventType implements [Payload].
func (*ServerStarted) EventType() Type { return ServerStartedType }

// EventType implements [Payload].
func (*ServerStopped) EventType() Type { return ServerStoppedType }

func newPayload(t Type) Payload {
	switch t {
	case LoginAcceptedType:
		return &LoginAccepted{}
	case LoginRefusedType:
		return &LoginRefused{}
	case RefusalsType:
		return &Refusals{}
	case MethodAcceptedType, MethodRejectedType, MethodUnknownType, MethodFailedType, MethodSkippedType:
		return &MethodResult{Verdict: t}
	case ApprovalRequestedType, ApprovalDeliveredType, ApprovalApprovedType, ApprovalDeniedType, ApprovalExpiredType, ApprovalCancelledType,
		ApprovalSuspendedType, ApprovalFrozenType, ApprovalRememberedType:
		return &Approval{State: t}
	case DecisionRefusedType:
		return &DecisionRefused{}
	case AccountCreatedType, AccountChangedType, AccountEnabledType, AccountDisabledType, AccountDeletedType, AccountUnlockedType, AccountLockedType, AccountExpiringType:
		return &AccountChanged{Change: t}
	case SourceBannedType, SourceUnbannedType:
		return &SourceChanged{Change: t}
	case PasswordChangedType, PasswordRefusedType, PasswordExpiringType:
		return &PasswordChanged{Change: t}
	case ApproverEnrolledType, ApproverRevokedType:
		return &ApproverChanged{Change: t}
	case SessionOpenedType:
		return &SessionOpened{}
	case ConnectionRefusedType:
		return &ConnectionRefused{}
	case SessionClosedType:
		return &SessionClosed{}
	case ServerStartedType:
		return &ServerStarted{}
	case ServerStoppedType:
		return &ServerStopped{}
	case ServerReloadedType:
		return &ServerReloaded{}
	case ServerDegradedType:
		return &ServerDegraded{}
	case FileUploadedType, FileDownloadedType, FileInterruptedType, FileDeletedType, FileRenamedType:
		return &File{What: t}
	case KeyRotatedType:
		return &KeyRotated{}
	case MailSentType, MailFailedType:
		return &Mail{State: t}
	case ServerRestoredType:
		return &ServerRestored{}
	}
	return nil
}

// Event is a payload with the CloudEvents attributes that go around it.
type Event struct {
	ID     string // UUIDv7; also the Nats-Msg-Id
	Time   time.Time
	Source string // "/sallyport/" and the server's name
	// Stream is where the event is kept, see [Streams].
	Stream string
	// Boot names one run of one server. Within it the events of a stream have the sequence numbers 1, 2, 3, ...: where
	// one is missing, an event was lost. Both are empty until the event is published.
	Boot     string
	Sequence uint64
	Data     Payload
}

// The streams. What an auditor needs is on disk before anything goes on. So is what strangers can cause as much as they like of,
// which is apart, so that it pushes nothing else out. Activity is written when there is time. Of each the oldest goes when there is
// too much.
const (
	StreamAudit    = "audit"
	StreamRefusals = "refusals"
	StreamActivity = "activity"
)

// Streams lists them.
func Streams() []string { return []string{StreamAudit, StreamRefusals, StreamActivity} }

// Subjects are the types in a stream, as patterns of NATS behind [Root].
func Subjects(stream string) []string {
	switch stream {
	case StreamRefusals:
		return []string{"login.refused", "login.refusals", "connection.>", "source.>"}
	case StreamActivity:
		return []string{"method.>", "session.>", "file.>"}
	}
	return []string{"login.accepted", "approval.>", "account.>", "password.>", "approver.>", "mail.>", "server.>"}
}

// Stream is where events of the type are kept.
func (t Type) Stream() string {
	name := strings.TrimPrefix(string(t), Root+".")
	for _, stream := range Streams() {
		for _, subject := range Subjects(stream) {
			if family, all := strings.CutSuffix(subject, ">"); name == subject || all && strings.HasPrefix(name, family) {
				return stream
			}
		}
	}
	return StreamAudit
}

// The header names of the CloudEvents 1.0 NATS binding, binary mode.
const (
	headerSpecVersion = "ce-specversion"
	headerID          = "ce-id"
	headerType        = "ce-type"
	headerSource      = "ce-source"
	headerTime        = "ce-time"
	headerStream      = "ce-stream" // extensions of ours, by CloudEvents' rules for names
	headerBoot        = "ce-boot"
	headerSequence    = "ce-sequence"
	headerContentType = "content-type"
)

// ErrUnknownType is returned by [Decode] for a type that this version does not know.
// A subscriber should skip such an event: newer servers have more types.
var ErrUnknownType = errors.New("unknown event type")

// Encode returns the headers and the body of e.
func (e Event) Encode() (header map[string][]string, body []byte, err error) {
	body, err = json.Marshal(e.Data)
	if err != nil {
		return nil, nil, fmt.Errorf("encode %s: %w", e.Data.EventType(), err)
	}
	header = map[string][]string{
		headerSpecVersion: {"1.0"},
		headerID:          {e.ID},
		headerType:        {string(e.Data.EventType())},
		headerSource:      {e.Source},
		headerTime:        {e.Time.UTC().Format(time.RFC3339Nano)},
		headerContentType: {"application/json"},
	}
	if e.Sequence > 0 {
		header[headerStream], header[headerBoot], header[headerSequence] = []string{e.Stream}, []string{e.Boot}, []string{strconv.FormatUint(e.Sequence, 10)}
	}
	return header, body, nil
}

// Decode is the reverse of [Event.Encode]. The maps of nats.go and net/http fit as header.
func Decode(header map[string][]string, body []byte) (Event, error) {
	first := func(name string) string {
		if values := header[name]; len(values) > 0 {
			return values[0]
		}
		return ""
	}
	e := Event{ID: first(headerID), Source: first(headerSource), Stream: first(headerStream), Boot: first(headerBoot), Data: newPayload(Type(first(headerType)))}
	if e.Data == nil {
		return Event{}, fmt.Errorf("%w: %q", ErrUnknownType, first(headerType))
	}
	var err error
	if e.Time, err = time.Parse(time.RFC3339Nano, first(headerTime)); err != nil {
		return Event{}, fmt.Errorf("event %s: time: %w", e.ID, err)
	}
	if text := first(headerSequence); text != "" {
		if e.Sequence, err = strconv.ParseUint(text, 10, 64); err != nil {
			return Event{}, fmt.Errorf("event %s: sequence: %w", e.ID, err)
		}
	}
	if err := json.Unmarshal(body, e.Data); err != nil {
		return Event{}, fmt.Errorf("event %s: body: %w", e.ID, err)
	}
	return e, nil
}

// structured is an event as one JSON object.
type structured[T any] struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Type        Type      `json:"type"`
	Source      string    `json:"source"`
	Time        time.Time `json:"time"`
	Stream      string    `json:"stream,omitempty"`
	Boot        string    `json:"boot,omitempty"`
	Sequence    uint64    `json:"sequence,omitempty"`
	Data        T         `json:"data"`
}

// MarshalJSON writes e as one CloudEvents JSON object (structured mode), for people and scripts.
func (e Event) MarshalJSON() ([]byte, error) {
	return json.Marshal(structured[Payload]{"1.0", e.ID, e.Data.EventType(), e.Source, e.Time.UTC(), e.Stream, e.Boot, e.Sequence, e.Data})
}

// UnmarshalJSON is the reverse of [Event.MarshalJSON].
func (e *Event) UnmarshalJSON(text []byte) error {
	var raw structured[json.RawMessage]
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	data := newPayload(raw.Type)
	if data == nil {
		return fmt.Errorf("%w: %q", ErrUnknownType, raw.Type)
	}
	if err := json.Unmarshal(raw.Data, data); err != nil {
		return fmt.Errorf("event %s: %w", raw.ID, err)
	}
	*e = Event{ID: raw.ID, Time: raw.Time, Source: raw.Source, Stream: raw.Stream, Boot: raw.Boot, Sequence: raw.Sequence, Data: data}
	return nil
}
