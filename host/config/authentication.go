package config

import (
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
)

func (c *checker) authentication(r *rawAuthentication, config *Config) Authentication {
	a := Authentication{
		ID:             r.ID,
		Name:           value(r.Name, r.ID),
		Plugin:         value(r.Plugin, ""),
		SHA256:         strings.ToLower(value(r.SHA256, "")),
		Enabled:        value(r.Enabled, true),
		Timeout:        c.duration(r.Body, "timeout", r.Timeout, 30*time.Second, time.Millisecond, time.Hour),
		TestAtStart:    value(r.TestAtStart, false),
		Debug:          value(r.Debug, false),
		Settings:       c.settings(r),
		SecondFactor:   r.SecondFactor,
		FactorRequired: value(r.SecondFactorRequired, true),
		Remember:       c.duration(r.Body, "remember", r.Remember, 60*time.Second, 0, 24*time.Hour),
		Linger:         c.duration(r.Body, "linger", r.Linger, 45*time.Second, 0, 10*time.Minute),
		Queue:          c.oneOf(r.Body, "on_other_source", r.OnOtherSource, "refuse", "wait") == "wait",
		NextOnReject:   c.oneOf(r.Body, "on_reject", r.OnReject, "refuse", "next") == "next",
		NextOnFailure:  c.oneOf(r.Body, "on_failure", r.OnFailure, "refuse", "next") == "next",
	}
	c.word(r.Range, "authentication ID", r.ID)
	if r.ID == policy.NoFactor || r.ID == "method" {
		c.problem(r.Range, "Reserved name", `%q: accounts say so that they have no second factor, or that of their method`, r.ID)
	}
	a.where = func(setting string) string {
		at := rangeOf(r.Body, "settings")
		if r.Settings != nil {
			pairs, _ := hcl.ExprMap(r.Settings.Expr)
			for _, pair := range pairs {
				if key, _ := pair.Key.Value(nil); key.Type() == cty.String && key.IsKnown() && !key.IsNull() && key.AsString() == setting {
					at = pair.Key.Range()
				}
			}
		}
		return fmt.Sprintf("%s:%d", at.Filename, at.Start.Line)
	}
	if strings.ContainsRune(a.Plugin, '/') || strings.HasSuffix(a.Plugin, ".wasm") {
		a.Plugin = absolute(c.dir, a.Plugin)
	}
	if a.Plugin == "" {
		c.problem(r.Range, "No plugin", `plugin = "local", or the path of a .wasm file, is needed`)
	}
	if digest, err := hex.DecodeString(a.SHA256); err != nil || (len(digest) != 32 && len(digest) != 0) {
		c.problem(rangeOf(r.Body, "sha256"), "Wrong digest", "%q: 64 hexadecimal digits are expected", a.SHA256)
	}
	if g := r.Grant; g != nil {
		a.Password, a.Groups, a.HomeUnder = value(g.Password, false), g.Groups, absolute(c.dir, value(g.HomeUnder, ""))
		for _, group := range g.Groups {
			c.knownGroup(rangeOf(g.Body, "groups"), group, config)
		}
		for _, account := range g.Accounts {
			if canonical, err := policy.Username(account); account != AnyAccount && (err != nil || canonical != account) {
				c.problem(rangeOf(g.Body, "accounts"), "Wrong name", "%q: the name of an account as \"sallyport account list\" shows it is expected, or \"*\" for all", account)
			}
		}
		a.Accounts = g.Accounts
		a.Grants = c.grants(g)
	}
	a.Grants.Secrets = c.secrets(r, a.Grants)
	a.Limits = c.limits(r.Limits)
	if a.Limits.HTTP >= a.Timeout && len(a.Grants.HTTP) > 0 {
		c.problem(rangeOf(r.Body, "timeout"), "Time-outs don't nest", "limits { http_timeout } is %v and must be shorter than the timeout of authentication %q, which is %v", a.Limits.HTTP, a.ID, a.Timeout)
	}
	return a
}

