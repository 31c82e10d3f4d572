package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdknet"
)

// directory is a connection to one server.
type directory struct {
	*ldap.Conn
	attempt  sdk.Attempt
	settings settings
	user     string
}

// ask asks one server. An error says nothing of the user.
func ask(a sdk.Attempt, s settings, server, password string) (sdk.Verdict, error) {
	conn, err := sdknet.Dial(a, server)
	if err != nil {
		return sdk.Fail, err
	}
	if s.StartTLS && !encrypted(server) {
		if err := startTLS(conn); err != nil {
			return sdk.Fail, fmt.Errorf("start_tls: %w", err)
		}
	}
	d := directory{ldap.NewConn(conn, false), a, s, a.User()}
	d.SetTimeout(s.Timeout)
	d.Start()
	defer func() { _ = d.Close() }()
	return d.authenticate(a, password)
}

// authenticate searches the user first if that can be done: only so an unknown user can be told from a
// wrong password.
func (d directory) authenticate(a sdk.Attempt, password string) (sdk.Verdict, error) {
	s := d.settings
	searches := s.Template == "" || s.BindDN != ""
	name := strings.ReplaceAll(s.Template, "{username}", ldap.EscapeDN(d.user))
	var entry *ldap.Entry
	var groups []string
	var err error
	if searches {
		if entry, groups, err = d.lookUp(); err != nil || entry == nil {
			return sdk.Unknown, err
		}
		if name == "" {
			name = entry.DN
		} else if !sameEntry(name, entry.DN) {
			return sdk.Fail, ldap.NewError(ldap.LDAPResultOther, fmt.Errorf("bind_dn_template makes %q, and the search finds %q: they must be one entry", name, entry.DN))
		}
	}
	if reason, unknown, err := d.bindUser(name, password); err != nil || unknown {
		return sdk.Unknown, err
	} else if reason != "" {
		return a.Reject(reason), nil
	}
	if !searches {
		if entry, groups, err = d.readOwn(name); err != nil {
			return sdk.Fail, err
		}
		if entry == nil { // the filter does not let this user in
			return a.Reject("rejected"), nil
		}
	}
	return d.accept(a, entry, groups), nil
}

// sameEntry compares two names. One that is no DN, such as a user principal name, may be of any entry.
func sameEntry(template, found string) bool {
	a, err := ldap.ParseDN(template)
	if err != nil {
		return true
	}
	b, err := ldap.ParseDN(found)
	return err == nil && a.EqualFold(b)
}

// lookUp finds the user with the service account. No entry: nobody of that name.
func (d directory) lookUp() (*ldap.Entry, []string, error) {
	if d.settings.BindDN != "" {
		if err := d.Bind(d.settings.BindDN, d.settings.BindPassword); err != nil {
			return nil, nil, fmt.Errorf("the service account bind_dn: %w", err)
		}
	}
	entry, err := d.searchUser(d.settings.BaseDN, ldap.ScopeWholeSubtree)
	if err != nil || entry == nil {
		return nil, nil, err
	}
	groups, err := d.groups(entry)
	return entry, groups, err
}

// readOwn reads the entry with the rights of the user, who has just bound.
func (d directory) readOwn(name string) (entry *ldap.Entry, groups []string, err error) {
	if d.settings.BaseDN != "" {
		entry, err = d.searchUser(d.settings.BaseDN, ldap.ScopeWholeSubtree)
	} else {
		entry, err = d.search(name, ldap.ScopeBaseObject, "(objectClass=*)")
	}
	if err != nil || entry == nil {
		return nil, nil, err
	}
	groups, err = d.groups(entry)
	return entry, groups, err
}

func (d directory) searchUser(base string, scope int) (*ldap.Entry, error) {
	return d.search(base, scope, strings.ReplaceAll(d.settings.UserFilter, "{username}", ldap.EscapeFilter(d.user)))
}

// search finds one entry or none. Several are an error: which of them is the user? Referrals are not followed.
func (d directory) search(base string, scope int, filter string) (*ldap.Entry, error) {
	s := d.settings
	wanted := []string{s.GroupAttribute, s.EmailAttribute}
	if s.HomeAttribute != "" {
		wanted = append(wanted, s.HomeAttribute)
	}
	for _, attribute := range s.attributes {
		wanted = append(wanted, attribute)
	}
	slices.Sort(wanted)
	result, err := d.Search(ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, 2, int(s.Timeout.Seconds()), false, filter, slices.Compact(wanted), nil))
	d.debug("search in %q for %s: %s", base, filter, outcome(result, err))
	if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) && scope == ldap.ScopeBaseObject {
		return nil, nil
	}
	if ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) || err == nil && len(result.Entries) > 1 {
		return nil, ldap.NewError(ldap.LDAPResultSizeLimitExceeded, errors.New("several entries have this name: make user_filter or base_dn narrower"))
	}
	if err != nil {
		return nil, fmt.Errorf("search in %s: %w", base, err)
	}
	if len(result.Entries) == 0 {
		return nil, nil
	}
	if result.Entries[0].DN == "" { // a bind with it would be anonymous, and succeed
		return nil, ldap.NewError(ldap.LDAPResultProtocolError, errors.New("the entry has no DN"))
	}
	return result.Entries[0], nil
}

