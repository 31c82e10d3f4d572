package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// methods are the loaded plugins with their settings and grants.
type methods struct {
	runtime *sandbox.Runtime
	byID    map[string]*method
}

// loadMethods compiles each plugin once and shows it its settings.
func loadMethods(ctx context.Context, c *config.Config, cache string, accounts *account.Accounts, log *slog.Logger) (*methods, error) {
	runtime, err := sandbox.New(ctx, cache, sandbox.DefaultLimits())
	if err != nil {
		return nil, err
	}
	m := &methods{runtime: runtime, byID: map[string]*method{}}
	loaded := map[[sha256.Size]byte]*sandbox.Plugin{}
	for _, one := range c.Authentications {
		if !one.Enabled {
			continue
		}
		wasm, err := readPlugin(one)
		if err != nil {
			m.close(ctx)
			return nil, err
		}
		digest := sha256.Sum256(wasm)
		if loaded[digest] == nil {
			if loaded[digest], err = runtime.Load(ctx, wasm); err != nil {
				m.close(ctx)
				return nil, fmt.Errorf("authentication %q: plugin %s: %w", one.ID, one.Plugin, err)
			}
		}
		if err := checkSettings(one, loaded[digest].Description()); err != nil {
			m.close(ctx)
			return nil, err
		}
		m.byID[one.ID] = &method{config: one, plugin: loaded[digest], accounts: accounts, log: log.With("method", one.ID)}
	}
	return m, nil
}

func (m *methods) close(ctx context.Context) { _ = m.runtime.Close(ctx) }

// method returns a method; a disabled one is never asked, and fails if it were.
func (m *methods) method(id string) auth.Method {
	if one := m.byID[id]; one != nil {
		return one
	}
	return disabled{}
}

type disabled struct{}

// Authenticate implements auth.Method.
func (disabled) Authenticate(context.Context, auth.Attempt) auth.Answer { return auth.Answer{} }

// checkSettings compares settings = { ... } with what the plugin says that it has.
func checkSettings(c config.Authentication, d sandbox.Description) error {
	if d.Settings == nil {
		return nil
	}
	names := slices.Sorted(maps.Keys(d.Settings))
	for _, name := range slices.Sorted(maps.Keys(c.Settings)) {
		setting, ok := d.Settings[name]
		if !ok {
			return fmt.Errorf("%s: plugin %s has no setting %q; it has %q", c.Where(name), c.Plugin, name, names)
		}
		if !fits(c.Settings[name], setting.Type) {
			return fmt.Errorf("%s: setting %q of plugin %s must be a %s", c.Where(name), name, c.Plugin, setting.Type)
		}
	}
	for _, name := range names {
		if _, ok := c.Settings[name]; d.Settings[name].Required && !ok {
			return fmt.Errorf("%s: plugin %s needs the setting %q", c.Where(name), c.Plugin, name)
		}
	}
	return nil
}

func fits(value any, t sdk.SettingType) bool {
	switch v := value.(type) {
	case string:
		return t == sdk.String
	case bool:
		return t == sdk.Bool
	case float64:
		return t == sdk.Number
	case []any:
		return t == sdk.List && !slices.ContainsFunc(v, func(e any) bool { _, ok := e.(string); return !ok })
	case map[string]any:
		for _, e := range v {
			if _, ok := e.(string); !ok {
				return false
			}
		}
		return t == sdk.Map
	}
	return false
}

// method is a plugin as an authentication method: it turns an attempt into fields for the
// sandbox, and what comes out into an answer.
type method struct {
	config   config.Authentication
	plugin   *sandbox.Plugin
	accounts *account.Accounts
	log      *slog.Logger
}

// Authenticate implements auth.Method.
func (m *method) Authenticate(ctx context.Context, a auth.Attempt) auth.Answer {
	check := &accountCheck{accounts: m.accounts, attempt: a}
	call := sandbox.Call{
		Fields: map[string]string{
			"user": a.User, "user.typed": a.Typed, "service": a.Service, "service.kind": "ftps", "client.ip": clientIP(a),
		},
		Settings:     m.config.Settings,
		Password:     a.Password,
		SeesPassword: m.config.Password,
		Verify:       check.verify,
		Log:          m.log.With("login", a.ID),
	}
	said := &lines{Handler: call.Log.Handler()}
	if a.Trial {
		call.Log = slog.New(said)
	}
	answer := m.ask(ctx, call, check)
	answer.Log = said.all
	return answer
}

func (m *method) ask(ctx context.Context, call sandbox.Call, check *accountCheck) auth.Answer {
	result, err := m.plugin.Run(ctx, call)
	if err != nil {
		return auth.Answer{Verdict: auth.Failed, Reason: failure(errors.Join(check.err, err)), Detail: detail(check.err, err)}
	}
	switch result.Verdict {
	case sdk.Accept:
		return m.accepted(result, check)
	case sdk.Reject:
		return auth.Answer{Verdict: auth.Rejected, Reason: events.Reason(result.Fields["reason"])}
	case sdk.Unknown:
		return auth.Answer{Verdict: auth.Unknown}
	case sdk.Fail:
	}
	return auth.Answer{}
}