func (c *checker) grants(g *rawGrant) sandbox.Grants {
	grants := sandbox.Grants{
		HTTP:       c.endpoints(g.Body, "http", g.HTTP, endpoint.HTTP()),
		Network:    c.endpoints(g.Body, "network", g.Network, endpoint.Sockets()),
		PasswordTo: c.endpoints(g.Body, "password_to", g.PasswordTo, endpoint.HTTP()),
	}
	grants.CA = c.pool(g.Body, g.CA)
	c.within(rangeOf(g.Body, "password_to"), "password_to", grants.PasswordTo, grants.HTTP)
	return grants
}

func (c *checker) endpoints(body hcl.Body, name string, urls, schemes []string) (all []endpoint.Endpoint) {
	for _, text := range urls {
		e, err := endpoint.Parse(text, schemes)
		if err != nil {
			c.problem(rangeOf(body, name), "Wrong URL", "%q: %v", text, err)
		}
		if e.Transport() != "tls" && err == nil && !loopback(e.Host) {
			at := rangeOf(body, name)
			c.warnings = append(c.warnings, fmt.Sprintf("%s:%d: %s is not encrypted by TLS: what goes there can be read on the way", at.Filename, at.Start.Line, e))
		}
		all = append(all, e)
	}
	return all
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// within wants that what may be sent to a place may go there at all.
func (c *checker) within(at hcl.Range, name string, some, all []endpoint.Endpoint) {
	for _, e := range some {
		if e.Host != "" && !slices.ContainsFunc(all, func(granted endpoint.Endpoint) bool { return granted.Covers(e) }) {
			c.problem(at, "Not granted", "%s names %s, which grant { http = [...] } does not", name, e)
		}
	}
}

func (c *checker) secrets(r *rawAuthentication, grants sandbox.Grants) map[string]sandbox.Secret {
	secrets := map[string]sandbox.Secret{}
	for i := range r.Secrets {
		s := &r.Secrets[i]
		to := c.endpoints(s.Body, "to", s.To, endpoint.HTTP())
		c.word(s.Range, "secret", s.Name)
		if s.Value == "" || len(to) == 0 {
			c.problem(s.Range, "Empty secret", "%q: a value, and at least one URL in to = [...], are needed", s.Name)
		}
		c.within(rangeOf(s.Body, "to"), "to", to, grants.HTTP)
		secrets[s.Name] = sandbox.Secret{Value: secretText(s.Value), To: to}
	}
	c.unique("secret", len(r.Secrets), func(i int) (string, hcl.Range) { return r.Secrets[i].Name, r.Secrets[i].Range })
	return secrets
}

func (c *checker) limits(r *rawLimits) sandbox.Limits {
	l := sandbox.DefaultLimits()
	if r == nil {
		return l
	}
	l.Module = c.sizeWithin(r.Body, "module", r.Module, l.Module, 1<<10, 256<<20)
	l.Body = c.sizeWithin(r.Body, "function", r.Function, l.Body, 1<<10, 16<<20)
	l.Memory = c.sizeWithin(r.Body, "memory", r.Memory, l.Memory, 64<<10, 1<<30)
	l.Table = uint32(c.number(r.Body, "table", r.Table, int(l.Table), 1, 1<<20))
	l.Run = c.duration(r.Body, "run", r.Run, l.Run, time.Millisecond, 10*time.Second)
	l.Runs = c.number(r.Body, "runs", r.Runs, l.Runs, 1, 10_000)
	l.Recorded = c.sizeWithin(r.Body, "recorded", r.Recorded, l.Recorded, 1<<10, 1<<20)
	l.Request = c.sizeWithin(r.Body, "request", r.Request, l.Request, 1<<10, 1<<20)
	l.Response = c.sizeWithin(r.Body, "response", r.Response, l.Response, 1<<10, 16<<20)
	l.HTTP = c.duration(r.Body, "http_timeout", r.HTTPTimeout, l.HTTP, time.Millisecond, 5*time.Minute)
	l.Requests = c.number(r.Body, "requests", r.Requests, l.Requests, 1, 10_000)
	l.Open = c.number(r.Body, "instances", r.Instances, l.Open, 1, 1000)
	l.Sockets = c.number(r.Body, "sockets", r.Sockets, l.Sockets, 1, 64)
	l.Logs = c.number(r.Body, "log_lines", r.LogLines, l.Logs, 0, 1000)
	return l
}
