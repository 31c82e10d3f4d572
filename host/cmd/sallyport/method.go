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
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/approval"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// pluginKey: methods with the same plugin and limits share it.
type pluginKey struct {
	digest [sha256.Size]byte
	limits sandbox.Limits
}

// methods are the loaded plugins with their settings and grants.
type methods struct {
	plugins map[pluginKey]*sandbox.Plugin
	byID    map[string]*method
}

// loader loads plugins. What the methods before had already is taken from them.
type loader struct {
	runtime   *sandbox.Runtime
	accounts  *account.Accounts
	approvers *approval.Approvers
	log       *slog.Logger
	before    *methods
}

// load compiles the plugins side by side, and shows each method its settings.
func (l loader) load(ctx context.Context, c *config.Config) (_ *methods, err error) {
	m := &methods{plugins: map[pluginKey]*sandbox.Plugin{}, byID: map[string]*method{}}
	defer func() {
		if err != nil {
			m.close(ctx, l.before)
		}
	}()
	keys, modules, err := readPlugins(c)
	if err != nil {
		return nil, err
	}
	if err := l.compile(ctx, m, modules); err != nil {
		return nil, err
	}
	for i, one := range c.Authentications {
		if !one.Enabled {
			continue
		}
		plugin := m.plugins[keys[i]]
		if err := errors.Join(checkSettings(one, plugin.Description()), checkNeeds(one, plugin.Description(), isFirstFactor(c, one.ID))); err != nil {
			return nil, err
		}
		if err := tryCheck(ctx, c.Server.Name, one, plugin); err != nil {
			return nil, err
		}
		m.byID[one.ID] = &method{config: one, server: c.Server.Name, plugin: plugin, reach: l.runtime.NewReach(one.Grants, one.Limits), accounts: l.accounts, approvers: l.approvers, log: l.log.With("method", one.ID)}
	}
	return m, nil
}

// module is a plugin's file, and the method that first named it.
type module struct {
	wasm   []byte
	method config.Authentication
}

func readPlugins(c *config.Config) (keys []pluginKey, modules map[pluginKey]module, err error) {
	keys, modules = make([]pluginKey, len(c.Authentications)), map[pluginKey]module{}
	for i, one := range c.Authentications {
		if !one.Enabled {
			continue
		}
		wasm, err := readPlugin(one)
		if err != nil {
			return nil, nil, err
		}
		keys[i] = pluginKey{sha256.Sum256(wasm), one.Limits}
		if _, ok := modules[keys[i]]; !ok {
			modules[keys[i]] = module{wasm, one}
		}
	}
	return keys, modules, nil
}

func (l loader) compile(ctx context.Context, m *methods, modules map[pluginKey]module) error {
	var mu sync.Mutex
	var failed []error
	var loading sync.WaitGroup
	for key, one := range modules {
		loading.Go(func() {
			plugin, err := l.plugin(ctx, key, one)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, pluginError(one.method, err))
				return
			}
			m.plugins[key] = plugin
		})
	}
	loading.Wait()
	return errors.Join(failed...)
}

func (l loader) plugin(ctx context.Context, key pluginKey, one module) (*sandbox.Plugin, error) {
	if l.before != nil && l.before.plugins[key] != nil {
		return l.before.plugins[key], nil
	}
	return l.runtime.Load(ctx, one.wasm, one.method.Limits)
}

func pluginError(m config.Authentication, err error) error {
	return fmt.Errorf("authentication %q: plugin %s: %w", m.ID, m.Plugin, err)
}

// close frees what other methods do not use. It waits for attempts under way.
func (m *methods) close(ctx context.Context, others *methods) {
	for _, one := range m.byID {
		one.reach.Close()
	}
	for key, plugin := range m.plugins {
		if others == nil || others.plugins[key] != plugin {
			_ = plugin.Close(context.WithoutCancel(ctx))
		}
	}
}

// method returns a method; a disabled one is never asked, and fails if it were.
func (m *methods) method(id string) auth.Method {
	if one := m.byID[id]; one != nil {
		return one
	}
	return disabled{}
}

// usesCode reports whether the method checks one-time codes.
func (m *methods) usesCode(id string) bool {
	one := m.byID[id]
	return one != nil && one.plugin.Description().Needs.Code
}

type disabled struct{}

// Authenticate implements auth.Method.
func (disabled) Authenticate(context.Context, auth.Attempt) auth.Answer { return auth.Answer{} }

