package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

// checker turns the raw file into a Config and collects every problem on the way.
type checker struct {
	dir      string
	diags    hcl.Diagnostics
	warnings []string
}

// problem notes one; allowed ends the sentence "... is allowed" or stands for itself.
func (c *checker) problem(at hcl.Range, summary, format string, args ...any) {
	c.diags = append(c.diags, &hcl.Diagnostic{
		Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: at.Ptr(),
	})
}

// rangeOf finds the place of an attribute's value, or of the block if it is not there.
func rangeOf(body hcl.Body, name string) hcl.Range {
	if b, ok := body.(*hclsyntax.Body); ok {
		if attr, ok := b.Attributes[name]; ok {
			return attr.Expr.Range()
		}
		return b.SrcRange
	}
	return body.MissingItemRange()
}

func (c *checker) config(raw *rawConfig) *Config {
	config := &Config{}
	config.Server = c.server(raw)
	config.Passwords = c.passwords(raw.Passwords, policy.Passwords{MinimumLength: 11, MinimumStrength: 3, MaximumLength: policy.MaximumLength, History: 8})
	config.Groups = c.groups(raw.Groups, config.Server.DataDir, config.Passwords)
	config.Attempts = c.attempts(raw.Attempts)
	config.Approvals = c.approvals(raw.Approvals)
	config.Events = c.events(raw.Events)
	config.Mail = c.mail(raw.Mail)
	config.Metrics = c.metrics(raw.Metrics)
	for i := range raw.Authentications {
		config.Authentications = append(config.Authentications, c.authentication(&raw.Authentications[i], config))
	}
	c.unique("authentication", len(raw.Authentications), func(i int) (string, hcl.Range) {
		return raw.Authentications[i].ID, raw.Authentications[i].Range
	})
	for i := range raw.Services {
		config.Services = append(config.Services, c.service(&raw.Services[i], config))
	}
	c.unique("service", len(raw.Services), func(i int) (string, hcl.Range) { return raw.Services[i].Name, raw.Services[i].Range })
	c.references(raw, config)
	c.unused(raw, config)
	if len(raw.Services) == 0 {
		c.problem(raw.Body.MissingItemRange(), "No service", `at least one block service "ftps" "NAME" { } is needed`)
	}
	return config
}

func (c *checker) server(raw *rawConfig) Server {
	r := raw.Server
	if r == nil {
		r = &rawServer{Body: raw.Body}
	}
	s := Server{
		Name:            value(r.Name, "sallyport"),
		Description:     value(r.Description, ""),
		DataDir:         absolute(c.dir, value(r.DataDir, "./data")),
		Authentications: r.Authentications,
		ShutdownTimeout: c.duration(r.Body, "shutdown_timeout", r.ShutdownTimeout, 30*time.Second, 0, time.Hour),
		MinFree:         c.size(r.Body, "min_free", r.MinFree, 100<<20),
	}
	if s.Name == "" || strings.ContainsFunc(s.Name, func(r rune) bool { return r < ' ' }) {
		c.problem(rangeOf(r.Body, "name"), "Wrong name", "%q: a name without control characters is expected", s.Name)
	}
	const socketRoom = 108 - len("/private/sallyport.sock") - 1 // what the kernel allows in a socket's path
	if len(s.DataDir) > socketRoom {
		c.problem(rangeOf(r.Body, "data_dir"), "Path too long", "%q has %d bytes, at most %d are allowed, since the administration socket is in it", s.DataDir, len(s.DataDir), socketRoom)
	}
	return s
}

