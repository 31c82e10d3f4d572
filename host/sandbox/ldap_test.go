package sandbox_test

import (
	"fmt"
	"maps"
	"net"
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/plugins/ldap/slapdtest"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// The bundled LDAP method against a real directory, through sockets of the sandbox.
func TestLDAP(t *testing.T) {
	server := slapdtest.Start(t)
	wasm, err := buildGuest(t.TempDir(), "../../plugins/ldap")
	if err != nil {
		t.Fatal(err)
	}
	r := newRuntime(t)
	p := loadOn(t, r, wasm, patient)
	down, hanging := closedAddress(t), hangingAddress(t)
	search := map[string]any{"servers": []any{server.Secured}, "base_dn": slapdtest.Base, "bind_dn": slapdtest.ServiceDN, "bind_password": slapdtest.ServicePassword}
	template := map[string]any{"servers": []any{server.Secured}, "bind_dn_template": "uid={username},ou=people," + slapdtest.Base}
	with := func(base map[string]any, more ...any) map[string]any {
		settings := maps.Clone(base)
		for i := 0; i < len(more); i += 2 {
			settings[more[i].(string)] = more[i+1]
		}
		return settings
	}
	for name, c := range map[string]struct {
		settings map[string]any
		user     string
		password string // empty: the right one
		want     sdk.Verdict
		fields   string // reason, or account.* as "name=value"
	}{
		"search":                        {search, "alice", "", sdk.Accept, "email=alice@example.org"},
		"search, wrong password":        {search, "alice", "guess", sdk.Reject, "wrong_password"},
		"search, nobody":                {search, "nobody", "", sdk.Unknown, ""},
		"search, several":               {search, "twin", "", sdk.Fail, ""},
		"search, wrong service account": {with(search, "bind_password", "wrong"), "alice", "", sdk.Fail, ""},
		"search, nobody may":            {with(search, "bind_dn", "", "bind_password", ""), "alice", "", sdk.Fail, ""},
		"template":                      {template, "alice", "", sdk.Accept, "email=alice@example.org"},
		"template, wrong password":      {template, "alice", "guess", sdk.Reject, "wrong_password"},
		"template, nobody":              {template, "nobody", "", sdk.Reject, "wrong_password"}, // the server does not tell
		"template and service account":  {with(search, "bind_dn_template", template["bind_dn_template"]), "nobody", "", sdk.Unknown, ""},
		"start_tls":                     {with(search, "servers", []any{server.Plain}, "start_tls", true), "alice", "", sdk.Accept, ""},
		"plain":                         {with(search, "servers", []any{server.Plain}, "plain", true), "alice", "", sdk.Accept, ""},
		"plain, not said":               {with(search, "servers", []any{server.Plain}), "alice", "", sdk.Fail, ""},
		"first server down":             {with(search, "servers", []any{"ldaps://" + down, server.Secured}), "alice", "", sdk.Accept, ""},
		"first server hangs":            {with(search, "servers", []any{"ldap://" + hanging, server.Plain}, "plain", true, "timeout", "200ms"), "alice", "", sdk.Accept, ""},
		"all servers down":              {with(search, "servers", []any{"ldaps://" + down}), "alice", "", sdk.Fail, ""},
		"memberOf":                      {with(search, "group_map", []any{"cn=SALES,ou=groups,dc=example,dc=org => uk-sales"}), "alice", "", sdk.Accept, "groups=uk-sales"},
		"group by name":                 {with(search, "group_map", []any{"sales => uk-sales", "* => default"}), "alice", "", sdk.Accept, "groups=uk-sales,default"},
		"group of everybody":            {with(search, "group_map", []any{"sales => uk-sales", "* => default"}), "bob", "", sdk.Accept, "groups=default"},
		"no group":                      {with(search, "group_map", []any{"sales => uk-sales"}), "bob", "", sdk.Reject, "group_not_allowed"},
		"posixGroup":                    {with(search, "group_base_dn", "ou=groups,"+slapdtest.Base, "group_map", []any{"unix => uk-sales"}), "bob", "", sdk.Accept, "groups=uk-sales"},
		"groupOfNames by search":        {with(search, "group_attribute", "o", "group_base_dn", "ou=groups,"+slapdtest.Base, "group_map", []any{"sales => uk-sales"}), "alice", "", sdk.Accept, "groups=uk-sales"},
		"allowed_groups":                {with(search, "allowed_groups", []any{"sales"}), "alice", "", sdk.Accept, ""},
		"allowed_groups, not in one":    {with(search, "allowed_groups", []any{"sales"}), "bob", "", sdk.Reject, "group_not_allowed"},
		"home":                          {with(search, "home_attribute", "homeDirectory", "home_template", "/data{home}"), "alice", "", sdk.Accept, "home=/data/srv/ftp/alice"},
		"home missing":                  {with(search, "home_attribute", "homeDirectory"), "bob", "", sdk.Fail, ""},
		"attributes":                    {with(search, "attributes", map[string]any{"secsign_id": "employeeNumber"}), "alice", "", sdk.Accept, "attribute.secsign_id=alice-at-example"},
		"locked":                        {search, "locked", "", sdk.Reject, "account_locked"},
		"must change":                   {search, "reset", "", sdk.Reject, "password_must_change"},
		"expired":                       {search, "old", "", sdk.Reject, "password_expired"},
		"filter":                        {with(search, "user_filter", "(&(uid={username})(employeeNumber=*))"), "bob", "", sdk.Unknown, ""},
		"UTF-8":                         {search, "jürgen", "", sdk.Accept, ""},
		"UTF-8, decomposed":             {search, "ju\u0308rgen", "", sdk.Accept, ""}, // the directory composes names too
		"filter in the name":            {search, "*)(uid=*", "", sdk.Unknown, ""},
		"everybody":                     {search, "*", "", sdk.Unknown, ""},
		"NUL":                           {search, "alice\x00", "", sdk.Reject, "wrong_password"},
		"very long":                     {search, strings.Repeat("a", 30_000), "", sdk.Unknown, ""},
		"DN in the name":                {template, "alice,ou=people", "", sdk.Reject, "wrong_password"},
		"wrong setting":                 {with(search, "group_map", []any{"sales"}), "alice", "", sdk.Fail, ""},
		"everybody is the same":         {with(search, "user_filter", "(uid=alice)"), "bob", "", sdk.Fail, ""},
	} {
		t.Run(name, func(t *testing.T) {
			all := append([]any{server.Secured, server.Plain, "ldaps://" + down}, "ldap://"+hanging)
			grants := sandbox.Grants{CA: server.Pool}
			for _, url := range all {
				e, err := endpoint.Parse(url.(string), endpoint.Sockets())
				if err != nil {
					t.Fatal(err)
				}
				grants.Network = append(grants.Network, e)
			}
			reach := r.NewReach(grants, limits())
			defer reach.Close()
			password := slapdtest.Password
			if c.password != "" {
				password = c.password
			}
			got, err := p.Run(t.Context(), sandbox.Call{
				Fields: map[string]string{"user": c.user}, Settings: c.settings, Password: secret.New(password), SeesPassword: true, Reach: reach,
			})
			if got.Verdict != c.want || (err != nil) != (c.want == sdk.Fail) {
				t.Fatalf("got %v, %v; want %v", got.Verdict, err, c.want)
			}
			if name, value, ok := strings.Cut(c.fields, "="); ok && got.Fields["account."+name] != value || !ok && got.Fields["reason"] != c.fields {
				t.Errorf("got %q; want %q", got.Fields, c.fields)
			}
		})
	}
}

func closedAddress(t *testing.T) string { return "127.0.0.1:" + unusedPort(t) }

// hangingAddress accepts connections and says nothing.
func hangingAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var conns []net.Conn
		for {
			conn, err := l.Accept()
			if err != nil {
				for _, conn := range conns {
					_ = conn.Close()
				}
				return
			}
			conns = append(conns, conn)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return fmt.Sprint(l.Addr())
}

func unusedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