// groups are the names and DNs of the groups that the user is in, as the directory says.
func (d directory) groups(entry *ldap.Entry) (names []string, err error) {
	add := func(dn string) {
		names = append(names, dn)
		if parsed, err := ldap.ParseDN(dn); err == nil && len(parsed.RDNs) > 0 {
			names = append(names, parsed.RDNs[0].Attributes[0].Value)
		}
	}
	for _, dn := range entry.GetAttributeValues(d.settings.GroupAttribute) {
		add(dn)
	}
	if d.settings.GroupBaseDN == "" {
		return names, nil
	}
	filter := strings.NewReplacer("{dn}", ldap.EscapeFilter(entry.DN), "{username}", ldap.EscapeFilter(d.user)).Replace(d.settings.GroupFilter)
	result, err := d.Search(ldap.NewSearchRequest(d.settings.GroupBaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, int(d.settings.Timeout.Seconds()), false, filter, []string{"1.1"}, nil))
	if err != nil {
		return nil, fmt.Errorf("search for groups in %s: %w", d.settings.GroupBaseDN, err)
	}
	for _, group := range result.Entries {
		add(group.DN)
	}
	return names, nil
}

// debug is for "debug = true".
func (d directory) debug(format string, args ...any) {
	d.attempt.Log(sdk.Debug, fmt.Sprintf(format, args...))
}

func outcome(result *ldap.SearchResult, err error) string {
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%d entries", len(result.Entries))
	for _, entry := range result.Entries {
		text += ", " + entry.DN
	}
	return text
}

// bindUser tries the password. Neither a reason nor an error: it is right.
func (d directory) bindUser(name, password string) (reason string, unknown bool, err error) {
	request := ldap.NewSimpleBindRequest(name, password, []ldap.Control{ldap.NewControlBeheraPasswordPolicy()})
	result, err := d.SimpleBind(request)
	if err != nil {
		d.debug("bind as %q: %v", name, err)
	} else {
		d.debug("bind as %q: accepted", name)
	}
	var controls []ldap.Control
	if result != nil {
		controls = result.Controls
	}
	if err == nil { // it may be right and yet not good enough: expired, with some more logins to change it
		reason, _ = rejection(&ldap.Error{Err: errors.New("")}, controls)
		return reason, false, nil
	}
	var answer *ldap.Error
	if !errors.As(err, &answer) {
		return "", false, err
	}
	if reason, unknown = rejection(answer, controls); reason != "" || unknown {
		return reason, unknown, nil
	}
	return "", false, fmt.Errorf("bind as the user: %w", err)
}

// accept says what the directory knows of the user.
func (d directory) accept(a sdk.Attempt, entry *ldap.Entry, groups []string) sdk.Verdict {
	s := d.settings
	d.debug("groups: %q", groups)
	if len(s.AllowedGroups) > 0 && !slices.ContainsFunc(s.AllowedGroups, func(allowed string) bool {
		return slices.ContainsFunc(groups, func(group string) bool { return strings.EqualFold(group, allowed) })
	}) {
		return a.Reject("group_not_allowed")
	}
	account := sdk.Account{Groups: s.groups.Groups(groups), Email: entry.GetAttributeValue(s.EmailAttribute)}
	if len(s.groups) > 0 && len(account.Groups) == 0 {
		a.Log(sdk.Info, "none of the user's groups is in group_map")
		return a.Reject("group_not_allowed")
	}
	if s.HomeAttribute != "" {
		homes := entry.GetAttributeValues(s.HomeAttribute)
		if len(homes) != 1 || homes[0] == "" {
			return a.Fail(fmt.Sprintf("the entry has %d values of %s, one is needed", len(homes), s.HomeAttribute))
		}
		account.Home = strings.ReplaceAll(s.HomeTemplate, "{home}", homes[0])
	}
	account.Attributes = map[string]string{}
	for name, attribute := range s.attributes {
		if value := entry.GetAttributeValue(attribute); value != "" {
			account.Attributes[name] = value
		}
	}
	if err := a.SetAccount(account); err != nil {
		return a.Fail(err.Error())
	}
	return sdk.Accept
}

// startTLS sends the extended request (RFC 4511, section 4.14) before the library has the connection,
// and reads its answer to the last byte and no further.
func startTLS(conn *sdknet.Conn) error {
	request := append([]byte{0x30, 0x1d, 0x02, 0x01, 0x01, 0x77, 0x18, 0x80, 0x16}, "1.3.6.1.4.1.1466.20037"...)
	if _, err := conn.Write(request); err != nil {
		return err
	}
	answer, err := ber.ReadPacket(conn)
	if err != nil {
		return err
	}
	if err := ldap.GetLDAPError(answer); err != nil {
		return err
	}
	return conn.StartTLS("")
}
