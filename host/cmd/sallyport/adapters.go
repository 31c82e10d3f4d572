package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/admin"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/bus"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/ftps"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// logins tries logins for the administration API.
type logins struct{ app *app }

// TryLogin implements admin.Logins.
func (l logins) TryLogin(ctx context.Context, try admin.Login) (admin.LoginResult, error) {
	s, err := l.service(try.Service)
	if err != nil {
		return admin.LoginResult{}, err
	}
	certificate, err := clientCertificate(s, try.Certificate)
	if err != nil {
		return admin.LoginResult{}, err
	}
	out := l.app.authority.Login(ctx, auth.Attempt{
		Service: s.Name, Chain: l.app.chain(s.Name), Typed: try.User, Password: secret.New(try.Password), Certificate: certificate, Timeout: s.LoginTimeout, Trial: true,
		Prepare: func(grant auth.Grant) error { return ftps.CheckHome(grant, l.app.data.private) },
	})
	result := admin.LoginResult{
		Accepted: out.Accepted, Reason: out.Reason, Detail: out.Detail, Service: s.Name, User: out.Grant.User, Method: out.Grant.Method,
		Steps: []admin.Step{}, Took: admin.InMilliseconds(out.Took),
	}
	if out.Reason == events.UnknownUser && certificate != nil && try.Password == "" {
		result.Detail = "no method knows the user by the certificate alone; with --password-stdin it is tried beside a password"
	}
	if out.Accepted {
		result.Account, result.Email = out.Grant.Account, out.Grant.Email
		for _, v := range out.Grant.Folders {
			result.Folders = append(result.Folders, v.Path+" = "+v.Real)
		}
		result.Groups, result.Home, result.Permissions = out.Grant.Groups, out.Grant.Home, out.Grant.Access.Words()
	}
	for _, t := range out.Trace {
		result.Steps = append(result.Steps, admin.Step{
			Method: t.Method, Factor: t.Factor, Verdict: t.Verdict, Reason: t.Reason, Detail: t.Detail, Ignored: t.Ignored, Log: t.Log, Took: admin.InMilliseconds(t.Duration),
		})
	}
	return result, nil
}

// clientCertificate is what a client of the service would be that shows this one; none: nil.
func clientCertificate(s config.Service, text string) (*auth.Certificate, error) {
	if text == "" {
		return nil, nil
	}
	if s.ClientCerts == "off" {
		return nil, fmt.Errorf("service %q asks for no certificate: client_certificates is \"off\"", s.Name)
	}
	shown, err := ftps.ParseCertificates([]byte(text))
	if err != nil {
		return nil, err
	}
	believed, err := ftps.LoadClientCertificates(s.ClientCA, s.ClientCRL)
	if err != nil {
		return nil, fmt.Errorf("service %q: %w", s.Name, err)
	}
	return believed.Check(shown)
}

func (l logins) service(name string) (config.Service, error) {
	var names []string
	for _, s := range l.app.config().Services {
		if name == "" || s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return config.Service{}, fmt.Errorf("service %q: %w; there are %q", name, admin.ErrNotFound, names)
}

// methodStates lists, stops and starts methods for the administration API.
type methodStates struct{ app *app }

// Methods implements admin.Methods.
func (m methodStates) Methods() []admin.Method {
	all := []admin.Method{}
	for _, c := range m.app.config().Authentications {
		all = append(all, m.state(c))
	}
	return all
}

// SetStopped implements admin.Methods.
func (m methodStates) SetStopped(id string, stopped bool) (admin.Method, error) {
	c, ok := m.app.config().Authentication(id)
	if !ok {
		var ids []string
		for _, c := range m.app.config().Authentications {
			ids = append(ids, c.ID)
		}
		return admin.Method{}, fmt.Errorf("method %q: %w; there are %q", id, admin.ErrNotFound, ids)
	}
	if !c.Enabled {
		return admin.Method{}, fmt.Errorf("method %q is disabled in the configuration: set enabled = true and restart the server", id)
	}
	m.app.authority.SetStopped(id, stopped)
	m.app.log.Info("method stopped or started by the administrator", "method", id, "stopped", stopped)
	return m.state(c), nil
}

func (m methodStates) state(c config.Authentication) admin.Method {
	one := admin.Method{ID: c.ID, Name: c.Name, Plugin: c.Plugin, State: admin.StateRunning}
	switch {
	case !c.Enabled:
		one.State = admin.StateDisabled
	case !m.app.config().Asks(c.ID):
		one.State = admin.StateUnused
	case m.app.authority.Stopped(c.ID):
		one.State = admin.StateStopped
	case m.app.authority.Failing(c.ID):
		one.State = admin.StateFailing
	}
	s, release := m.app.use()
	defer release()
	if loaded := s.methods.byID[c.ID]; loaded != nil {
		one.Version = loaded.plugin.Description().Version
	}
	return one
}

// ownPasswords changes passwords for auth, which knows no accounts.
type ownPasswords struct{ accounts *account.Accounts }

// ChangeOwn implements auth.Passwords.
func (p ownPasswords) ChangeOwn(ctx context.Context, name string, source netip.Addr, old, password secret.Text) error {
	err := p.accounts.ChangeOwn(ctx, name, source, old, password)
	if errors.Is(err, account.ErrOldPassword) {
		return auth.ErrOldPassword
	}
	if errors.Is(err, account.ErrNotAllowed) {
		return auth.ErrNotYours
	}
	return err
}

// approvals lists and revokes second factors for the administration API.
type approvals struct{ authority *auth.Authority }

// Approvals implements admin.Approvals.
func (a approvals) Approvals() []admin.Approval {
	all := []admin.Approval{}
	for _, e := range a.authority.Approvals() {
		one := admin.Approval{ID: e.ID, State: e.State, User: e.User, Method: e.First, Factor: e.Factor, Since: e.Since, Session: e.Session, Waiting: e.Waiting}
		if e.Source.IsValid() {
			one.Source = e.Source.String()
		}
		if !e.Until.IsZero() {
			one.Until = &e.Until
		}
		all = append(all, one)
	}
	return all
}

// Forget implements admin.Approvals.
func (a approvals) Forget() { a.authority.ForgetApprovals() }

// Revoke implements admin.Approvals.
func (a approvals) Revoke(idOrUser string) (admin.Revoked, error) {
	n, err := a.authority.Revoke(idOrUser)
	if err != nil {
		return admin.Revoked{}, fmt.Errorf("%q: %w: %w", idOrUser, admin.ErrNotFound, err)
	}
	return admin.Revoked{Count: n}, nil
}

// follower reads events for the administration API.
type follower struct{ app *app }

// Follow implements admin.Events. The last event of this run ends it.
func (f follower) Follow(ctx context.Context, since time.Time, live bool, handle func(events.Event) error) error {
	end := errors.New("end")
	err := f.app.bus.Follow(ctx, bus.FollowOptions{Since: since, Live: live}, func(e events.Event) error {
		if err := handle(e); err != nil {
			return err
		}
		if _, last := e.Data.(*events.ServerStopped); last && f.app.stopping.Load() {
			return end
		}
		return nil
	})
	if errors.Is(err, end) {
		return nil
	}
	return err
}
