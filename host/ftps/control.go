package ftps

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"

	"github.com/sallyport-ftps/sallyport/events"
)

// control is the control connection as the library sees it: lines in clear text, one at a time. TLS is below it, with its
// commands: RATIONALE.md, "Why does the library know nothing of TLS?". Until the login it clamps the library's deadlines to the time that a
// client has to log in.
type control struct {
	net.Conn // the raw one, for deadlines and addresses
	session  *session
	closed   chan struct{}
	once     sync.Once
	drained  sync.Once

	// These are the library's goroutine's for commands.
	conn      net.Conn // what lines come from and replies go to: the raw one, and then TLS's
	ahead     []byte   // what was read of the next lines
	pending   []byte   // of the line that is being handed out
	protected bool     // data connections are
	assumed   bool     // since TLS is implicit, and no PROT was sent
	onlyEPSV  bool     // EPSV ALL was sent
	named     bool     // USER was
	last      string   // the command before
	renames   bool     // it is RNFR, and found a file
	curl      curl
	commands  commands

	answered atomic.Bool // what the library is about: its own reply is for nobody

	mu       sync.Mutex
	firstBy  time.Time // zero: the first command is there, or not waited for yet
	secureBy time.Time // zero: TLS is there
	loginBy  time.Time // zero: logged in
	endBy    time.Time // zero: it goes on
}

// maxLine is how many bytes a command may have, with its end: as many as the library takes.
const maxLine = 4096

func newControl(conn net.Conn, sess *session) *control {
	c := &control{
		Conn: conn, session: sess, closed: make(chan struct{}),
		conn:     conn,
		secureBy: time.Now().Add(sess.service.options.Limits.Secure),
		loginBy:  time.Now().Add(sess.service.options.Limits.PreLogin),
		commands: newCommands(sess.settings),
	}
	_ = c.Conn.SetDeadline(c.clamp(time.Time{}))
	if !sess.service.options.Implicit {
		c.awaitFirst()
	}
	return c
}

// awaitFirst begins the time for the first command.
func (c *control) awaitFirst() {
	c.mu.Lock()
	c.firstBy = time.Now().Add(c.session.service.options.Limits.FirstCommand)
	c.mu.Unlock()
	_ = c.Conn.SetDeadline(c.clamp(time.Time{}))
}

// first ends it.
func (c *control) first() {
	c.mu.Lock()
	waited := !c.firstBy.IsZero()
	c.firstBy = time.Time{}
	c.mu.Unlock()
	if waited {
		_ = c.Conn.SetDeadline(c.clamp(time.Time{}))
	}
}

// secure begins TLS. What was sent behind AUTH in clear text is read as a part of the handshake, which fails, and not as commands
// (RFC 4217, section 15.3).
func (c *control) secure() error {
	secured := tls.Server(&wire{Conn: c.Conn, ahead: c.ahead}, c.session.controlTLS())
	c.session.mu.Lock()
	c.session.handshaking = true
	c.session.mu.Unlock()
	if err := secured.Handshake(); err != nil {
		c.session.handshakeFailed(err)
		return fmt.Errorf("handshake: %w", err)
	}
	c.conn, c.ahead = secured, nil
	c.session.mu.Lock()
	c.session.tls = secured
	c.session.mu.Unlock()
	c.mu.Lock()
	c.secureBy = time.Time{}
	c.mu.Unlock()
	return c.Conn.SetDeadline(c.clamp(time.Time{}))
}

// wire is a raw control connection below TLS.
type wire struct {
	net.Conn
	ahead []byte // that was read already
	reads int
}

// Read implements [net.Conn].
func (w *wire) Read(p []byte) (int, error) {
	if len(w.ahead) > 0 {
		n := copy(p, w.ahead)
		w.ahead = w.ahead[n:]
		return n, nil
	}
	n, err := w.Conn.Read(p)
	if w.reads++; w.reads <= handshakeReads {
		quickAck(w.Conn)
	}
	return n, err
}