// checkSettings says where a setting is that the plugin does not have, or misses.
func checkSettings(c config.Authentication, d sandbox.Description) error {
	if name, err := d.CheckSettings(c.Settings); err != nil {
		return fmt.Errorf("%s: plugin %s %w", c.Where(name), c.Plugin, err)
	}
	return nil
}

// tryCheck asks a plugin that can tell whether its settings are right, with nothing granted.
func tryCheck(ctx context.Context, server string, c config.Authentication, plugin *sandbox.Plugin) error {
	if !plugin.Description().ChecksSettings {
		return nil
	}
	result, err := plugin.Run(ctx, sandbox.Call{Fields: map[string]string{"check": "settings", "server": server}, Settings: c.Settings, SeesPassword: c.Password})
	if err == nil && result.Verdict != sdk.Unknown {
		err = fmt.Errorf("it says %v of its settings", result.Verdict)
	}
	if err != nil {
		return fmt.Errorf("%s: authentication %q: %s", c.Where("settings"), c.ID, strings.TrimPrefix(err.Error(), sandbox.ErrFailed.Error()+": "))
	}
	return nil
}

// isFirstFactor reports whether some service asks the method first: then it says where its users go.
func isFirstFactor(c *config.Config, id string) bool {
	return slices.ContainsFunc(c.Services, func(s config.Service) bool { return slices.Contains(s.Authentications, id) })
}

// checkNeeds refuses a method whose plugin can't do its work without a grant that it does not have.
func checkNeeds(c config.Authentication, d sandbox.Description, firstFactor bool) error {
	http, err := missing(c, d.Needs.HTTP, c.Grants.HTTP, endpoint.HTTP())
	if err != nil {
		return err
	}
	network, err := missing(c, d.Needs.Network, c.Grants.Network, endpoint.Sockets())
	if err != nil {
		return err
	}
	var lines []string
	add := func(name string, urls []string) {
		if len(urls) > 0 {
			lines = append(lines, fmt.Sprintf("    %s = %s", name, hclList(urls)))
		}
	}
	if d.Needs.Password && !c.Password {
		lines = append(lines, "    password = true")
	}
	add("http", http)
	add("network", network)
	passwordTo, err := missing(c, d.Needs.PasswordTo, c.Grants.PasswordTo, endpoint.HTTP())
	if err != nil {
		return err
	}
	add("password_to", passwordTo)
	if d.Needs.Groups && firstFactor && len(c.Groups) == 0 {
		lines = append(lines, `    groups = ["default"]`)
	}
	var blocks []string
	if len(lines) > 0 {
		blocks = append(blocks, "  grant {\n"+strings.Join(lines, "\n")+"\n  }")
	}
	all, err := missing(c, d.Needs.HTTP, nil, endpoint.HTTP())
	if err != nil {
		return err
	}
	for _, name := range d.Needs.Secrets {
		if _, ok := c.Grants.Secrets[name]; !ok {
			blocks = append(blocks, fmt.Sprintf("  secret %q {\n    value = env(%q)\n    to    = %s\n  }", name, strings.ToUpper(name), hclList(all)))
		}
	}
	if len(blocks) == 0 {
		return nil
	}
	return fmt.Errorf("%s: plugin %s needs more than authentication %q grants; if you trust it so far, add or extend:\n\n%s", c.Where(""), c.Plugin, c.ID, strings.Join(blocks, "\n"))
}

func hclList(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = strconv.Quote(word)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// missing are the needed URLs that no grant covers.
func missing(c config.Authentication, needs []string, granted []endpoint.Endpoint, schemes []string) (urls []string, err error) {
	all, err := sandbox.Needs{}.Endpoints(needs, c.Settings, schemes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Where("settings"), err)
	}
	for _, e := range all {
		if !slices.ContainsFunc(granted, func(g endpoint.Endpoint) bool { return g.Covers(e) }) {
			urls = append(urls, e.String())
		}
	}
	return urls, nil
}

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
			"user": a.User, "user.typed": a.Typed, "login": a.ID, "server": m.server, "service": a.Service, "service.kind": "ftps", "client.ip": clientIP(a), "client.port": clientPort(a),
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
		if a.Tell != nil {
			a.Tell(approval.State(told.State))
		}
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
		return auth.Answer{Verdict: auth.Rejected, Reason: events.Reason(result.Fields["reason"])}
	case sdk.Unknown:
		return auth.Answer{Verdict: auth.Unknown}
	case sdk.Fail:
	}
	return auth.Answer{}
}