// lines keeps what a plugin logs, for whoever tries a login, and passes it on.
type lines struct {
	slog.Handler
	all []string
}

// Enabled implements slog.Handler.
func (*lines) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (l *lines) Handle(ctx context.Context, r slog.Record) error {
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

func clientIP(a auth.Attempt) string {
	if !a.Peer.IsValid() {
		return ""
	}
	return a.Peer.Addr().String()
}

// accountCheck answers a guest's verify("password") from the host's accounts.
type accountCheck struct {
	accounts *account.Accounts
	attempt  auth.Attempt
	right    *account.Account
	err      error
}

func (c *accountCheck) verify(ctx context.Context, _ string) (sandbox.Verified, error) {
	c.right = nil
	check, err := c.accounts.Verify(ctx, c.attempt.User, c.attempt.Peer.Addr(), c.attempt.Password)
	switch {
	case err != nil:
		c.err = err
		return sandbox.Verified{}, err
	case !check.Enrolled:
		return sandbox.Verified{Code: sdk.VerifyNotEnrolled, Reason: string(check.Reason)}, nil
	case !check.Right:
		return sandbox.Verified{Code: sdk.VerifyWrong, Reason: string(check.Reason)}, nil
	}
	c.right = &check.Account
	return sandbox.Verified{
		Code:   sdk.VerifyRight,
		Fields: map[string]string{"name": check.Account.Name, "email": check.Account.Email, "home": check.Account.Home},
		Groups: check.Account.Groups,
	}, nil
}

// failure names why a method could not decide, from the closed list.
func failure(err error) events.Reason {
	switch {
	case errors.Is(err, account.ErrOverloaded):
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

// accepted makes the grant: of the host's own account if its password was verified, else of what
// the plugin set, as far as the administrator granted that.
func (m *method) accepted(result sandbox.Result, check *accountCheck) auth.Answer {
	if result.Verified && check.right != nil {
		a := check.right
		return auth.Answer{Verdict: auth.Accepted, Grant: auth.Grant{Groups: a.Groups, Email: a.Email, Home: a.Home, Permissions: policy.FullControl}}
	}
	answer := auth.Answer{Verdict: auth.Accepted, Grant: auth.Grant{Permissions: policy.FullControl, Email: result.Fields["account.email"]}}
	answer.Grant.Groups = m.groups(result.Fields["account.groups"])
	if len(answer.Grant.Groups) == 0 && result.Fields["account.groups"] != "" {
		answer.Ignored = append(answer.Ignored, "account.groups")
	}
	if home := result.Fields["account.home"]; home != "" {
		if below(home, m.config.HomeUnder) {
			answer.Grant.Home = home
		} else {
			answer.Ignored = append(answer.Ignored, "account.home")
		}
	}
	if text, ok := result.Fields["account.permissions"]; ok {
		permissions, err := policy.ParsePermissions(words(text))
		if err != nil {
			return auth.Answer{Verdict: auth.Failed, Reason: events.MethodFailed, Detail: "account.permissions: " + err.Error()}
		}
		answer.Grant.Permissions = permissions // only narrows: the group's are intersected with it
	}
	return answer
}

// groups are those that the plugin named and may; if it named none, the first that it may.
func (m *method) groups(named string) []string {
	if named == "" {
		return m.config.Groups[:min(1, len(m.config.Groups))]
	}
	var granted []string
	for _, group := range words(named) {
		if slices.Contains(m.config.Groups, group) {
			granted = append(granted, group)
		}
	}
	return granted
}

// below reports whether home is a clean path strictly below the granted folder.
func below(home, folder string) bool {
	return folder != "" && filepath.IsAbs(home) && filepath.Clean(home) == home && home != folder && policy.Within(home, folder)
}

func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
}

// homes fills in what the group of a login says.
type homes struct{ config *config.Config }

// Complete implements auth.Homes. Whom no account and no granted group says where to go is refused:
// the alice of a plugin is not the local one.
func (h homes) Complete(g auth.Grant) (auth.Grant, error) {
	if len(g.Groups) == 0 {
		return g, fmt.Errorf("method %s accepted a user who has no account here, and may put nobody into a group: grant { groups = [...] } decides where such users go", g.Method)
	}
	group, ok := h.config.Group(g.Groups[0])
	if !ok {
		return g, fmt.Errorf("group %q is not in the configuration", g.Groups[0])
	}
	g.Permissions &= group.Permissions
	if g.Home == "" {
		if strings.Contains(group.Home, "{username}") {
			if err := policy.PathElement(g.User); err != nil {
				return g, err
			}
		}
		g.Home = strings.ReplaceAll(group.Home, "{username}", g.User)
	}
	if err := policy.HomeApart(g.Home, config.PrivateDir(h.config.Server.DataDir)); err != nil {
		return g, fmt.Errorf("home folder %w", err)
	}
	return g, nil
}
