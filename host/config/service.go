package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

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
	s.TimeToSecure = c.duration(r.Body, "time_to_secure", r.TimeToSecure, min(15*time.Second, s.TimeToLogin), time.Second, 10*time.Minute)
	s.TimeToCommand = c.duration(r.Body, "time_to_first_command", r.TimeToCommand, min(10*time.Second, s.TimeToSecure), time.Second, 10*time.Minute)
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
	if s.TimeToSecure > s.TimeToLogin {
		c.problem(rangeOf(r.Body, "time_to_secure"), "Time-outs don't nest", "time_to_secure is %v and must not be longer than time_to_login, which is %v", s.TimeToSecure, s.TimeToLogin)
	}
	if !s.Implicit && s.TimeToCommand > s.TimeToSecure {
		c.problem(rangeOf(r.Body, "time_to_first_command"), "Time-outs don't nest", "time_to_first_command is %v and must not be longer than time_to_secure, which is %v", s.TimeToCommand, s.TimeToSecure)
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
