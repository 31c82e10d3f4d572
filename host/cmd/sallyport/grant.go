package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
)

// accepted makes the grant: of the host's own account if its password was verified or the plugin may
// log its users in as it, else of what the plugin set, as far as the administrator granted that.
func (m *method) accepted(ctx context.Context, call sandbox.Call, result sandbox.Result, check *accountCheck) auth.Answer {
	if result.Verified && check.right != nil {
		grant := ofAccount(*check.right)
		grant.Own, grant.MustChange = check.right.Name, check.mustChange
		return auth.Answer{Verdict: auth.Accepted, Grant: grant}
	}
	fields := said(result.Fields)
	if name := fields.holding(m.plugin, call); name != "" { // it would come to logs and events
		return auth.Answer{Verdict: auth.Failed, Reason: events.MethodFailed, Detail: "the plugin puts a secret into " + name}
	}
	layer, err := fields.layer()
	if err != nil {
		return auth.Answer{Verdict: auth.Failed, Reason: events.MethodFailed, Detail: err.Error()}
	}
	if name := fields["account.name"]; name != "" && (slices.Contains(m.config.Accounts, name) || slices.Contains(m.config.Accounts, config.AnyAccount)) {
		return m.mapped(ctx, name, check.attempt.Peer.Addr(), layer)
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
	grant := auth.Grant{Groups: a.Groups, Email: a.Email, Home: a.Home, Attributes: a.Attributes, SecondFactors: a.SecondFactors, Limits: a.Limits, Access: policy.FullAccess()}
	if len(a.Permissions) > 0 {
		general, err := policy.ParsePermissions(a.Permissions)
		if err != nil { // of another version: nothing then
			general = 0
		}
		grant.Access = grant.Access.Narrow(policy.Layer{General: general})
	}
	return grant
}

// mapped lets the plugin's users in as an account of the host, with what the plugin narrows.
func (m *method) mapped(ctx context.Context, name string, source netip.Addr, layer policy.Layer) auth.Answer {
	if m.accounts == nil { // sallyport check
		return auth.Answer{Verdict: auth.Failed, Reason: events.MethodFailed, Detail: "accounts can't be read here"}
	}
	a, err := m.accounts.Get(ctx, name)
	if errors.Is(err, account.ErrNotFound) && !slices.Contains(m.config.Accounts, name) { // one of all: as unknown as to any other method
		return auth.Answer{Verdict: auth.Unknown}
	}
	if err != nil {
		return auth.Answer{Verdict: auth.Failed, Reason: events.MethodFailed, Detail: "grant { accounts }: " + err.Error()}
	}
	if reason := a.Refusal(time.Now(), source); reason != "" {
		return auth.Answer{Verdict: auth.Rejected, Reason: reason, Detail: "account " + name}
	}
	grant := ofAccount(a)
	if slices.Contains(grant.SecondFactors, policy.NoFactor) {
		grant.SecondFactors = nil // that is for who knows the account's password
	}
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
	g.Limits = g.Limits.Or(group.Limits)
	if g.MustChange {
		g.Access = g.Access.Narrow(policy.Layer{}) // nothing
	}
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