// Read implements [net.Conn]. It never times out: the client hears of that here.
func (c *control) Read(p []byte) (int, error) {
	for len(c.pending) == 0 {
		c.answered.Store(false)
		line, err := c.line(p)
		if err != nil {
			return 0, err
		}
		if c.pending, err = c.command(string(line)); err != nil {
			_ = c.Close()
			return 0, net.ErrClosed
		}
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

// line returns the next command. When there is none, the client has been told why.
func (c *control) line(buf []byte) (line []byte, err error) {
	switch line, err = c.read(buf); {
	case errors.Is(err, os.ErrDeadlineExceeded) && c.session.loggedIn():
		c.session.closeFor(events.IdleTimeout)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.session.refuse(events.LoginTimeout, c.late())
	case errors.Is(err, errLongLine):
		c.session.refuse(events.InputTooLong, err)
	case err != nil:
		return nil, err
	case !c.commands.take(time.Now()):
		c.session.refuse(events.TooManyCommands, errBusy)
	default:
		c.first()
		return line, nil
	}
	return nil, net.ErrClosed
}

// read reads a line by way of a buffer, which idle sessions so need not have.
func (c *control) read(buf []byte) (line []byte, err error) {
	for {
		line, rest, whole := bytes.Cut(c.ahead, []byte("\n"))
		switch {
		case len(bytes.TrimSuffix(line, []byte("\r")))+len("\r\n") > maxLine:
			return nil, errLongLine
		case whole:
			c.ahead = rest
			return line, nil
		}
		n, err := c.conn.Read(buf)
		c.ahead = append(c.ahead, buf[:n]...)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && c.session.moves():
			_ = c.Conn.SetDeadline(time.Now().Add(c.session.settings.IdleTimeout)) // who has a transfer under way is not idle
		case err != nil && n == 0:
			return nil, err
		}
	}
}

// command takes a line when it is its turn, and returns what of it is for the library.
func (c *control) command(line string) (forLibrary []byte, err error) {
	command, param, _ := strings.Cut(strings.TrimSuffix(line, "\r"), " ")
	command = spelled(strings.ToUpper(command))
	transfers, alive := c.session.awaitTurn(command, param)
	if !alive {
		return nil, net.ErrClosed
	}
	code, text := c.reply(command, param)
	if command == "ABOR" && !transfers {
		code, text = ftpserver.StatusClosingDataConn, textAborted
	}
	c.last, c.renames = command, false
	c.curl.hear(command)
	if code == 0 {
		c.session.handOver(command)
		if param != "" {
			command += " " + param
		}
		return []byte(command + "\r\n"), nil
	}
	if err := c.say(code, text); err != nil {
		return nil, err
	}
	switch code {
	case ftpserver.StatusAuthAccepted:
		return nil, c.secure()
	case ftpserver.StatusEnteringPASV, ftpserver.StatusEnteringEPSV:
		c.answered.Store(true)
		return []byte("EPSV\r\n"), nil // so that it takes our listener, while the client connects
	}
	return nil, nil
}

// Write implements [net.Conn], for the library, which writes line by line.
func (c *control) Write(p []byte) (int, error) {
	if c.answered.Load() {
		if !bytes.HasPrefix(p, []byte("229")) { // out of file descriptors, for example
			c.session.service.options.Log.Warn("no data connection possible", "service", c.session.service.options.Name, "peer", c.session.peer, "err", strings.TrimSpace(string(p)))
			c.session.closePassive(nil)
		}
		return len(p), nil
	}
	if bytes.HasPrefix(p, []byte("350")) { // to RNFR, or REST: no transfer says so
		c.renames = c.last == "RNFR"
	}
	err := c.write(c.mend(p))
	c.session.replied()
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// write gives each reply time of its own, however long ago the command was. One that fails is the end: TLS can say nothing more then.
func (c *control) write(p []byte) error {
	_ = c.Conn.SetWriteDeadline(c.clamp(time.Now().Add(c.session.settings.IdleTimeout)))
	_, err := c.conn.Write(p)
	if err != nil {
		_ = c.Conn.Close()
	}
	return err
}

// replyTime is how long a client has to take a last reply.
const replyTime = 2 * time.Second

// lastReply begins that time.
func (c *control) lastReply() {
	c.mu.Lock()
	c.endBy = time.Now().Add(replyTime)
	c.mu.Unlock()
	_ = c.Conn.SetWriteDeadline(c.clamp(time.Time{}))
}

// drain reads what a client has sent already, within limits: closing a connection with something unread in it would make the
// kernel throw away what was written to the client last.
func (c *control) drain() {
	conn, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return
	}
	c.drained.Do(func() { drain(conn, mostDrained) })
}

// drain reads what a client still sends, for a time, or up to so many bytes.
func drain(conn *net.TCPConn, most int64) {
	_ = conn.CloseWrite()
	_ = conn.SetReadDeadline(time.Now().Add(replyTime))
	_, _ = io.CopyN(io.Discard, conn, most)
}

// mostDrained is how many bytes are read so on a control connection.
const mostDrained = 1 << 20

// Close implements [net.Conn].
func (c *control) Close() (err error) {
	c.once.Do(func() {
		c.session.mu.Lock()
		secured := c.session.tls
		c.session.mu.Unlock()
		if secured != nil {
			err = secured.Close()
		} else {
			err = c.Conn.Close()
		}
		close(c.closed)
		c.session.over()
	})
	return err
}

// RemoteAddr implements [net.Conn]. The library can't read an address with a zone.
func (c *control) RemoteAddr() net.Addr { return withoutZone(c.Conn.RemoteAddr()) }

func withoutZone(addr net.Addr) net.Addr {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.Zone != "" {
		return &net.TCPAddr{IP: tcp.IP, Port: tcp.Port}
	}
	return addr
}

// SetDeadline implements [net.Conn]: before the login, no later than the client must have logged in.
func (c *control) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(c.clamp(t)) }

// SetReadDeadline implements [net.Conn].
func (c *control) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.clamp(t)) }

func (c *control) clamp(t time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.endBy.IsZero() {
		return c.endBy
	}
	for _, by := range []time.Time{c.firstBy, c.secureBy, c.loginBy} {
		if !by.IsZero() && (t.IsZero() || t.After(by)) {
			t = by
		}
	}
	return t
}

// late is which time is over.
func (c *control) late() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, limits := time.Now(), c.session.service.options.Limits
	switch {
	case !c.firstBy.IsZero() && now.After(c.firstBy):
		return fmt.Errorf("no command within %v (time_to_first_command)", limits.FirstCommand)
	case !c.secureBy.IsZero() && now.After(c.secureBy):
		return fmt.Errorf("no TLS within %v (time_to_secure)", limits.Secure)
	}
	return fmt.Errorf("no login within %v (time_to_login)", limits.PreLogin)
}

// allow gives the connection time until t, whatever was set before. A zero time: logged in.
func (c *control) allow(loginBy, t time.Time) {
	c.mu.Lock()
	c.loginBy = loginBy
	c.mu.Unlock()
	if loginBy.IsZero() {
		c.commands.loggedIn()
	}
	_ = c.Conn.SetDeadline(t)
}
