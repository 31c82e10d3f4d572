package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/admin"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/ftps"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

type logFlags struct {
	LogFormat string `help:"Format of the log on standard error: text or json." enum:"text,json" default:"text"`
	Verbose   bool   `help:"Log more." short:"v"`
}

func (f logFlags) logger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	if f.Verbose {
		o.Level = slog.LevelDebug
	}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

type serveCommand struct{ logFlags }

// Run implements the command.
func (cmd serveCommand) Run(ctx context.Context, c *cli, s streams) error {
	conf, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	return serve(ctx, conf, cmd.logger(s.err), nil)
}

type demoCommand struct{ logFlags }

// Run implements the command. It takes no config.hcl that happens to lie about: an account with
// a printed password must not get into a real server by accident.
func (cmd demoCommand) Run(ctx context.Context, c *cli, s streams) error {
	conf, err := demoConfig(c.Config)
	if err != nil {
		return err
	}
	return serve(ctx, conf, cmd.logger(s.err), func(r *running) error { return r.demo(ctx, s.out) })
}

func demoConfig(file string) (*config.Config, error) {
	if file != "" {
		return config.Load(file)
	}
	return config.Defaults()
}

// running is a server that serves.
type running struct {
	*app
	reloading   sync.Mutex
	closing     bool          // nothing is reloaded any more; guarded by reloading
	retired     chan struct{} // of the setup before the one in use; guarded by reloading
	services    []*ftps.Service
	listeners   []net.Listener
	certificate string // file of the self-signed one; empty: none is used
	socket      *http.Server
	calls       sync.WaitGroup // on the socket
	ending      atomic.Bool    // no login is let in any more
}

// serve runs the server until the context ends, then lets transfers finish. Whatever can be
// checked is checked before anything is written.
func serve(ctx context.Context, conf *config.Config, log *slog.Logger, ready func(*running) error) (err error) {
	start := time.Now()
	if err := checkPlugins(ctx, conf); err != nil {
		return err
	}
	if _, err := loadCertificates(conf); err != nil {
		return err
	}
	if _, err := eventsCertificate(conf); err != nil {
		return err
	}
	if err := checkLock(conf.Server.DataDir); err != nil {
		return err
	}
	r := &running{}
	if r.listeners, err = listeners(conf); err != nil {
		return err
	}
	defer closeAll(r.listeners)
	if r.app, err = open(ctx, conf, log, everything, r.own(conf)...); err != nil {
		return err
	}
	for _, warning := range append(conf.Warnings, missingFolders(conf)...) {
		log.Warn(warning)
	}
	err = r.current.methods.probe(ctx, conf, func(m config.Authentication) bool { return m.TestAtStart }).problem()
	if err == nil {
		err = r.prepare()
	}
	if err != nil {
		return errors.Join(err, r.abandon())
	}
	defer r.close()
	doubleProcs()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	go func() {
		for range hangups {
			if _, err := r.reload(ctx); err != nil {
				log.Error("not reloaded, nothing was changed", "err", err)
			}
		}
	}()
	if err := r.bus.Store(ctx, r.started()); err != nil {
		return fmt.Errorf("the first event can't be stored: %w", err)
	}
	if ready != nil {
		if err := ready(r); err != nil {
			return err
		}
	}
	log.Info("sallyport serves", "version", version(), "data", conf.Server.DataDir, "events", r.bus.Addr(), "started_in", time.Since(start).Round(time.Millisecond))
	r.run(ctx)
	log.Info("sallyport stopped", "uptime", time.Since(start).Round(time.Second))
	return nil
}

// doubleProcs lets twice as many goroutines run as there are processors, unless GOMAXPROCS says how many. It comes after [open], which counts
// processors for what must not be more. RATIONALE.md, "How does a login get through while transfers take all processors?".
func doubleProcs() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	}
}

// drainTimeout is how long events may take, at the end, that nobody has waited for.
const drainTimeout = 2 * time.Second

// socketTimeout is how long calls on the administration socket may still take at the end.
const socketTimeout = 2 * time.Second

// prepare makes the services and opens the administration socket.
func (r *running) prepare() error {
	pairs, err := r.certificates(r.config())
	if err != nil {
		return err
	}
	boot, quotas, ports := rand.Text(), ftps.NewQuotas(), ftps.NewPorts()
	for i, s := range r.config().Services {
		r.services = append(r.services, ftps.New(ftps.Options{
			Name: s.Name, Banner: "Sallyport FTPS", Listener: r.listeners[i], Implicit: s.Implicit, PassiveFirst: s.PassiveFirst, PassiveLast: s.PassiveLast,
			Boot: boot, Private: r.data.private, Limits: limitsOf(s), Quotas: quotas, Ports: ports, Log: r.log, Settings: r.settings(s, pairs[i]),
		}, r.authority, recorder{r.bus, r.metrics}))
		r.log.Info("service listens", "service", s.Name, "address", r.listeners[i].Addr().String(), "tls", mode(s), "methods", strings.Join(s.Authentications, ","))
	}
	if err := r.serveMetrics(); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	socket, err := r.data.listenSocket()
	if err != nil {
		return err
	}
	backend := r.backend()
	backend.Reload = func(ctx context.Context) (admin.Reloaded, error) {
		done, err := r.reload(ctx)
		if err != nil {
			r.log.Error("not reloaded, nothing was changed", "err", err)
		}
		return done, err
	}
	backend.Replay, backend.Sessions = r.bus.Replay, sessions{r}
	api := admin.Handler(backend)
	r.socket = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.calls.Add(1)
		defer r.calls.Done()
		api.ServeHTTP(w, q)
	})}
	go func() { _ = r.socket.Serve(socket) }()
	return nil
}

