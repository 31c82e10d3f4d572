// Package ftps speaks FTP over TLS, on ftpserverlib. It turns connections into login attempts,
// verdicts into replies, and sessions into file operations below one home folder.
//
// Start at [Service]: it accepts connections and runs one library server for each, so that the
// driver (driver.go) always knows whose connection it is. The library sees clear text: TLS is below
// it (control.go, data.go, secure.go), and so is what it must not see or say (replies.go).
package ftps

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// Limits are the times that the configuration does not set.
type Limits struct {
	PreLogin     time.Duration // from the connection to PASS, the TLS handshake included
	Secure       time.Duration // from the connection to TLS
	FirstCommand time.Duration // from the connection, or from TLS if it is implicit, to the first command
	DataConnect  time.Duration // from the transfer's command to its data connection
	DataIdle     time.Duration // a data connection on which nothing moves
	ReplyGrace   time.Duration // to deliver a reply after the login's own deadline
	Hangup       time.Duration // between two looks whether a client that waits is still there
}

// DefaultLimits are good for the internet.
func DefaultLimits() Limits {
	return Limits{
		PreLogin:     time.Minute,
		Secure:       15 * time.Second,
		FirstCommand: 10 * time.Second,
		DataConnect:  30 * time.Second,
		DataIdle:     time.Minute,
		ReplyGrace:   10 * time.Second,
		Hangup:       200 * time.Millisecond,
	}
}

// Options are what a Service needs.
type Options struct {
	Name         string
	Banner       string
	Listener     net.Listener
	Implicit     bool
	PassiveFirst int // 0: any free port
	PassiveLast  int
	Private      string // the folder that no home may hold or lie in
	Boot         string // marks the unfinished uploads of this process, for all its services
	Limits       Limits
	Quotas       *Quotas // shared by all services, as Ports are
	Ports        *Ports
	Log          *slog.Logger
	Settings
}

// Settings may change while a service runs. A session keeps those that it began with.
type Settings struct {
	// Certificates: the first is for clients that call the server by no name in another one.
	Certificates   []tls.Certificate
	Clients        ClientCertificates
	Chain          auth.Chain
	LoginTimeout   time.Duration
	IdleTimeout    time.Duration
	MaxConnections int
	MaxPerSource   int // connections from one address (IPv6: one /64)
	MaxPerAccount  int // sessions of one user; 0: any number
	CommandRate    int // commands a second of one session; 0: any number
	AtomicUpload   bool
	MinFree        int64 // bytes that uploads must leave free
	SyncUploads    bool  // an upload is on the disk before the client hears that it is complete
	Umask          os.FileMode
	MaxPath        int // bytes; 0: any
	SessionReuse   SessionReuse
	Digests        Digests
	// PublicAddresses are what PASV says to clients of which network; the first that fits counts.
	PublicAddresses []PublicAddress
}

// settings are Settings in use.
type settings struct {
	Settings
	tls *tls.Config
}

// Authority decides logins.
type Authority interface {
	Login(ctx context.Context, attempt auth.Attempt) auth.Outcome
	// Opened is told of each session; what it returns, when that ends.
	Opened(grant auth.Grant, source netip.Addr) (closed func())
	// ChangePassword changes the password of who is logged in; errors are those of auth.
	ChangePassword(ctx context.Context, grant auth.Grant, source netip.Addr, old, password secret.Text) error
}

// Recorder takes the events of sessions.
type Recorder interface {
	Note(e events.Payload)
}

// Service is one listener with its sessions.
type Service struct {
	options   Options
	authority Authority
	recorder  Recorder
	settings  atomic.Pointer[settings]
	ports     *ports
	buffers   sync.Pool // of *[]byte, for transfers
	refusals  refusedSums

	mu       sync.Mutex
	sessions map[*session]struct{}
	sources  map[string]int // connections of each source
	users    map[string]int // sessions of each user
	rates    map[string]*rates
	closing  bool
	running  sync.WaitGroup
}

// New makes a Service on a listener that is open already.
func New(o Options, authority Authority, recorder Recorder) *Service {
	s := &Service{
		options:   o,
		authority: authority,
		recorder:  recorder,
		buffers:   sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }},
		refusals:  refusedSums{sums: map[events.Reason]*refusedSum{}},
		sessions:  map[*session]struct{}{},
		sources:   map[string]int{},
		users:     map[string]int{},
		rates:     map[string]*rates{},
	}
	s.ports = o.Ports.of(o.PassiveFirst, o.PassiveLast, s.stranger)
	s.Set(o.Settings)
	return s
}

// Set changes the settings for connections from now on.
func (s *Service) Set(o Settings) {
	s.settings.Store(&settings{o, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: o.Certificates, NextProtos: controlProtocols()}})
}

