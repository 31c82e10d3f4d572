package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/approval"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// method is a plugin as an authentication method: it turns an attempt into fields for the
// sandbox, and what comes out into an answer.
type method struct {
	config    config.Authentication
	server    string // its name
	plugin    *sandbox.Plugin
	reach     *sandbox.Reach
	accounts  *account.Accounts
	approvers *approval.Approvers
	log       *slog.Logger
}

// Authenticate implements auth.Method.
func (m *method) Authenticate(ctx context.Context, a auth.Attempt) auth.Answer {
	check := &accountCheck{accounts: m.accounts, attempt: a}
	call := sandbox.Call{
		Fields: map[string]string{
			"user": a.User, "user.typed": a.Typed, "login": a.ID, "server": m.server, "timeout": milliseconds(m.config.Timeout), "service": a.Service, "service.kind": "ftps", "client.ip": clientIP(a), "client.port": clientPort(a),
		},
		Settings:     m.config.Settings,
		Password:     a.Password,
		SeesPassword: m.config.Password,
		Reach:        m.reach,
		Verify:       check.verify,
		Debug:        m.config.Debug,
		Log:          m.log.With("login", a.ID),
	}
	if a.First != nil {
		call.Ask = m.askApprover(a)
	}
	call.Approval = func(told sandbox.Approval) {
		call.Log.Info("approval", "state", told.State, "ref", told.Ref)
		if a.Request != nil {
			a.Request.Tell(approval.State(told.State))
		}
	}
	if a.Request != nil {
		call.Claim = func(ctx context.Context, person string) error {
			return a.Request.Claim(ctx, m.config.Plugin+" "+person)
		}
		call.Settle = true // the person is free for the next request when this one is taken back
	}
	if c := a.Certificate; c != nil {
		maps.Copy(call.Fields, map[string]string{
			"certificate.names": strings.Join(c.Names, "\n"), "certificate.subject": c.Subject, "certificate.issuer": c.Issuer,
			"certificate.serial": c.Serial, "certificate.sha256": c.SHA256,
		})
	}
	if a.Code != "" {
		call.Fields["code"] = a.Code
	}
	if a.First != nil {
		call.Fields["first.method"], call.Fields["first.email"] = a.First.Method, a.First.Email
		for name, value := range a.First.Attributes {
			call.Fields["first.attribute."+name] = value
		}
	}
	spoken := &lines{Handler: call.Log.Handler()}
	if a.Trial {
		call.Log = slog.New(spoken)
	}
	answer := m.ask(ctx, call, check)
	answer.Log = spoken.taken()
	return answer
}

func (m *method) ask(ctx context.Context, call sandbox.Call, check *accountCheck) auth.Answer {
	result, err := m.plugin.Run(ctx, call)
	var busy *approval.BusyError
	if errors.As(err, &busy) {
		return auth.Answer{Verdict: auth.Rejected, Reason: busy.Reason, Detail: "nobody was asked"}
	}
	if err != nil {
		healthy := check.err != nil || ctx.Err() != nil || errors.Is(err, sandbox.ErrFailed) || errors.Is(err, sandbox.ErrOverloaded)
		if !healthy {
			err = fmt.Errorf("%s: %w", filepath.Base(m.config.Plugin), err)
		}
		return auth.Answer{Verdict: auth.Failed, Reason: failure(errors.Join(check.err, err)), Detail: detail(check.err, err), Crashed: !healthy}
	}
	switch result.Verdict {
	case sdk.Accept:
		if check.attempt.First != nil { // a second factor: what follows was the first one's to say
			return auth.Answer{Verdict: auth.Accepted}
		}
		answer := m.accepted(ctx, call, result, check)
		answer.WrongGuess = check.wrong
		return answer
	case sdk.Reject:
		reason := result.Fields["reason"]
		if !slices.Contains(sdk.Reasons(), reason) {
			reason = "" // not a plugin's to say
		}
		return auth.Answer{Verdict: auth.Rejected, Reason: events.Reason(reason)}
	case sdk.Unknown:
		return auth.Answer{Verdict: auth.Unknown}
	case sdk.Fail:
	}
	return auth.Answer{}
}

