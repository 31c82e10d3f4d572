package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/admin"
	"github.com/sallyport-ftps/sallyport/host/approval"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/bus"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/ftps"
	"github.com/sallyport-ftps/sallyport/host/mail"
	"github.com/sallyport-ftps/sallyport/host/metrics"
	"github.com/sallyport-ftps/sallyport/host/outbox"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/host/state"
	"github.com/sallyport-ftps/sallyport/plugins"
)

// parts says how much of the program a command needs.
type parts int

const (
	withAccounts  parts = 1
	withEvents    parts = 2
	withLogins    parts = 4 | withAccounts | withEvents
	withListeners parts = 8 // events for subscribers
	everything          = withLogins | withListeners
)

// app is the wired program.
type app struct {
	log       *slog.Logger
	metrics   *metrics.Metrics
	data      *dataDir
	accounts  *account.Accounts
	approvers *approval.Approvers
	store     *state.Bolt
	outbox    *outbox.Outbox
	bus       *bus.Bus
	authority *auth.Authority
	sandbox   *sandbox.Runtime
	stopping  atomic.Bool // the last event is about to be stored
	closers   []func()

	mu       sync.RWMutex
	current  *setup
	retiring sync.WaitGroup // setups that others took the place of
}

// setup is a configuration in use, with its methods. A reload puts another in its place.
type setup struct {
	config  *config.Config
	methods *methods       // nil: nobody can log in
	users   sync.WaitGroup // walks through its chains
	gone    chan struct{}  // closed when nobody uses it or one before it any more
}

// open builds the parts on the data folder, which no other process may hold. Own are the listeners of
// this process, which no plugin may connect to.
func open(ctx context.Context, c *config.Config, log *slog.Logger, need parts, own ...net.Addr) (_ *app, err error) {
	a := &app{log: log, current: &setup{config: c, gone: make(chan struct{})}}
	a.metrics = a.newMetrics(context.WithoutCancel(ctx))
	if a.data, err = openDataDir(c.Server.DataDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.abandon())
		}
	}()
	if need&withAccounts != 0 {
		if err := a.openAccounts(ctx); err != nil {
			return nil, err
		}
	}
	if need&withLogins == withLogins {
		if err := a.accounts.Survey(ctx); err != nil {
			return nil, err
		}
		if err := a.openSandbox(ctx, own); err != nil {
			return nil, err
		}
	}
	if need&withEvents != 0 {
		if err := a.openBus(ctx, need); err != nil {
			return nil, err
		}
	}
	if need&withLogins == withLogins {
		attempts, err := a.openAttempts(ctx)
		if err != nil {
			return nil, err
		}
		a.authority = auth.New(auth.Options{
			Name:        c.Server.Name,
			Recorder:    recorder{a.bus, a.metrics},
			Attempts:    attempts,
			Approvals:   c.Approvals,
			Codes:       a.accounts,
			Passwords:   ownPasswords{a.accounts},
			Homes:       homes{a.config},
			NameUnknown: c.Events.UnknownNames,
			Unrecorded:  !c.Events.Required,
			Refused:     a.metrics.Refused,
			Log:         log,
		})
		for _, m := range c.Authentications {
			a.authority.SetStopped(m.ID, !m.Enabled)
		}
	}
	return a, nil
}

// config is the configuration in use.
func (a *app) config() *config.Config {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.current.config
}

// use returns what is in use, and keeps it usable until release is called.
func (a *app) use() (s *setup, release func()) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	a.current.users.Add(1)
	return a.current, a.current.users.Done
}

func (a *app) openSandbox(ctx context.Context, own []net.Addr) (err error) {
	a.sandbox, err = sandbox.New(ctx, sandbox.Options{CacheDir: a.data.file(cacheDir), Refuse: isOurs(own)})
	if err != nil {
		return err
	}
	a.closers = append(a.closers, func() {
		a.retiring.Wait()
		_ = a.sandbox.Close(context.WithoutCancel(ctx))
	})
	a.current.methods, err = a.loader().load(ctx, a.current.config)
	return err
}

func (a *app) loader() loader {
	return loader{runtime: a.sandbox, accounts: a.accounts, approvers: a.approvers, log: a.log, before: a.current.methods}
}

