// Package config reads config.hcl: decode, check the whole, explain with file and line.
//
// [Load] returns an immutable [Config] or [Problems], which say what is wrong, where, and
// what is allowed. Nothing is opened or started here.
package config

import (
	"crypto/x509"
	"net/netip"
	"slices"
	"time"

	"github.com/sallyport-ftps/sallyport/host/approval"
	"github.com/sallyport-ftps/sallyport/host/mail"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// Config is a whole, checked configuration with all defaults filled in.
type Config struct {
	File            string // where it was read from; empty: the embedded defaults
	Server          Server
	Services        []Service
	Authentications []Authentication // in the order of the file
	Groups          []Group          // "default" is always there
	Passwords       policy.Passwords
	Attempts        policy.AttemptLimits
	Approvals       approval.Limits
	Events          Events
	Mail            *mail.Settings // nil: no mail is sent
	Metrics         string         // where they can be read; empty: nowhere
	Warnings        []string       // what is allowed, and should be known
}

// Server is the block server {}.
type Server struct {
	Name            string
	Description     string
	DataDir         string // absolute
	Authentications []string
	ShutdownTimeout time.Duration
	MinFree         int64 // bytes that uploads must leave free
}

// Service is a block service "ftps" "NAME" {}.
type Service struct {
	Name            string
	Where           string // file:line, for messages of later checks
	Listen          string
	Implicit        bool
	Certificate     string // empty, with PrivateKey: a self-signed one
	PrivateKey      string
	PassiveFirst    int // 0: any port
	PassiveLast     int
	Authentications []string // in order; the server's, unless it has its own
	LoginTimeout    time.Duration
	IdleTimeout     time.Duration
	AtomicUpload    bool
	SyncUploads     bool
	Umask           uint32
	MaxPath         int // bytes
	MaxConnections  int
	MaxPerSource    int
	OtherNames      []KeyPair     // for clients that name another server (SNI)
	ClientCerts     string        // off, request or require
	ClientCA        string        // file
	ClientCRL       []string      // files
	TimeToLogin     time.Duration // from the connection to PASS
	TimeToSecure    time.Duration // from the connection to TLS
	TimeToCommand   time.Duration // from the connection, or from TLS if it is implicit, to the first command
	CommandRate     int           // commands a second of one session
	DataConnect     time.Duration // from a transfer's command to its data connection
	DataIdle        time.Duration // a data connection on which nothing moves
	MaxPerAccount   int
	PublicAddresses []PublicAddress
	SessionReuse    string // off, warn or require
	FileDigests     string // uploads, all or none
}

// PublicAddress is what PASV says to clients of a network; without an address, the service's own.
type PublicAddress struct {
	Network netip.Prefix
	Address netip.Addr
}

// KeyPair are the files of a certificate and its key.
type KeyPair struct{ Certificate, PrivateKey string }

// AnyAccount in grant { accounts } stands for all.
const AnyAccount = "*"

// Authentication is a block authentication "ID" {}: a method.
type Authentication struct {
	ID             string
	Name           string
	Plugin         string // a bundled name, or the absolute path of a .wasm file
	SHA256         string // of the file, lower-case hexadecimal; empty: not pinned
	Enabled        bool
	Timeout        time.Duration
	TestAtStart    bool // the server does not start if what it asks can't be reached
	Debug          bool // what it says to others is in the log, with secrets masked
	Settings       map[string]any
	Password       bool     // grant: the plugin sees the password
	Groups         []string // grant: groups that it may put users in
	HomeUnder      string   // grant: the folder below which it may say the home folder, and virtual ones
	Accounts       []string // grant: accounts of the host that it may log its users in as
	Grants         sandbox.Grants
	Limits         sandbox.Limits
	SecondFactor   []string
	FactorRequired bool
	Remember       time.Duration // as a second factor
	Linger         time.Duration
	Queue          bool
	NextOnReject   bool
	NextOnFailure  bool
	where          func(name string) string // of a setting, for messages of later checks
}

// Where names the place of a setting, as file:line.
func (a Authentication) Where(setting string) string { return a.where(setting) }

// Group is a block group "NAME" {}: what an account inherits.
type Group struct {
	Name        string
	Home        string // absolute, may hold {username}
	CreateHome  bool
	Permissions policy.Permissions
	Rules       []policy.PathRule      // the first that matches a path replaces Permissions
	Folders     []policy.VirtualFolder // Real may hold {username}
	OwnPassword bool                   // its members may change their passwords
	Limits      policy.Limits          // of each member
	Passwords   *policy.Passwords      // nil: as everywhere
}

// Events is the block events {}.
type Events struct {
	Listen       string // empty: no listener
	Certificate  string // with PrivateKey; empty: no TLS, on loopback only
	PrivateKey   string
	Retention    time.Duration
	Size         int64 // bytes of the audit stream
	Required     bool  // a login whose event can't be stored is refused
	UnknownNames bool
	Users        []EventsUser
	Forward      *Forward // nil: events stay here
}

// EventsUser is a block user "NAME" {} in events {}.
type EventsUser struct {
	Name     string
	Key      string // public nkey
	Subjects []string
}

// Forward is the block forward {} in events {}.
type Forward struct {
	URL      string
	Seed     secret.Text // of an nkey, or:
	User     string
	Password secret.Text
	CA       *x509.CertPool
}

// Group returns the group of that name.
func (c *Config) Group(name string) (Group, bool) {
	for _, g := range c.Groups {
		if g.Name == name {
			return g, true
		}
	}
	return Group{}, false
}

// Service returns the service of that name; without one, the zero value, which has no methods.
func (c *Config) Service(name string) Service {
	for _, s := range c.Services {
		if s.Name == name {
			return s
		}
	}
	return Service{}
}

// Authentication returns the method of that ID.
func (c *Config) Authentication(id string) (Authentication, bool) {
	for _, a := range c.Authentications {
		if a.ID == id {
			return a, true
		}
	}
	return Authentication{}, false
}

// Asks reports whether some service asks the method, first or as a second factor.
func (c *Config) Asks(id string) bool {
	return slices.ContainsFunc(c.Services, func(s Service) bool {
		return slices.ContainsFunc(s.Authentications, func(first string) bool {
			a, _ := c.Authentication(first)
			return first == id || slices.Contains(a.SecondFactor, id)
		})
	})
}

// FactorIDs lists the methods that an account may name as its second factor: those that no service asks first.
func (c *Config) FactorIDs() []string {
	return slices.DeleteFunc(c.IDs(), func(id string) bool {
		return slices.ContainsFunc(c.Services, func(s Service) bool { return slices.Contains(s.Authentications, id) })
	})
}

// IDs lists the methods.
func (c *Config) IDs() []string {
	ids := make([]string, 0, len(c.Authentications))
	for _, a := range c.Authentications {
		ids = append(ids, a.ID)
	}
	return ids
}

// ServiceNames lists the services.
func (c *Config) ServiceNames() []string {
	names := make([]string, 0, len(c.Services))
	for _, s := range c.Services {
		names = append(names, s.Name)
	}
	return names
}

// GroupNames lists the groups.
func (c *Config) GroupNames() []string {
	names := make([]string, 0, len(c.Groups))
	for _, g := range c.Groups {
		names = append(names, g.Name)
	}
	return names
}