// askApprover asks those who are enrolled to decide for the user.
func (m *method) askApprover(a auth.Attempt) func(ctx context.Context, prompt string) (bool, error) {
	tell := func(s approval.State) {
		if a.Request != nil {
			a.Request.Tell(s)
		}
	}
	return func(ctx context.Context, prompt string) (bool, error) {
		if m.approvers == nil { // sallyport check
			return false, sandbox.ErrNobody
		}
		who := approval.Asked{User: a.User, Service: a.Service, Prompt: prompt, Groups: a.First.Groups, Expires: time.Now().Add(m.config.Timeout)}
		if a.Peer.IsValid() {
			who.Peer = a.Peer.String()
		}
		if deadline, ok := ctx.Deadline(); ok {
			who.Expires = deadline
		}
		yes, err := m.approvers.Ask(ctx, who, func() { tell(approval.Requested) })
		switch {
		case errors.Is(err, approval.ErrNobody):
			return false, sandbox.ErrNobody
		case err == nil && yes:
			tell(approval.Approved)
		case err == nil:
			tell(approval.Denied)
		}
		return yes, err
	}
}

// lines keeps what a plugin logs, for whoever tries a login, and passes it on.
type lines struct {
	slog.Handler
	mu  sync.Mutex // an attempt that was given up may still log
	all []string
}

func (l *lines) taken() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

// Enabled implements slog.Handler.
func (*lines) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (l *lines) Handle(ctx context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "line" {
			l.all = append(l.all, a.Value.String())
		}
		return true
	})
	if !l.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}

// milliseconds is a duration as fields have it.
func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func clientIP(a auth.Attempt) string {
	if !a.Peer.IsValid() {
		return ""
	}
	return a.Peer.Addr().String()
}

func clientPort(a auth.Attempt) string {
	if !a.Peer.IsValid() {
		return ""
	}
	return strconv.Itoa(int(a.Peer.Port()))
}

// accountCheck answers a guest's verify("password") from the host's accounts.
type accountCheck struct {
	accounts *account.Accounts
	attempt  auth.Attempt
	right    *account.Account
	wrong    bool
	// mustChange: the password is right, and good for changing it only.
	mustChange bool
	err        error
}

func (c *accountCheck) verify(ctx context.Context, what string) (sandbox.Verified, error) {
	if what == "code" {
		return c.verifyCode(ctx)
	}
	c.right = nil
	switch {
	case c.attempt.Password.Empty() && c.attempt.First != nil: // a certificate in place of it; as a second factor that is not enough
		return sandbox.Verified{Code: sdk.VerifyWrong}, nil
	case c.attempt.Password.Empty(), c.accounts == nil: // or sallyport check
		return sandbox.Verified{Code: sdk.VerifyNotEnrolled}, nil
	}
	check, err := c.accounts.Verify(ctx, c.attempt.User, c.attempt.Peer.Addr(), c.attempt.Password)
	switch {
	case err != nil:
		c.err = err
		return sandbox.Verified{}, err
	case !check.Enrolled:
		return sandbox.Verified{Code: sdk.VerifyNotEnrolled, Reason: string(check.Reason)}, nil
	case !check.Right:
		c.wrong = true
		return sandbox.Verified{Code: sdk.VerifyWrong, Reason: string(check.Reason)}, nil
	}
	c.right, c.mustChange = &check.Account, check.MustChange
	return sandbox.Verified{
		Code:   sdk.VerifyRight,
		Fields: map[string]string{"name": check.Account.Name, "email": check.Account.Email, "home": check.Account.Home},
		Groups: check.Account.Groups,
	}, nil
}

// verifyCode checks the one-time code that was split off the password, and uses it up.
func (c *accountCheck) verifyCode(ctx context.Context) (sandbox.Verified, error) {
	if c.accounts == nil { // sallyport check
		return sandbox.Verified{Code: sdk.VerifyNotEnrolled}, nil
	}
	check, err := c.accounts.UseCode(ctx, c.attempt.User, c.attempt.Code)
	switch {
	case err != nil:
		c.err = err
		return sandbox.Verified{}, err
	case !check.Enrolled:
		return sandbox.Verified{Code: sdk.VerifyNotEnrolled, Reason: string(check.Reason)}, nil
	case !check.Right:
		return sandbox.Verified{Code: sdk.VerifyWrong, Reason: string(check.Reason)}, nil
	}
	return sandbox.Verified{Code: sdk.VerifyRight}, nil
}

// failure names why a method could not decide, from the closed list.
func failure(err error) events.Reason {
	switch {
	case errors.Is(err, account.ErrOverloaded), errors.Is(err, sandbox.ErrOverloaded):
		return events.Overloaded
	case errors.Is(err, account.ErrDamaged):
		return events.AccountDamaged
	case errors.Is(err, sandbox.ErrLimit):
		return events.MethodOverLimits
	}
	return events.MethodFailed
}

func detail(check, run error) string {
	if check != nil {
		return check.Error() // the plugin's "I failed" adds nothing
	}
	return run.Error()
}