// limitsOf are the times of a service.
func limitsOf(s config.Service) ftps.Limits {
	l := ftps.DefaultLimits()
	l.PreLogin, l.Secure, l.FirstCommand, l.DataConnect, l.DataIdle = s.TimeToLogin, s.TimeToSecure, s.TimeToCommand, s.DataConnect, s.DataIdle
	return l
}

func mode(s config.Service) string {
	if s.Implicit {
		return "implicit"
	}
	return "explicit"
}

// own are the addresses that we listen on.
func (r *running) own(c *config.Config) (addrs []net.Addr) {
	for _, l := range r.listeners {
		addrs = append(addrs, l.Addr())
	}
	if addr, err := net.ResolveTCPAddr("tcp", c.Events.Listen); err == nil && c.Events.Listen != "" {
		addrs = append(addrs, addr)
	}
	return addrs
}

func (r *running) selfSigned(c *config.Config) (tls.Certificate, error) {
	r.certificate = filepath.Join(r.data.path, certificateFile)
	pair, made, err := ftps.SelfSigned(r.certificate, r.data.file(keyFile), c.Server.Name)
	if err == nil && made {
		r.log.Warn("a self-signed certificate was made; clients must be told to trust it", "file", r.certificate, "sha256", fmt.Sprintf("%x", sha256.Sum256(pair.Certificate[0])))
	}
	return pair, err
}

// close waits for a reload that is under way.
func (r *running) close() {
	r.reloading.Lock()
	r.closing = true
	r.reloading.Unlock()
	r.app.close()
}

// run serves until the context ends, and shuts down in order.
func (r *running) run(ctx context.Context) {
	start := time.Now()
	logins, endLogins := context.WithCancel(context.WithoutCancel(ctx))
	defer endLogins()
	var serving sync.WaitGroup
	for _, s := range r.services {
		serving.Go(func() {
			if err := s.Serve(logins); err != nil {
				r.log.Error("service ended", "err", err)
			}
		})
	}
	<-ctx.Done()

	r.log.Info("shutting down", "timeout", r.config().Server.ShutdownTimeout)
	r.ending.Store(true)
	r.authority.Close()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.config().Server.ShutdownTimeout)
	defer cancel()
	for _, s := range r.services {
		serving.Go(func() { s.Shutdown(limit) })
	}
	serving.Wait()
	r.authority.Finish(context.WithoutCancel(ctx))
	r.stopping.Store(true)
	limit, cancel = context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	r.bus.Drain(limit) // who follows events reads how the sessions ended before it reads that the server did
	cancel()
	stopped := &events.ServerStopped{Name: r.config().Server.Name, UptimeMS: time.Since(start).Milliseconds()}
	if err := r.bus.Store(context.WithoutCancel(ctx), stopped); err != nil {
		r.log.Error("last event not stored", "err", err)
	}
	limit, cancel = context.WithTimeout(context.WithoutCancel(ctx), socketTimeout)
	defer cancel()
	if err := r.socket.Shutdown(limit); err != nil { // who follows events has a moment to get the last one
		_ = r.socket.Close() // ends the contexts of the calls
	}
	r.calls.Wait()
}

// demo makes the account "demo", or gives it a new password, and prints lines to try.
func (r *running) demo(ctx context.Context, out io.Writer) error {
	password := demoPassword()
	_, err := r.accounts.Add(ctx, account.Account{Name: "demo"}, secret.New(password))
	if errors.Is(err, account.ErrExists) {
		_, err = r.accounts.SetPassword(ctx, "demo", secret.New(password), account.Terms{})
	}
	if err != nil {
		return fmt.Errorf("demo account: %w", err)
	}
	addr := r.listeners[0].Addr().(*net.TCPAddr)
	program, err := os.Executable()
	if err != nil {
		program = "sallyport"
	}
	ca, tail := shown(r.certificate), shown(program)
	if file := r.config().File; file != "" {
		tail += " --config " + shown(file)
	}
	_, err = fmt.Fprintf(out, `
Sallyport serves explicit FTPS on %[1]s.

  account   demo
  password  %[2]s

Try it from another terminal:

  curl --ssl-reqd --cacert %[3]s -u demo:%[2]s -T README.md ftp://%[1]s/
  curl --ssl-reqd --cacert %[3]s -u demo:%[2]s ftp://%[1]s/
  lftp -u demo,%[2]s -e 'set ftp:ssl-force true; set ssl:ca-file %[3]s; ls; exit' ftp://%[1]s
  %[4]s events tail --since 10m

Ctrl-C stops it. The files are in %[5]s.

`, addr, password, ca, tail, shown(filepath.Join(r.config().Server.DataDir, "files", "demo")))
	return err
}

// shown is a path as short as it can be from here.
func shown(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(here, path); err == nil && !strings.HasPrefix(rel, "../") {
		return rel
	}
	return path
}

// demoPassword has 100 random bits in letters and digits that can't be mistaken for each other.
func demoPassword() string {
	text := strings.ToLower(rand.Text())
	return text[:5] + "-" + text[5:10] + "-" + text[10:15] + "-" + text[15:20]
}