func (c *checker) service(r *rawService, config *Config) Service {
	s := Service{
		Name:            r.Name,
		Where:           fmt.Sprintf("%s:%d", r.Range.Filename, r.Range.Start.Line),
		Listen:          value(r.Listen, "127.0.0.1:2121"),
		Certificate:     absolute(c.dir, value(r.Certificate, "")),
		PrivateKey:      absolute(c.dir, value(r.PrivateKey, "")),
		Authentications: r.Authentications,
		LoginTimeout:    c.duration(r.Body, "login_timeout", r.LoginTimeout, 150*time.Second, time.Second, time.Hour),
		IdleTimeout:     c.duration(r.Body, "idle_timeout", r.IdleTimeout, 5*time.Minute, time.Second, 24*time.Hour),
		AtomicUpload:    value(r.AtomicUpload, true),
		MaxConnections:  c.number(r.Body, "max_connections", r.MaxConnections, 10_000, 1, 1_000_000),
		MaxPerSource:    c.number(r.Body, "max_connections_per_source", r.MaxPerSource, 200, 1, 1_000_000),
	}
	if r.Kind != "ftps" {
		c.problem(r.Range, "Unknown kind of service", `%q; only service "ftps" "NAME" is allowed`, r.Kind)
	}
	c.word(r.Range, "service name", r.Name)
	c.address(r.Body, "listen", s.Listen, "0.0.0.0:2121")
	for _, one := range r.SNI {
		s.OtherNames = append(s.OtherNames, KeyPair{absolute(c.dir, one.Certificate), absolute(c.dir, one.PrivateKey)})
	}
	s.ClientCerts = c.oneOf(r.Body, "client_certificates", r.ClientCerts, "off", "request", "require")
	s.ClientCA = absolute(c.dir, value(r.ClientCA, ""))
	for _, file := range r.ClientCRL {
		s.ClientCRL = append(s.ClientCRL, absolute(c.dir, file))
	}
	if s.ClientCA == "" && (s.ClientCerts != "off" || len(s.ClientCRL) > 0) {
		c.problem(rangeOf(r.Body, "client_certificates"), "No client_ca", `client_certificates = "request" or "require", and client_crl, need client_ca: the file, in PEM, of who issues the certificates`)
	}
	s.TimeToLogin = c.duration(r.Body, "time_to_login", r.TimeToLogin, time.Minute, time.Second, time.Hour)
	s.TimeToSecure = c.duration(r.Body, "time_to_secure", r.TimeToSecure, 15*time.Second, time.Second, 10*time.Minute)
	s.DataConnect = c.duration(r.Body, "data_connect_timeout", r.DataConnect, 30*time.Second, time.Second, 10*time.Minute)
	s.DataIdle = c.duration(r.Body, "data_idle_timeout", r.DataIdle, time.Minute, time.Second, 24*time.Hour)
	s.MaxPerAccount = c.number(r.Body, "max_sessions_per_account", r.MaxPerAccount, 50, 1, 1_000_000)
	s.CommandRate = c.number(r.Body, "max_commands_per_second", r.CommandRate, 5000, 10, 1_000_000)
	s.SyncUploads, s.Umask = value(r.SyncUploads, false), c.umask(r)
	s.MaxPath = c.number(r.Body, "max_path_length", r.MaxPath, 2048, 64, 4096)
	s.PublicAddresses = c.publicAddresses(r)
	s.FileDigests = c.oneOf(r.Body, "file_digests", r.FileDigests, "uploads", "all", "none")
	s.SessionReuse = c.oneOf(r.Body, "session_reuse", r.SessionReuse, "warn", "off", "require")
	s.Implicit = c.oneOf(r.Body, "tls", r.TLS, "explicit", "implicit") == "implicit"
	if (s.Certificate == "") != (s.PrivateKey == "") {
		c.problem(r.Range, "Half a key pair", "certificate and private_key belong together; without both a self-signed certificate is made in data_dir")
	}
	s.PassiveFirst, s.PassiveLast = c.ports(r.Body, "passive_ports", r.PassivePorts)
	if _, port, _ := net.SplitHostPort(s.Listen); s.PassiveFirst != 0 {
		if n, err := strconv.Atoi(port); err == nil && n >= s.PassiveFirst && n <= s.PassiveLast {
			c.problem(rangeOf(r.Body, "passive_ports"), "Wrong ports", "passive_ports = %q has the port %d in it, on which the service listens", *r.PassivePorts, n)
		}
	}
	if s.LoginTimeout >= s.IdleTimeout {
		c.problem(rangeOf(r.Body, "login_timeout"), "Time-outs don't nest", "login_timeout is %v and must be shorter than idle_timeout, which is %v: else the connection ends before the login is answered", s.LoginTimeout, s.IdleTimeout)
	}
	if s.Authentications == nil {
		s.Authentications = config.Server.Authentications
	}
	if len(s.Authentications) == 0 {
		help := "add a block authentication \"accounts\" { plugin = \"local\" } and name it in server { authentications = [...] }"
		if ids := config.IDs(); len(ids) > 0 {
			help = fmt.Sprintf("server { authentications = [%s] } would ask all that are there", quoted(ids))
		}
		c.problem(r.Range, "No method", "the service has no authentications, and server { } has none: nobody could log in; %s", help)
	}
	c.withoutCertificates(r, s, config)
	for _, id := range s.Authentications {
		a, _ := config.Authentication(id)
		for _, id := range append([]string{id}, a.SecondFactor...) {
			if a, ok := config.Authentication(id); ok && a.Timeout >= s.LoginTimeout {
				c.problem(rangeOf(r.Body, "login_timeout"), "Time-outs don't nest", "the timeout of authentication %q is %v and must be shorter than login_timeout of service %q, which is %v", id, a.Timeout, s.Name, s.LoginTimeout)
			}
		}
	}
	return s
}

