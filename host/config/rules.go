package config

import (
	"crypto/x509"
	"net"
	netmail "net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/sallyport-ftps/sallyport/host/approval"
	"github.com/sallyport-ftps/sallyport/host/mail"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// passwords reads a block of rules. What it does not say is as in base.
func (c *checker) passwords(r *rawPasswords, base policy.Passwords) policy.Passwords {
	if r == nil {
		r = &rawPasswords{Body: hcl.EmptyBody()}
	}
	p := base
	p.MinimumLength = c.number(r.Body, "minimum_length", r.MinimumLength, base.MinimumLength, 1, policy.MaximumLength)
	p.MaximumLength = c.number(r.Body, "maximum_length", r.MaximumLength, base.MaximumLength, 64, policy.MaximumLength)
	p.MinimumStrength = c.number(r.Body, "minimum_strength", r.MinimumStrength, base.MinimumStrength, 0, 4)
	p.History = c.number(r.Body, "history", r.History, base.History, 0, 100)
	p.Lifetime = c.duration(r.Body, "lifetime", r.Lifetime, base.Lifetime, 0, 3650*24*time.Hour)
	if p.MinimumLength > p.MaximumLength {
		c.problem(rangeOf(r.Body, "minimum_length"), "Wrong number", "minimum_length = %d is more than maximum_length = %d", p.MinimumLength, p.MaximumLength)
	}
	if p.Words == nil || r.Forbidden != nil {
		p.Words = policy.NewWords(r.Forbidden)
	}
	for i, name := range r.CharacterRequirements {
		class := policy.Class(name)
		if !slices.Contains(policy.Classes(), class) {
			c.problem(rangeOf(r.Body, "character_requirements"), "Unknown class of characters", "%q; allowed are %q", name, policy.Classes())
		}
		if i == 0 {
			p.CharacterRequirements = nil
		}
		p.CharacterRequirements = append(p.CharacterRequirements, class)
	}
	c.hashing(r, &p.Hashing)
	return p
}

func (c *checker) hashing(r *rawPasswords, h *policy.Hashing) {
	if r.HashingScheme != nil || h.Scheme == "" {
		var names []string
		for _, s := range policy.Schemes() {
			names = append(names, string(s))
		}
		*h = policy.Hashing{Scheme: policy.Scheme(c.oneOf(r.Body, "hashing_scheme", r.HashingScheme, names...))}
	}
	meaning, unset, least, most := h.Scheme.Cost()
	if h.Cost == 0 {
		h.Cost = unset
	}
	if r.HashingCost != nil && (*r.HashingCost < least || *r.HashingCost > most) {
		c.problem(rangeOf(r.Body, "hashing_cost"), "Wrong number", "hashing_cost = %d; for %s it is %s, and %d to %d is allowed", *r.HashingCost, h.Scheme, meaning, least, most)
		return
	}
	if r.HashingCost != nil {
		h.Cost = *r.HashingCost
	}
}

func (c *checker) attempts(r *rawAttempts) policy.AttemptLimits {
	if r == nil {
		r = &rawAttempts{Body: hcl.EmptyBody()}
	}
	var rules []policy.SourceRule
	for _, text := range r.Sources {
		rule, err := policy.ParseSourceRule(text)
		if err != nil {
			c.problem(rangeOf(r.Body, "sources"), "Wrong rule", "%v", err)
		}
		rules = append(rules, rule)
	}
	return policy.AttemptLimits{
		Sources:    rules,
		PerAccount: c.number(r.Body, "per_account", r.PerAccount, 5, 1, 1000),
		PerSource:  c.number(r.Body, "per_source", r.PerSource, 20, 1, 100_000),
		Window:     c.duration(r.Body, "window", r.Window, 10*time.Minute, time.Second, 24*time.Hour),
		Lock:       c.duration(r.Body, "lock", r.Lock, 15*time.Minute, time.Second, 24*time.Hour),
	}
}

func (c *checker) approvals(r *rawApprovals) approval.Limits {
	if r == nil {
		r = &rawApprovals{Body: hcl.EmptyBody()}
	}
	return approval.Limits{
		PerPerson: c.number(r.Body, "per_person", r.PerPerson, 5, 1, 1000),
		Window:    c.duration(r.Body, "window", r.Window, 10*time.Minute, time.Second, 24*time.Hour),
		Pause:     c.duration(r.Body, "pause", r.Pause, 2*time.Minute, 0, 24*time.Hour),
	}
}

func (c *checker) mail(r *rawMail) *mail.Settings {
	if r == nil {
		return nil
	}
	s := &mail.Settings{
		Server: r.Server, From: r.From, User: value(r.User, ""), Password: secretText(value(r.Password, "")), LoginAt: r.LoginAt,
		TLS:        mail.TLS(c.oneOf(r.Body, "tls", r.TLS, string(mail.StartTLS), string(mail.Implicit), string(mail.NoTLS))),
		Timeout:    c.duration(r.Body, "timeout", r.Timeout, 30*time.Second, time.Second, 5*time.Minute),
		Invitation: c.duration(r.Body, "invitation", r.Invitation, 24*time.Hour, time.Minute, 30*24*time.Hour),
	}
	host, port, err := net.SplitHostPort(s.Server)
	if n, wrong := strconv.Atoi(port); err != nil || wrong != nil || host == "" || n < 1 || n > 65535 {
		c.problem(rangeOf(r.Body, "server"), "Wrong address", `server = %q; a name and a port are expected, such as "smtp.example.org:587"`, s.Server)
	} else if s.TLS == mail.NoTLS && !loopback(host) {
		c.problem(rangeOf(r.Body, "tls"), "Not encrypted", `tls = "none" sends credentials in the clear: it is allowed for a server on loopback only, not for %q`, s.Server)
	}
	if (s.User == "") != s.Password.Empty() {
		c.problem(rangeOf(r.Body, "user"), "Half a login", "user and password belong together; without both the mail server is not logged in to")
	}
	if to, err := url.Parse("ftp://" + s.LoginAt + "/"); err != nil || to.Hostname() == "" || to.Host != s.LoginAt {
		c.problem(rangeOf(r.Body, "login_at"), "Wrong address", `login_at = %q; the name that users reach the server by is expected, such as "ftps.example.org" or "ftps.example.org:2121"`, s.LoginAt)
	}
	if _, err := netmail.ParseAddress(s.From); err != nil {
		c.problem(rangeOf(r.Body, "from"), "Wrong address", `from = %q; something like "Sallyport <ftps@example.org>" is expected`, s.From)
	}
	s.CA = c.pool(r.Body, r.CA)
	return s
}

// secretText is a secret as file() reads it, without the end of its line.
func secretText(text string) secret.Text { return secret.New(strings.TrimRight(text, "\r\n")) }

// pool reads certificates to trust in place of the system's; nil: there are none.
func (c *checker) pool(body hcl.Body, pem *string) *x509.CertPool {
	if pem == nil {
		return nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(*pem)) {
		c.problem(rangeOf(body, "ca"), "Wrong certificate", `PEM certificates are expected, such as ca = file("ca.pem")`)
	}
	return pool
}