// isOurs reports whether an address is one of our listeners.
func isOurs(own []net.Addr) func(netip.AddrPort) bool {
	return func(to netip.AddrPort) bool {
		for _, addr := range own {
			listener, ok := addr.(*net.TCPAddr)
			if !ok || listener.Port != int(to.Port()) {
				continue
			}
			if at, _ := netip.AddrFromSlice(listener.IP); !at.IsValid() || at.IsUnspecified() && isLocal(to.Addr()) || at.Unmap() == to.Addr() {
				return true
			}
		}
		return false
	}
}

// isLocal reports whether this machine has the address. When in doubt it has.
func isLocal(ip netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil || ip.IsLoopback() {
		return true
	}
	for _, addr := range addrs {
		if prefix, err := netip.ParsePrefix(addr.String()); err == nil && prefix.Addr().Unmap() == ip {
			return true
		}
	}
	return false
}

func (a *app) openAccounts(ctx context.Context) error {
	store, err := state.OpenBolt(a.data.file(stateFile))
	if err != nil {
		return err
	}
	a.closers = append(a.closers, func() { _ = store.Close() })
	hasher := account.NewHasher(runtime.GOMAXPROCS(0))
	hasher.OnHash = a.metrics.Hashed
	id, err := serverID(a.data.file(serverIDFile))
	if err != nil {
		return err
	}
	a.store = store
	a.outbox = outbox.New(store, a.config().Server.Name)
	a.approvers = approval.NewApprovers(store, a.outbox, id, a.config().Server.Name, a.tell, a.log)
	key, err := account.LoadKey(a.data.file(codesFile))
	if err != nil {
		return err
	}
	a.accounts, err = account.New(ctx, store, a.outbox, hasher, key, accountRules(a.config()))
	return err
}

func accountRules(c *config.Config) account.Rules {
	rules := account.Rules{Passwords: c.Passwords, Groups: c.GroupNames(), Methods: c.FactorIDs(), ByGroup: map[string]policy.Passwords{}}
	for _, g := range c.Groups {
		if g.Passwords != nil {
			rules.ByGroup[g.Name] = *g.Passwords
		}
		if g.OwnPassword {
			rules.OwnChange = append(rules.OwnChange, g.Name)
		}
	}
	return rules
}

func (a *app) openBus(ctx context.Context, need parts) error {
	o := bus.Options{
		Dir:        a.data.file(eventsDir),
		SeedFile:   a.data.file(seedFile),
		ServerName: a.config().Server.Name,
		Retention:  a.config().Events.Retention,
		Size:       a.config().Events.Size,
		Log:        a.log,
	}
	o.Users = eventUsers(a.config())
	var err error
	if need&withListeners != 0 {
		o.Listen = a.config().Events.Listen
		if o.TLS, err = eventsCertificate(a.config()); err != nil {
			return err
		}
		if o.Forward, err = a.forward(); err != nil {
			return err
		}
	}
	if a.bus, err = bus.Open(ctx, o); err != nil {
		return err
	}
	a.closers = append(a.closers, a.bus.Close)
	if a.approvers == nil {
		return nil
	}
	if err := a.outbox.Forget(ctx, a.bus.Stored); err != nil {
		return err
	}
	a.background(ctx, a.publishChanges)
	if need&withListeners != 0 {
		a.background(ctx, a.warnOfEnds)
	}
	if err := a.approvers.Connect(ctx, a.bus); err != nil {
		return err
	}
	return a.bus.Decisions(ctx, a.approvers.Decided)
}

func eventUsers(c *config.Config) (users []bus.User) {
	for _, u := range c.Events.Users {
		users = append(users, bus.User(u))
	}
	return users
}

// eventsCertificate is the listener's; none: nil.
func eventsCertificate(c *config.Config) (*tls.Certificate, error) {
	if c.Events.Certificate == "" {
		return nil, nil
	}
	pair, err := ftps.LoadCertificate(c.Events.Certificate, c.Events.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	return &pair, nil
}

// forward is where events are copied to; nowhere: nil.
func (a *app) forward() (*bus.Forward, error) {
	if a.config().Events.Forward == nil {
		return nil, nil
	}
	id, err := serverID(a.data.file(serverIDFile))
	if err != nil {
		return nil, err
	}
	return forwardTo(a.config(), id)
}

// forwardTo is forward for a server of this ID.
func forwardTo(conf *config.Config, id string) (*bus.Forward, error) {
	c := conf.Events.Forward
	f := &bus.Forward{URL: c.URL, CA: c.CA, ID: id}
	switch {
	case c.User != "":
		f.Option = nats.UserInfo(c.User, c.Password.Reveal())
	case !c.Seed.Empty():
		pair, err := nkeys.FromSeed([]byte(c.Seed.Reveal()))
		if err != nil {
			return nil, fmt.Errorf("events: forward: %w", err)
		}
		key, err := pair.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("events: forward: %w", err)
		}
		f.Option = nats.Nkey(key, pair.Sign)
	}
	return f, nil
}