// withoutCertificates warns of methods that no client of the service can satisfy.
func (c *checker) withoutCertificates(r *rawService, s Service, config *Config) {
	for _, id := range s.Authentications {
		a, _ := config.Authentication(id)
		for _, id := range append([]string{id}, a.SecondFactor...) {
			if one, ok := config.Authentication(id); ok && one.Plugin == "certificate" && s.ClientCerts == "off" {
				c.warnings = append(c.warnings, fmt.Sprintf("%s:%d: authentication %q knows users by their certificates, which service %q does not ask for: set client_certificates", r.Range.Filename, r.Range.Start.Line, id, s.Name))
			}
		}
	}
}

// umask reads the bits that new files and folders don't have. The owner, who is this server, keeps its own.
func (c *checker) umask(r *rawService) uint32 {
	text := value(r.Umask, "027")
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o077 {
		c.problem(rangeOf(r.Body, "umask"), "Wrong umask", `%q; "000" to "077" is allowed, in octal digits`, text)
	}
	return uint32(n)
}

// publicAddresses reads "NETWORK ADDRESS", "NETWORK own", and an address alone, which is for all.
func (c *checker) publicAddresses(r *rawService) (all []PublicAddress) {
	for _, text := range r.PublicAddress {
		network, address, both := strings.Cut(text, " ")
		if !both {
			network, address = "0.0.0.0/0", text
		}
		prefix, err := policy.ParseNetwork(network)
		p := PublicAddress{Network: prefix}
		if address != "own" && err == nil {
			p.Address, err = netip.ParseAddr(strings.TrimSpace(address))
		}
		if err != nil || address != "own" && !p.Address.Is4() {
			c.problem(rangeOf(r.Body, "public_address"), "Wrong address", `%q; "203.0.113.5", or for clients of a network "10.0.0.0/8 own" or "0.0.0.0/0 203.0.113.5", is expected: IPv4, since PASV knows no other`, text)
			continue
		}
		all = append(all, p)
	}
	return all
}

// settings evaluates settings = { ... } to plain Go values.
func (c *checker) settings(r *rawAuthentication) map[string]any {
	if r.Settings == nil {
		return map[string]any{}
	}
	v, diags := r.Settings.Expr.Value(evalContext(c.dir))
	c.diags = append(c.diags, diags...)
	if diags.HasErrors() {
		return nil
	}
	if settings, ok := Plain(v).(map[string]any); ok {
		return settings
	}
	c.problem(r.Settings.Expr.Range(), "Wrong settings", "settings = { name = value, ... } is expected")
	return nil
}

