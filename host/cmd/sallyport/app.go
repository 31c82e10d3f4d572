package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/admin"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/bus"
	"github.com/sallyport-ftps/sallyport/host/config"
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
	config    *config.Config
	log       *slog.Logger
	data      *dataDir
	accounts  *account.Accounts
	bus       *bus.Bus
	authority *auth.Authority
	methods   *methods
	stopping  atomic.Bool // the last event is about to be stored
	closers   []func()
}

// open builds the parts on the data folder, which no other process may hold.
func open(ctx context.Context, c *config.Config, log *slog.Logger, need parts) (_ *app, err error) {
	a := &app{config: c, log: log}
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
		if a.methods, err = loadMethods(ctx, c, a.data.file(cacheDir), a.accounts, log); err != nil {
			return nil, err
		}
		a.closers = append(a.closers, func() { a.methods.close(context.WithoutCancel(ctx)) })
	}
	if need&withEvents != 0 {
		if err := a.openBus(ctx, need); err != nil {
			return nil, err
		}
	}
	if need&withLogins == withLogins {
		a.authority = auth.New(auth.Options{
			Recorder:    a.bus,
			Attempts:    policy.NewAttempts(c.Attempts, time.Now),
			Homes:       homes{c},
			NameUnknown: c.Events.UnknownNames,
			Log:         log,
		})
		for _, m := range c.Authentications {
			a.authority.SetStopped(m.ID, !m.Enabled)
		}
	}
	return a, nil
}

func (a *app) openAccounts(ctx context.Context) error {
	store, err := state.OpenBolt(a.data.file(stateFile))
	if err != nil {
		return err
	}
	a.closers = append(a.closers, func() { _ = store.Close() })
	hasher, err := account.NewHasher(runtime.GOMAXPROCS(0))
	if err != nil {
		return err
	}
	a.accounts, err = account.New(ctx, store, hasher, a.config.Passwords, a.config.GroupNames())
	return err
}

func (a *app) openBus(ctx context.Context, need parts) error {
	o := bus.Options{
		Dir:        a.data.file(eventsDir),
		SeedFile:   a.data.file(seedFile),
		ServerName: a.config.Server.Name,
		Retention:  a.config.Events.Retention,
		Log:        a.log,
	}
	if need&withListeners != 0 {
		o.Listen = a.config.Events.Listen
	}
	var err error
	if a.bus, err = bus.Open(ctx, o); err != nil {
		return err
	}
	a.closers = append(a.closers, a.bus.Close)
	return nil
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
		Server:    admin.Server{Version: version(), Config: absolute(a.config.File)},
		CheckHome: func(home string) error { return policy.HomeApart(home, a.data.private) },
	}
	b.Log = a.log
	if a.authority != nil {
		b.Logins, b.Methods, b.Locks = logins{a}, methodStates{a}, a.authority.Attempts
	}
	if a.bus != nil {
		b.Events = follower{a}
	}
	return b
}

// chain makes the steps of a service's list of methods.
func (a *app) chain(ids []string) []auth.Step {
	var steps []auth.Step
	for _, id := range ids {
		c, _ := a.config.Authentication(id) // the config check has seen to it
		steps = append(steps, auth.Step{
			ID:             id,
			Method:         a.methods.method(id),
			Timeout:        c.Timeout,
			NextOnReject:   c.NextOnReject,
			NextOnFailure:  c.NextOnFailure,
			SecondFactors:  a.factors(c.SecondFactor),
			FactorOptional: !c.FactorRequired,
		})
	}
	return steps
}

// factors are steps without second factors of their own: they are not chained.
func (a *app) factors(ids []string) []auth.Step {
	var steps []auth.Step
	for _, id := range ids {
		c, _ := a.config.Authentication(id)
		steps = append(steps, auth.Step{ID: id, Method: a.methods.method(id), Timeout: c.Timeout, NextOnFailure: c.NextOnFailure})
	}
	return steps
}

// readPlugin returns a plugin's bytes, read once, so that what is checked is what runs.
func readPlugin(c config.Authentication) ([]byte, error) {
	var wasm []byte
	var err error
	if !filepath.IsAbs(c.Plugin) {
		if wasm, err = plugins.Bundled(c.Plugin); err != nil {
			return nil, fmt.Errorf("authentication %q: there is no bundled plugin %q; there are %q, or give the path of a .wasm file", c.ID, c.Plugin, plugins.Names())
		}
	} else if wasm, err = readFile(c.Plugin, int64(sandbox.DefaultLimits().Module)); err != nil {
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
	r, err := sandbox.New(ctx, "", sandbox.DefaultLimits())
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
		if err := r.Check(wasm); err != nil {
			return fmt.Errorf("authentication %q: plugin %s: %w", m.ID, m.Plugin, err)
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
	e := &events.ServerStarted{Name: a.config.Server.Name, Version: version()}
	for _, s := range a.config.Services {
		e.Services = append(e.Services, s.Name)
	}
	for _, m := range a.config.Authentications {
		e.Methods = append(e.Methods, m.ID)
	}
	return e
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

// certificateOf loads a service's configured certificate; none: nil.
func certificateOf(s config.Service, load func(certificate, key string) (tls.Certificate, error)) (*tls.Certificate, error) {
	if s.Certificate == "" {
		return nil, nil
	}
	pair, err := load(s.Certificate, s.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("service %q: %w", s.Name, err)
	}
	return &pair, nil
}