// tell stores an event that nobody waits for.
func (a *app) tell(ctx context.Context, e events.Payload) {
	if a.bus == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := a.bus.Store(ctx, e); err != nil {
		a.log.Error("event not stored", "type", e.EventType(), "err", err)
	}
}

// serverID names this server for good: decisions are for it alone. It is made at the first start.
func serverID(file string) (string, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		raw = []byte(uuid.NewString() + "\n")
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("server ID: %w", err)
	}
	id, err := uuid.Parse(strings.TrimSpace(string(raw)))
	if err != nil {
		return "", fmt.Errorf("server ID: %s is damaged; approvers' answers to open requests are lost if you remove it: %w", file, err)
	}
	return id.String(), nil
}

// close undoes open. The lock on the data folder goes last.
func (a *app) close() {
	a.closeParts()
	a.data.close()
}

// abandon is close for a start that failed: nothing that it made stays, and only then the lock goes.
func (a *app) abandon() error {
	a.closeParts()
	defer a.data.close()
	return a.data.undo()
}

func (a *app) closeParts() {
	for _, f := range slices.Backward(a.closers) {
		f()
	}
	a.closers = nil
}

// backend is what the administration API stands on.
func (a *app) backend() admin.Backend {
	b := admin.Backend{
		Accounts:  a.accounts,
		Approvers: a.approvers,
		Server:    admin.Server{Version: version(), Config: absolute(a.config().File)},
		CheckHome: func(home string) error { return policy.HomeApart(home, a.data.private) },
	}
	b.Log, b.Name, b.RemoveHome = a.log, a.config().Server.Name, a.removeHome
	b.GroupLimits = func(one account.Account) policy.Limits {
		if len(one.Groups) == 0 {
			return policy.Limits{}
		}
		group, _ := a.config().Group(one.Groups[0])
		return group.Limits
	}
	b.Mail = func() *mail.Settings { return a.config().Mail }
	if a.store != nil {
		b.Snapshot = a.snapshot
	}
	if a.authority != nil {
		b.Logins, b.Methods, b.Locks = logins{a}, methodStates{a}, a.authority.Attempts
		b.Approvals, b.Bans = approvals{a.authority}, a.authority.Attempts
	}
	if a.bus != nil {
		b.Events = follower{a}
	}
	return b
}

// chain makes the steps of a service's methods, as they are when it is asked for them.
func (a *app) chain(service string) auth.Chain {
	return func() ([]auth.Step, func()) {
		s, release := a.use()
		return s.chain(service), release
	}
}

func (s *setup) chain(service string) (steps []auth.Step) {
	for _, id := range s.config.Service(service).Authentications {
		c, _ := s.config.Authentication(id) // the config check has seen to it
		step := s.step(id)
		step.NextOnReject, step.FactorOptional = c.NextOnReject, !c.FactorRequired
		for _, factor := range c.SecondFactor { // without second factors of their own: they are not chained
			step.SecondFactors = append(step.SecondFactors, s.step(factor))
		}
		step.Factor, step.OwnCodes = s.factor, slices.ContainsFunc(s.config.FactorIDs(), s.methods.usesCode)
		steps = append(steps, step)
	}
	return steps
}

// factor is a method that an account names as its second factor.
func (s *setup) factor(id string) (auth.Step, bool) {
	if c, _ := s.config.Authentication(id); !c.Enabled || !slices.Contains(s.config.FactorIDs(), id) {
		return auth.Step{}, false
	}
	return s.step(id), true
}

func (s *setup) step(id string) auth.Step {
	c, _ := s.config.Authentication(id)
	return auth.Step{ID: id, Method: s.methods.method(id), Timeout: c.Timeout, NextOnFailure: c.NextOnFailure, Remember: c.Remember, Linger: c.Linger, Queue: c.Queue, Code: s.methods.usesCode(id), Password: c.Password || len(c.Grants.PasswordTo) > 0}
}