// Plain turns a value of HCL into strings, bool, float64, []any and map[string]any; nil for null.
func Plain(v cty.Value) any {
	switch t := v.Type(); {
	case v.IsNull() || !v.IsKnown():
		return nil
	case t == cty.String:
		return v.AsString()
	case t == cty.Bool:
		return v.True()
	case t == cty.Number:
		f, _ := v.AsBigFloat().Float64()
		return f
	case t.IsObjectType() || t.IsMapType():
		m := map[string]any{}
		for key, element := range v.AsValueMap() {
			m[key] = Plain(element)
		}
		return m
	case t.IsTupleType() || t.IsListType() || t.IsSetType():
		list := []any{}
		for _, element := range v.AsValueSlice() {
			list = append(list, Plain(element))
		}
		return list
	}
	return nil
}

func (c *checker) groups(raw []rawGroup, dataDir string, passwords policy.Passwords) []Group {
	var groups []Group
	home := filepath.Join(dataDir, "files", "{username}")
	for i := range raw {
		r := &raw[i]
		g := Group{Name: r.Name, Home: absolute(c.dir, value(r.Home, home)), CreateHome: value(r.CreateHome, true), Permissions: policy.FullControl}
		c.word(r.Range, "group name", r.Name)
		if r.Permissions != nil {
			g.Permissions = c.permissions(r.Body, r.Permissions)
		}
		c.placeholders(rangeOf(r.Body, "home"), g.Home)
		for _, p := range r.Paths {
			rule, err := policy.NewPathRule(p.Expression, c.permissions(p.Body, p.Permissions))
			if err != nil {
				c.problem(p.Range, "Wrong path", "%v", err)
			}
			g.Rules = append(g.Rules, rule)
		}
		g.Folders = c.folders(r.Folders)
		g.Limits = policy.Limits{
			UploadRate: c.rate(r.Body, "max_upload_rate", r.UploadRate), DownloadRate: c.rate(r.Body, "max_download_rate", r.DownloadRate),
			Bytes: c.size(r.Body, "max_bytes", r.MaxBytes, 0), Files: int64(c.number(r.Body, "max_files", r.MaxFiles, 0, 0, 1_000_000_000)),
		}
		g.OwnPassword = value(r.AllowOwnPasswordChange, false)
		if r.Passwords != nil {
			g.Passwords = new(c.passwords(r.Passwords, passwords))
		}
		groups = append(groups, g)
	}
	c.unique("group", len(raw), func(i int) (string, hcl.Range) { return raw[i].Name, raw[i].Range })
	if !slices.ContainsFunc(groups, func(g Group) bool { return g.Name == "default" }) {
		groups = append(groups, Group{Name: "default", Home: home, CreateHome: true, Permissions: policy.FullControl})
	}
	return groups
}

// rate is in bytes a second; 0: no bound.
func (c *checker) rate(body hcl.Body, name string, text *string) int64 {
	const least, most = 1 << 10, 1 << 40
	n := c.size(body, name, text, 0)
	if n != 0 && (n < least || n > most) {
		c.problem(rangeOf(body, name), "Wrong rate", `%s = %d bytes a second; "1KiB" to "1024GiB" is allowed, or "0" for no bound`, name, n)
		return 0
	}
	return n
}

func (c *checker) permissions(body hcl.Body, words []string) policy.Permissions {
	permissions, err := policy.ParsePermissions(words)
	if err != nil {
		c.problem(rangeOf(body, "permissions"), "Wrong permissions", "%v", err)
	}
	return permissions
}

// placeholders refuses those that nobody fills in.
func (c *checker) placeholders(at hcl.Range, folder string) {
	if strings.ContainsAny(strings.ReplaceAll(folder, "{username}", ""), "{}") {
		c.problem(at, "Unknown placeholder", "%q; only {username} is allowed", folder)
	}
}

func (c *checker) folders(raw []rawFolder) (all []policy.VirtualFolder) {
	for i := range raw {
		v := policy.VirtualFolder{Path: raw[i].Path, Real: absolute(c.dir, raw[i].Real)}
		if err := policy.CheckVirtualFolder(v); err != nil {
			c.problem(raw[i].Range, "Wrong virtual folder", "%v", err)
		}
		c.placeholders(rangeOf(raw[i].Body, "real"), v.Real)
		all = append(all, v)
	}
	c.unique("virtual_folder", len(raw), func(i int) (string, hcl.Range) { return raw[i].Path, raw[i].Range })
	return all
}

