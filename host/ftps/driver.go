package ftps

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// What a client hears. One text for every refusal, and no word in it that makes a client try
// again on its own (lftp does on "too many", "later", "overloaded", ...). The exception is 421 for who may log in, and has too many
// sessions: to try again later is right, unless a person would be asked each time.
const (
	textAccepted = "Login accepted."
	textRefused  = "Login refused."
	textChange   = "Login accepted. Change the password first: SITE PSWD old new"
)

var (
	errRefused  = errors.New("login refused")
	errLoggedIn = errors.New("already logged in; open another connection for another user")
	errInClear  = errors.New("TLS is required; send AUTH TLS first")
)

// driver is the library's view of one connection. The library calls it from one goroutine,
// but for transfers.
type driver struct {
	service *Service
	session *session
	ctx     context.Context // of the service: ends the logins under way at a shutdown
	client  ftpserver.ClientContext
}

var (
	_ ftpserver.MainDriver                         = (*driver)(nil)
	_ ftpserver.MainDriverExtensionUserVerifier    = (*driver)(nil)
	_ ftpserver.MainDriverExtensionPostAuthMessage = (*driver)(nil)
	_ ftpserver.MainDriverExtensionQuitMessage     = (*driver)(nil)
	_ ftpserver.MainDriverExtensionPassiveWrapper  = (*driver)(nil)
)

// GetSettings implements ftpserver.MainDriver.
func (d *driver) GetSettings() (*ftpserver.Settings, error) {
	return &ftpserver.Settings{
		Listener:             d.session.listener,
		ListenAddr:           d.service.options.Name, // what STAT shows
		Banner:               d.service.options.Banner,
		IdleTimeout:          max(1, int(d.session.settings.IdleTimeout/time.Second)),
		ConnectionTimeout:    max(1, int(d.service.options.Limits.DataConnect/time.Second)),
		TLSRequired:          ftpserver.ClearOrEncrypted, // it sees clear text: control.go and data.go have TLS below it
		DisableActiveMode:    true,                       // PASV then PORT would leak the listener, and PORT reaches into the client's network
		DefaultTransferType:  ftpserver.TransferTypeBinary,
		EnableHASH:           true,
		PasvConnectionsCheck: ftpserver.IPMatchRequired,
	}, nil
}

// ClientConnected implements ftpserver.MainDriver.
func (d *driver) ClientConnected(client ftpserver.ClientContext) (string, error) {
	d.client = client
	return d.service.options.Banner, nil
}

// ClientDisconnected implements ftpserver.MainDriver.
func (d *driver) ClientDisconnected(ftpserver.ClientContext) {
	d.session.over()
	d.session.closePassive(nil) // the library would wait for it
	_ = d.session.listener.Close()
}

// GetTLSConfig implements ftpserver.MainDriver: for FEAT, which names the commands of TLS if there is one.
func (d *driver) GetTLSConfig() (*tls.Config, error) { return d.session.controlTLS(), nil }

// PreAuthUser implements ftpserver.MainDriverExtensionUserVerifier.
func (d *driver) PreAuthUser(ftpserver.ClientContext, string) error {
	if !d.session.isSecured() {
		d.service.refused(d.session.peer.String(), events.TLSMissing, errInClear)
		return errInClear
	}
	if d.session.loggedIn() {
		return errLoggedIn
	}
	return nil
}

// AuthUser implements ftpserver.MainDriver: PASS. It says the same of every refusal.
func (d *driver) AuthUser(client ftpserver.ClientContext, user, password string) (fs ftpserver.ClientDriver, err error) {
	defer func() {
		if recover() != nil { // else the library logs the command, which holds the password
			d.service.options.Log.Error("login panicked", "service", d.service.options.Name, "peer", d.session.peer)
			fs, err = nil, errRefused
		}
	}()
	if user == "" || !d.session.isSecured() || d.session.loggedIn() {
		return nil, errRefused
	}
	o, settings := d.service.options, d.session.settings
	deadline := time.Now().Add(settings.LoginTimeout + o.Limits.ReplyGrace)
	d.session.control.allow(deadline, deadline)
	ctx, gone := watch(d.ctx, d.session.control.Conn, o.Limits.Hangup)
	defer gone()

	var home *files
	outcome := d.service.authority.Login(ctx, auth.Attempt{
		Service:     o.Name,
		Chain:       settings.Chain,
		Typed:       user,
		Password:    secret.New(password),
		Peer:        d.session.peer,
		TLS:         d.session.tlsVersion(),
		Certificate: d.session.certificate,
		Timeout:     settings.LoginTimeout,
		Prepare: func(grant auth.Grant) (err error) {
			if !d.service.takeUser(d.session, grant.User) {
				return auth.ErrTooManySessions
			}
			home, err = openFiles(d.service, d.session, grant)
			return err
		},
	})
	if !outcome.Accepted {
		if home != nil {
			home.close()
		}
		d.service.leaveUser(d.session)
		if outcome.Reason == events.TooManySessions && !outcome.AskedFactor() {
			d.session.closeFor(outcome.Reason)
		}
		return nil, errRefused
	}
	d.session.control.allow(time.Time{}, time.Now().Add(settings.IdleTimeout))
	home.client, home.ctx = client, d.ctx
	d.session.open(outcome.Grant, home)
	return home, nil
}

// PostAuthMessage implements ftpserver.MainDriverExtensionPostAuthMessage.
func (d *driver) PostAuthMessage(_ ftpserver.ClientContext, _ string, err error) string {
	switch {
	case err != nil:
		return textRefused
	case d.session.mustChange():
		return textChange
	}
	return textAccepted
}

// QuitMessage implements ftpserver.MainDriverExtensionQuitMessage.
func (d *driver) QuitMessage() string {
	d.session.ended(events.ClientQuit)
	return "Goodbye."
}

// WrapPassiveListener implements ftpserver.MainDriverExtensionPassiveWrapper.
func (d *driver) WrapPassiveListener(listener net.Listener) (net.Listener, error) {
	ours, err := d.session.adopt(listener)
	if err != nil {
		_ = listener.Close() // the library does not
		return nil, fmt.Errorf("passive: %w", err)
	}
	return ours, nil
}