// Serve accepts connections until Shutdown. The context ends logins under way.
func (s *Service) Serve(ctx context.Context) error {
	for {
		conn, err := s.options.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil: // out of file descriptors, for example: later there may be some
			s.options.Log.Error("accept failed", "service", s.options.Name, "err", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		sess := newSession(s, conn)
		if reason := s.admit(sess); reason != "" {
			s.refused(sess.peer.String(), reason, errCrowded)
			if !s.options.Implicit {
				_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
				_, _ = fmt.Fprint(conn, "421 The service can take no further connection.\r\n")
			}
			_ = conn.Close()
			continue
		}
		go s.handle(ctx, sess)
	}
}

// admit counts a connection, or returns why not.
func (s *Service) admit(sess *session) events.Reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	source := policy.SourceKey(sess.peer.Addr())
	switch {
	case s.closing:
		return events.ShuttingDown
	case len(s.sessions) >= sess.settings.MaxConnections:
		return events.TooManyConns
	case s.sources[source] >= sess.settings.MaxPerSource:
		return events.TooManyOfSource
	}
	s.sessions[sess] = struct{}{}
	s.sources[source]++
	s.running.Add(1)
	return ""
}

func (s *Service) dismiss(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess)
	source := policy.SourceKey(sess.peer.Addr())
	if s.sources[source]--; s.sources[source] == 0 {
		delete(s.sources, source)
	}
}

// handle runs the library on one connection and returns when that is closed.
func (s *Service) handle(ctx context.Context, sess *session) {
	defer s.running.Done()
	defer func() {
		s.dismiss(sess)
		s.leaveUser(sess)
		sess.end()
	}()
	if s.options.Implicit {
		if err := sess.control.secure(); err != nil {
			_ = sess.control.Close()
			return
		}
		sess.control.protected, sess.control.assumed = true, true
		sess.control.awaitFirst()
	}
	sess.listener = newOneListener(sess.control)
	server := ftpserver.NewFtpServer(&driver{service: s, session: sess, ctx: ctx})
	server.Logger = slog.New(redact{s.options.Log.Handler()})
	if err := server.ListenAndServe(); err != nil {
		s.options.Log.Error("session failed", "service", s.options.Name, "peer", sess.peer, "err", err)
		_ = sess.control.Close()
	}
	<-sess.control.closed
}

// Shutdown takes no further connection and ends idle sessions at once. Transfers under way go on
// until the context ends; then their sessions are ended too. It returns when all are gone.
func (s *Service) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	_ = s.options.Listener.Close()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for first := true; ; first = false {
		left := s.endSessions(ctx.Err() != nil)
		if left == 0 {
			break
		}
		if first {
			s.options.Log.Info("waiting for transfers", "service", s.options.Name, "sessions", left)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	s.running.Wait()
	s.ports.close()
	s.sumUpAll()
}

// endSessions closes the idle sessions, or all, and returns how many are left.
func (s *Service) endSessions(all bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := 0
	for sess := range s.sessions {
		if !all && sess.busy() {
			left++
			continue
		}
		go sess.closeFor(events.ServerShutdown) // a client that does not read must not hold up the others
	}
	return left
}

// redact passes on what the library logs, without what the client sent: after a panic that would
// be the PASS line. Only a panic is worth more than debug level: strangers cause the rest.
type redact struct{ slog.Handler }

// Enabled implements [slog.Handler].
func (h redact) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || h.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle implements [slog.Handler].
func (h redact) Handle(ctx context.Context, r slog.Record) error {
	level, hidden := slog.LevelDebug, []string{"param", "line", "command"}
	if strings.HasPrefix(r.Message, "Internal command") {
		level, hidden = slog.LevelError, []string{"param", "err"}
	}
	if !h.Handler.Enabled(ctx, level) {
		return nil
	}
	clean := slog.NewRecord(r.Time, level, "ftp: "+r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if !slices.Contains(hidden, a.Key) {
			clean.AddAttrs(a)
		}
		return true
	})
	return h.Handler.Handle(ctx, clean)
}

// WithAttrs implements [slog.Handler].
func (h redact) WithAttrs(attrs []slog.Attr) slog.Handler { return redact{h.Handler.WithAttrs(attrs)} }

// WithGroup implements [slog.Handler].
func (h redact) WithGroup(name string) slog.Handler { return redact{h.Handler.WithGroup(name)} }

// oneListener gives the library its one connection, and ends the library's server after it.
type oneListener struct {
	conn chan net.Conn
	addr net.Addr
	done chan struct{}
	once sync.Once
}

func newOneListener(conn net.Conn) *oneListener {
	l := &oneListener{conn: make(chan net.Conn, 1), addr: conn.LocalAddr(), done: make(chan struct{})}
	l.conn <- conn
	return l
}

// Accept implements [net.Listener].
func (l *oneListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conn:
		return conn, nil
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
}

// Close implements [net.Listener].
func (l *oneListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements [net.Listener].
func (l *oneListener) Addr() net.Addr { return l.addr }