// references checks every name that one block uses of another, and that homes are apart from our own data.
func (c *checker) references(raw *rawConfig, config *Config) {
	ids := config.IDs()
	check := func(body hcl.Body, attribute string, used []string) {
		for i, id := range used {
			if !slices.Contains(ids, id) {
				c.problem(rangeOf(body, attribute), "Unknown authentication", "%q; there are %s", id, quoted(ids))
			}
			if slices.Contains(used[:i], id) {
				c.problem(rangeOf(body, attribute), "Named twice", "%q", id)
			}
		}
	}
	if raw.Server != nil {
		check(raw.Server.Body, "authentications", raw.Server.Authentications)
	}
	for i := range raw.Services {
		check(raw.Services[i].Body, "authentications", raw.Services[i].Authentications)
	}
	for i := range raw.Authentications {
		r := &raw.Authentications[i]
		check(r.Body, "second_factor", r.SecondFactor)
		if slices.Contains(r.SecondFactor, r.ID) {
			c.problem(rangeOf(r.Body, "second_factor"), "Its own second factor", "%q", r.ID)
		}
	}
	addresses := map[string]string{}
	once := func(at hcl.Range, what, address string) {
		if other := addresses[address]; other != "" && !strings.HasSuffix(address, ":0") {
			c.problem(at, "Address used twice", "%q, by %s and %s", address, other, what)
		}
		addresses[address] = what
	}
	for i, s := range config.Services {
		once(rangeOf(raw.Services[i].Body, "listen"), fmt.Sprintf("service %q", s.Name), s.Listen)
	}
	if config.Metrics != "" {
		once(rangeOf(raw.Metrics.Body, "listen"), "metrics", config.Metrics)
	}
	if raw.Events != nil && config.Events.Listen != "" {
		once(rangeOf(raw.Events.Body, "listen"), "events", config.Events.Listen)
	}
	for i := range raw.Groups {
		if i >= len(config.Groups) {
			break
		}
		if err := policy.HomeApart(config.Groups[i].Home, PrivateDir(config.Server.DataDir)); err != nil {
			c.problem(rangeOf(raw.Groups[i].Body, "home"), "Home folder refused", "%v", err)
		}
		for n, v := range config.Groups[i].Folders {
			if err := policy.HomeApart(v.Real, PrivateDir(config.Server.DataDir)); err != nil {
				c.problem(raw.Groups[i].Folders[n].Range, "Virtual folder refused", "%v", err)
			}
		}
	}
}

// unused warns of methods that nobody asks: a deny list that is forgotten denies nothing.
func (c *checker) unused(raw *rawConfig, config *Config) {
	for i := range raw.Authentications {
		if r := &raw.Authentications[i]; !config.Asks(r.ID) {
			c.warnings = append(c.warnings, fmt.Sprintf("%s:%d: authentication %q is asked by no service: no list authentications or second_factor names it (accounts may, as their second factor)", r.Range.Filename, r.Range.Start.Line, r.ID))
		}
	}
}

// PrivateDir is where the server keeps keys, accounts and events.
func PrivateDir(dataDir string) string { return filepath.Join(dataDir, "private") }

func (c *checker) knownGroup(at hcl.Range, group string, config *Config) {
	if _, ok := config.Group(group); !ok {
		c.problem(at, "Unknown group", "%q; there are %s", group, quoted(config.GroupNames()))
	}
}

func (c *checker) unique(kind string, n int, name func(int) (string, hcl.Range)) {
	seen := map[string]bool{}
	for i := range n {
		id, at := name(i)
		if seen[id] {
			c.problem(at, "Defined twice", "%s %q", kind, id)
		}
		seen[id] = true
	}
}

