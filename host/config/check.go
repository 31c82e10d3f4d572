package config

import (
	"fmt"
	"net"
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