// askApprover asks those who are enrolled to decide for the user.
func (m *method) askApprover(a auth.Attempt) func(ctx context.Context, prompt string) (bool, error) {
	tell := func(s approval.State) {
		if a.Tell != nil {
			a.Tell(s)
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
	err      error
}

func (c *accountCheck) verify(ctx context.Context, what string) (sandbox.Verified, error) {
	if what == "code" {
		return c.verifyCode(ctx)
	}
	c.right = nil
	if c.accounts == nil { // sallyport check
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
	c.right = &check.Account
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

// accepted makes the grant: of the host's own account if its password was verified or the plugin may
// log its users in as it, else of what the plugin set, as far as the administrator granted that.
func (m *method) accepted(ctx context.Context, call sandbox.Call, result sandbox.Result, check *accountCheck) auth.Answer {
	if result.Verified && check.right != nil {
		return auth.Answer{Verdict: auth.Accepted, Grant: ofAccount(*check.right)}
	}
	fields := said(result.Fields)
	if name := fields.holding(m.plugin, call); name != "" { // it would come to logs and events
		return auth.Answer{Verdict: auth.Failed, Reason: events.MethodFailed, Detail: "the plugin puts a secret into " + name}
	}
	layer, err := fields.layer()
	if err != nil {
		return auth.Answer{Verdict: auth.Failed, Reason: events.MethodFailed, Detail: err.Error()}
	}
	if name := fields["account.name"]; slices.Contains(m.config.Accounts, name) {
		return m.mapped(ctx, name, layer)
	}
	answer := auth.Answer{Verdict: auth.Accepted, Grant: auth.Grant{Email: fields["account.email"], Attributes: fields.attributes(), Access: policy.Access{layer}}}
	ignore := func(field string) {
		answer.Ignored = append(answer.Ignored, field)
		m.log.Warn("the plugin said a field that no grant covers", "field", field)
	}
	if fields["account.name"] != "" {
		ignore("account.name")
	}
	if answer.Grant.Groups = m.groups(fields["account.groups"]); len(answer.Grant.Groups) == 0 {
		return m.withoutGroup(fields)
	}
	if err := m.place(fields, &answer.Grant, ignore); err != nil {
		return auth.Answer{Verdict: auth.Failed, Reason: events.HomeUnavailable, Detail: err.Error()}
	}
	return answer
}

// withoutGroup refuses a user whom no granted group says where to go.
func (m *method) withoutGroup(fields said) auth.Answer {
	answer := auth.Answer{Verdict: auth.Rejected, Reason: events.GroupNotAllowed}
	switch name, groups := fields["account.name"], fields["account.groups"]; {
	case name != "":
		answer.Detail = fmt.Sprintf("the plugin lets the user in as the account %q; grant { accounts } has %q", name, m.config.Accounts)
	case groups != "":
		answer.Detail = fmt.Sprintf("the plugin puts the user into %q; grant { groups } has %q", groups, m.config.Groups)
	default:
		answer.Detail = "the user has no account here, and grant { groups = [...] } of the method says no group for its users"
	}
	return answer
}

// place takes the home and the virtual folders that the plugin said. Where the administrator said below which folder they
// may be, one outside of it is an error: in the group's home somebody else of this name may be.
func (m *method) place(fields said, grant *auth.Grant, ignore func(field string)) (err error) {
	folders, err := policy.ParseVirtualFolders(fields["account.folders"])
	if err != nil {
		return fmt.Errorf("account.folders: %w", err)
	}
	if grant.Structure, err = policy.ParseStructure(fields["account.structure"]); err != nil {
		return fmt.Errorf("account.structure: %w", err)
	}
	home := fields["account.home"]
	if m.config.HomeUnder == "" {
		if home != "" {
			ignore("account.home")
		}
		if len(folders) > 0 {
			ignore("account.folders")
		}
		home, folders = "", nil
	}
	if home != "" && !below(home, m.config.HomeUnder) {
		return fmt.Errorf("the plugin says the home folder %q, which is not below home_under = %q", home, m.config.HomeUnder)
	}
	for _, v := range folders {
		if !below(v.Real, m.config.HomeUnder) {
			return fmt.Errorf("the plugin says the virtual folder %q at %q, which is not below home_under = %q", v.Path, v.Real, m.config.HomeUnder)
		}
	}
	grant.Home, grant.Folders = home, folders
	if create := fields.createHome(); create != nil && (!*create || home != "") { // elsewhere only the group says that one is made
		grant.CreateHome = create
	}
	return nil
}

// ofAccount is what an account of the host gives.
func ofAccount(a account.Account) auth.Grant {
	return auth.Grant{Groups: a.Groups, Email: a.Email, Home: a.Home, Access: policy.FullAccess()}
}

// mapped lets the plugin's users in as an account of the host, with what the plugin narrows.
func (m *method) mapped(ctx context.Context, name string, layer policy.Layer) auth.Answer {
	if m.accounts == nil { // sallyport check
		return auth.Answer{Verdict: auth.Failed, Reason: events.MethodFailed, Detail: "accounts can't be read here"}
	}
	a, err := m.accounts.Get(ctx, name)
	switch {
	case err != nil:
		return auth.Answer{Verdict: auth.Failed, Reason: events.MethodFailed, Detail: "grant { accounts }: " + err.Error()}
	case !a.Enabled:
		return auth.Answer{Verdict: auth.Rejected, Reason: events.AccountDisabled, Detail: "account " + name}
	}
	grant := ofAccount(a)
	grant.Account, grant.Access = name, grant.Access.Narrow(layer)
	return auth.Answer{Verdict: auth.Accepted, Grant: grant}
}

// said are the fields that a plugin set.
type said map[string]string

// layer is what the plugin's users may do with files. It only narrows: the group's layer counts too.
func (s said) layer() (policy.Layer, error) {
	layer := policy.Layer{General: policy.FullControl}
	var err error
	if text, ok := s["account.permissions"]; ok {
		if layer.General, err = policy.ParsePermissions(policy.SplitWords(text)); err != nil {
			return layer, fmt.Errorf("account.permissions: %w", err)
		}
	}
	if layer.Rules, err = policy.ParseRules(s["account.rules"]); err != nil {
		return layer, fmt.Errorf("account.rules: %w", err)
	}
	return layer, nil
}

// holding names a field in which there is a secret.
func (s said) holding(plugin *sandbox.Plugin, call sandbox.Call) string {
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if strings.HasPrefix(key, "account.") && plugin.HoldsSecret(call, s[key]) {
			return key
		}
	}
	return ""
}

func (s said) attributes() map[string]string {
	var attributes map[string]string
	for key, value := range s {
		if name, ok := strings.CutPrefix(key, "account.attribute."); ok {
			if attributes == nil {
				attributes = map[string]string{}
			}
			attributes[name] = value
		}
	}
	return attributes
}

func (s said) createHome() *bool {
	switch s["account.create_home"] {
	case "true":
		return new(true)
	case "false":
		return new(false)
	}
	return nil
}

// groups are those that the plugin named and may; if it named none, the first that it may.
func (m *method) groups(named string) []string {
	if named == "" {
		return m.config.Groups[:min(1, len(m.config.Groups))]
	}
	var granted []string
	for _, group := range policy.SplitWords(named) {
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

// homes fills in what the group of a login says.
type homes struct{ config func() *config.Config }

// Complete implements auth.Homes. Whom no account and no granted group says where to go is refused:
// the alice of a plugin is not the local one.
func (h homes) Complete(g auth.Grant) (auth.Grant, error) {
	if len(g.Groups) == 0 {
		return g, fmt.Errorf("method %s accepted a user who has no account here, and may put nobody into a group: grant { groups = [...] } decides where such users go", g.Method)
	}
	group, ok := h.config().Group(g.Groups[0])
	if !ok {
		return g, fmt.Errorf("group %q is not in the configuration", g.Groups[0])
	}
	g.Access = g.Access.Narrow(policy.Layer{General: group.Permissions, Rules: group.Rules})
	fill := func(folder string) (string, error) {
		if !strings.Contains(folder, "{username}") {
			return folder, nil
		}
		name := g.User
		if g.Account != "" { // else whoever is let in as it would be in the folder of the name that was typed
			name = g.Account
		}
		return strings.ReplaceAll(folder, "{username}", name), policy.PathElement(name)
	}
	private := config.PrivateDir(h.config().Server.DataDir)
	var err error
	if g.Home == "" {
		if g.Home, err = fill(group.Home); err != nil {
			return g, err
		}
	}
	if err := policy.HomeApart(g.Home, private); err != nil {
		return g, fmt.Errorf("home folder %w", err)
	}
	if g.CreateHome == nil {
		g.CreateHome = &group.CreateHome
	}
	for _, v := range group.Folders { // behind the plugin's, which stay where both have the same path
		if slices.ContainsFunc(g.Folders, func(other policy.VirtualFolder) bool { return other.Path == v.Path }) {
			continue
		}
		if v.Real, err = fill(v.Real); err != nil {
			return g, err
		}
		g.Folders = append(slices.Clone(g.Folders), v)
	}
	for _, v := range g.Folders {
		if err := policy.HomeApart(v.Real, private); err != nil {
			return g, fmt.Errorf("virtual folder %w", err)
		}
	}
	return g, nil
}