// word checks what becomes part of messages and file names.
func (c *checker) word(at hcl.Range, what, name string) {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`).MatchString(name) {
		c.problem(at, "Wrong name", "%s %q: 1 to 64 letters, digits, and . _ - are allowed", what, name)
	}
}

// address wants an IP address, or localhost, and a port, such as the example.
func (c *checker) address(body hcl.Body, name, text, example string) bool {
	host, port, err := net.SplitHostPort(text)
	n, portErr := strconv.Atoi(port)
	if err != nil || portErr != nil || n < 0 || n > 65535 || (host != "" && host != "localhost" && net.ParseIP(host) == nil) {
		c.problem(rangeOf(body, name), "Wrong address", `%s = %q; an IP address, or localhost, and a port are expected, such as %q`, name, text, example)
		return false
	}
	return true
}

func (c *checker) ports(body hcl.Body, name string, text *string) (first, last int) {
	if text == nil || *text == "" {
		return 0, 0
	}
	from, to, _ := strings.Cut(*text, "-")
	first, err1 := strconv.Atoi(strings.TrimSpace(from))
	last, err2 := strconv.Atoi(strings.TrimSpace(to))
	if err1 != nil || err2 != nil || first < 1024 || last > 65535 || first > last {
		c.problem(rangeOf(body, name), "Wrong ports", `%s = %q; "FIRST-LAST" within 1024-65535 is expected, such as "50000-50100"`, name, *text)
	}
	return first, last
}

func (c *checker) duration(body hcl.Body, name string, text *string, unset, least, most time.Duration) time.Duration {
	if text == nil {
		return unset
	}
	d, err := ParseDuration(*text)
	if err != nil || d < least || d > most {
		c.problem(rangeOf(body, name), "Wrong duration", `%s = %q; a duration from %v to %v is expected, such as %s`, name, *text, least, most, examples(least, most))
		return unset
	}
	return d
}

// examples are durations that are allowed.
func examples(least, most time.Duration) string {
	allowed := slices.DeleteFunc([]string{"500ms", "5s", "90s", "5m", "12h", "90d"}, func(text string) bool {
		d, err := ParseDuration(text)
		return err != nil || d < least || d > most
	})
	return quoted(allowed)
}

// ParseDuration is time.ParseDuration with days: "90d".
func ParseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 100_000 {
			return 0, fmt.Errorf("%q is not a number of days", text)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	return time.ParseDuration(text)
}

func (c *checker) size(body hcl.Body, name string, text *string, unset int64) int64 {
	if text == nil {
		return unset
	}
	if n, ok := policy.ParseSize(*text); ok {
		return n
	}
	c.problem(rangeOf(body, name), "Wrong size", `%s = %q; a number with B, KiB, MiB, GiB or TiB is expected, such as "500MiB"`, name, *text)
	return unset
}

func (c *checker) sizeWithin(body hcl.Body, name string, text *string, unset, least, most int) int {
	n := c.size(body, name, text, int64(unset))
	if n < int64(least) || n > int64(most) {
		c.problem(rangeOf(body, name), "Wrong size", "%s = %d bytes; %d to %d is allowed", name, n, least, most)
		return unset
	}
	return int(n)
}

func (c *checker) number(body hcl.Body, name string, n *int, unset, least, most int) int {
	if n == nil {
		return unset
	}
	if *n < least || *n > most {
		c.problem(rangeOf(body, name), "Wrong number", "%s = %d; %d to %d is allowed", name, *n, least, most)
		return unset
	}
	return *n
}

// oneOf returns the value, or the first of the allowed ones if it is not set.
func (c *checker) oneOf(body hcl.Body, name string, text *string, allowed ...string) string {
	if text == nil {
		return allowed[0]
	}
	if !slices.Contains(allowed, *text) {
		c.problem(rangeOf(body, name), "Wrong value", "%s = %q; allowed are %s", name, *text, quoted(allowed))
		return allowed[0]
	}
	return *text
}

func value[T any](p *T, unset T) T {
	if p == nil {
		return unset
	}
	return *p
}

func quoted(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	q := make([]string, len(words))
	for i, w := range words {
		q[i] = strconv.Quote(w)
	}
	return strings.Join(q, ", ")
}
