package ftps

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
)

// SessionReuse says whether a data connection must resume the TLS session of its control connection. Who can't is somebody
// else, even from the same address. RATIONALE.md, "What binds a data connection to its session?".
type SessionReuse string

// Warn counts those that don't, and names who.
const (
	ReuseOff     SessionReuse = "off"
	ReuseWarn    SessionReuse = "warn"
	ReuseRequire SessionReuse = "require"
)

// The protocols that clients may offer by ALPN (RFC 7301). One that offers others only speaks something else, and is refused:
// else a browser could be made to talk to us (https://alpaca-attack.com). Most offer none.
func controlProtocols() []string { return []string{"ftp", "x-filezilla-ftp"} }
func dataProtocols() []string    { return []string{"ftp-data", "ftp", "x-filezilla-ftp"} }

var errNotResumed = errors.New("the data connection does not resume the TLS session of its control connection")

// controlTLS is the control connection's configuration: with a ticket key of its own, so that no ticket of another connection
// resumes, and none of this one elsewhere.
func (sess *session) controlTLS() *tls.Config {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.secured == nil {
		var key [32]byte
		_, _ = rand.Read(key[:]) // never fails
		sess.secured = sess.settings.tls.Clone()
		sess.secured.VerifyConnection = sess.verifyControl
		if clients := sess.settings.Clients; clients.Asked {
			sess.secured.ClientAuth, sess.secured.ClientCAs = tls.RequestClientCert, clients.CAs
		}
		sess.secured.SetSessionTicketKeys([][32]byte{key})
	}
	return sess.secured
}

// dataTLS is that of its data connections.
func (sess *session) dataTLS() *tls.Config {
	control := sess.controlTLS()
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.securedData != nil {
		return sess.securedData
	}
	config := control.Clone()
	config.NextProtos = dataProtocols()
	config.VerifyConnection = sess.verifyData
	config.WrapSession, config.UnwrapSession = sess.wrap, sess.unwrap
	config.DynamicRecordSizingDisabled = true // small records first are for who shows a page early; each costs a system call
	sess.securedData = config
	return config
}

// verifyData is called at the end of each handshake of a data connection.
func (sess *session) verifyData(state tls.ConnectionState) error {
	sess.dataConns.Add(1)
	if err := sess.verifySame(state); err != nil {
		sess.service.options.Log.Warn(err.Error(), "service", sess.service.options.Name, "peer", sess.peer, "login", sess.login().LoginID)
		return err
	}
	if state.DidResume {
		sess.dataResumed.Add(1)
		return nil
	}
	mode := sess.settings.SessionReuse
	if mode == ReuseOff {
		return nil
	}
	if !sess.notResumed.Swap(true) {
		sess.service.options.Log.Warn(errNotResumed.Error(), "service", sess.service.options.Name, "peer", sess.peer, "user", sess.grant.User, "login", sess.login().LoginID,
			"refused", mode == ReuseRequire, "tls", tls.VersionName(state.Version), "session_reuse", string(mode))
	}
	if mode == ReuseRequire {
		return errNotResumed
	}
	return nil
}

// unbound marks tickets that a data connection got which did not resume. With TLS 1.3 they are on their way before verifyData can
// refuse: without a mark a stranger who was refused once would resume the next time.
const unbound = "unbound"

// wrap makes a ticket on a data connection.
func (sess *session) wrap(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
	if !state.DidResume {
		session.Extra = append(session.Extra, []byte(unbound))
	}
	return sess.controlTLS().EncryptTicket(state, session)
}

// unwrap opens a ticket, unless it is marked: then there is none.
func (sess *session) unwrap(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
	session, err := sess.controlTLS().DecryptTicket(ticket, state)
	if err != nil || session == nil {
		return nil, err
	}
	for _, extra := range session.Extra {
		if string(extra) == unbound {
			return nil, nil
		}
	}
	return session, nil
}