// readPlugin returns a plugin's bytes, read once, so that what is checked is what runs.
func readPlugin(c config.Authentication) ([]byte, error) {
	var wasm []byte
	var err error
	if !filepath.IsAbs(c.Plugin) {
		if wasm, err = plugins.Bundled(c.Plugin); err != nil {
			return nil, fmt.Errorf("authentication %q: there is no bundled plugin %q; there are %q, or give the path of a .wasm file", c.ID, c.Plugin, plugins.Names())
		}
	} else if wasm, err = readFile(c.Plugin, int64(c.Limits.Module)); err != nil {
		return nil, fmt.Errorf("authentication %q: plugin: %w", c.ID, err)
	}
	if digest := sha256.Sum256(wasm); c.SHA256 != "" && hex.EncodeToString(digest[:]) != c.SHA256 {
		return nil, fmt.Errorf("authentication %q: plugin %s has the SHA-256 %x, not the one in the configuration: it is another file", c.ID, c.Plugin, digest)
	}
	return wasm, nil
}

func readFile(name string, most int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, most+1)) // one more: the sandbox says that it is too long
	if err != nil {
		return nil, err
	}
	return content, nil
}

// checkPlugins finds what is wrong with the plugins without compiling or writing anything.
func checkPlugins(ctx context.Context, c *config.Config) error {
	r, err := sandbox.New(ctx, sandbox.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = r.Close(context.WithoutCancel(ctx)) }()
	for _, m := range c.Authentications {
		if !m.Enabled {
			continue
		}
		wasm, err := readPlugin(m)
		if err != nil {
			return err
		}
		if err := r.Check(wasm, m.Limits); err != nil {
			return pluginError(m, err)
		}
	}
	return nil
}

// listeners opens the ports of all services, and makes sure that the events' port is free.
func listeners(c *config.Config) (open []net.Listener, err error) {
	defer func() {
		if err != nil {
			closeAll(open)
			open = nil
		}
	}()
	for _, s := range c.Services {
		l, err := net.Listen("tcp", s.Listen)
		if err != nil {
			return open, fmt.Errorf("service %q: %w; another program may use the port: stop it, or set another listen", s.Name, err)
		}
		open = append(open, l)
	}
	if c.Events.Listen != "" {
		l, err := net.Listen("tcp", c.Events.Listen)
		if err != nil {
			return open, fmt.Errorf(`events: %w; another program may use the port: stop it, set another listen, or "" for none`, err)
		}
		_ = l.Close()
	}
	return open, nil
}

func closeAll(open []net.Listener) {
	for _, l := range open {
		_ = l.Close()
	}
}

// release is set by the linker (see Makefile).
var release string

// version is the release, or else the module's version.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return strings.TrimPrefix(info.Main.Version, "v")
}

// started is the first event of a run.
func (a *app) started() *events.ServerStarted {
	c := a.config()
	return &events.ServerStarted{Name: c.Server.Name, Version: version(), Services: c.ServiceNames(), Methods: c.IDs()}
}

// absolute is a path that is the same from everywhere; empty stays empty.
func absolute(path string) string {
	if path == "" {
		return ""
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return abs
}

// certificates are those of a service, and which of clients it believes.
type certificates struct {
	own     []tls.Certificate // the first is for clients that call it by no name in another one; it is empty if there is none
	clients ftps.ClientCertificates
}

// loadCertificates loads what is configured for each service.
func loadCertificates(c *config.Config) ([]certificates, error) {
	all := make([]certificates, len(c.Services))
	for i, s := range c.Services {
		if s.ClientCerts != "off" {
			clients, err := ftps.LoadClientCertificates(s.ClientCA, s.ClientCRL)
			if err != nil {
				return nil, fmt.Errorf("%s: service %q: %w", s.Where, s.Name, err)
			}
			clients.Asked, clients.Required = true, s.ClientCerts == "require"
			all[i].clients = clients
		}
		all[i].own = make([]tls.Certificate, 1)
		for n, files := range append([]config.KeyPair{{Certificate: s.Certificate, PrivateKey: s.PrivateKey}}, s.OtherNames...) {
			if n == 0 && files.Certificate == "" {
				continue
			}
			pair, err := ftps.LoadCertificate(files.Certificate, files.PrivateKey)
			if err != nil {
				return nil, fmt.Errorf("%s: service %q: %w", s.Where, s.Name, err)
			}
			all[i].own = append(all[i].own[:n], pair)
		}
	}
	return all, nil
}
