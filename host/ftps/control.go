package ftps

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
)

// control is the raw control connection, below TLS. Until the login it clamps the library's
// deadlines to the time that a client has to log in, and until TLS it hands the library one line
// at a time: AUTH takes no other mechanism, and what is sent behind AUTH in clear text ends up in
// the TLS handshake, which fails, instead of among the commands (RFC 4217, section 15.3).
type control struct {
	net.Conn
	session *session
	closed  chan struct{}
	once    sync.Once
	drained sync.Once
	plain   *bufio.Reader // nil once TLS begins
	pending []byte        // of the line that is being handed out
	reads   int           // since TLS began
	flooded atomic.Bool   // see timeOut
	late    atomic.Bool   // the time to log in is over: the library sets a deadline once more, to say so

	mu       sync.Mutex
	secureBy time.Time // zero: TLS is there
	loginBy  time.Time // zero: logged in
	commands commands
}

func newControl(conn net.Conn, sess *session) *control {
	c := &control{
		Conn: conn, session: sess, closed: make(chan struct{}),
		plain:    bufio.NewReaderSize(conn, 4096),
		secureBy: time.Now().Add(sess.service.options.Limits.Secure),
		loginBy:  time.Now().Add(sess.service.options.Limits.PreLogin),
		commands: newCommands(sess.settings),
	}
	_ = c.Conn.SetDeadline(c.clamp(time.Time{}))
	return c
}

// skipFilter ends the plain text phase. Bytes that were read ahead stay in front.
func (c *control) skipFilter() {
	if c.plain == nil {
		return
	}
	ahead, _ := c.plain.Peek(c.plain.Buffered())
	c.pending = append(c.pending, ahead...)
	c.plain = nil
}

// Read implements [net.Conn].
func (c *control) Read(p []byte) (int, error) {
	for len(c.pending) == 0 && c.plain != nil {
		line, err := c.plain.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && len(line) == 0 {
			return 0, c.notice(err)
		}
		if foreignAuth(string(line)) {
			if !c.commands.take(time.Now()) {
				c.session.tooManyCommands()
				return 0, net.ErrClosed
			}
			if _, err := c.Write([]byte("504 Only AUTH TLS is known here.\r\n")); err != nil {
				return 0, err
			}
			continue
		}
		c.pending = append(c.pending, line...)
	}
	if len(c.pending) > 0 {
		n := copy(p, c.pending)
		c.pending = c.pending[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p)
	if c.reads++; c.reads <= handshakeReads {
		quickAck(c.Conn)
	}
	return n, c.notice(err)
}

// foreignAuth reports whether the line is AUTH with something else than TLS.
func foreignAuth(line string) bool {
	command, mechanism, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	if !strings.EqualFold(command, "AUTH") {
		return false
	}
	switch strings.ToUpper(mechanism) {
	case "TLS", "TLS-C", "SSL":
		return false
	}
	return true
}

// replyTime is how long the library has to tell a client that its time is up.
const replyTime = 2 * time.Second

// notice remembers an idle time-out as the reason of the end. Who did not log in in time is told so.
func (c *control) notice(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) || c.session.busy() || c.flooded.Load() {
		return err
	}
	c.mu.Lock()
	late := !c.loginBy.IsZero()
	if late {
		c.late.Store(true)
		c.secureBy, c.loginBy = time.Time{}, time.Now().Add(replyTime)
	}
	c.mu.Unlock()
	if late {
		c.session.service.refused(c.session.peer.String(), events.LoginTimeout, errSlow)
	}
	c.session.ended(events.IdleTimeout)
	return err
}

// secured ends the time that the client has for TLS.
func (c *control) secured() {
	c.mu.Lock()
	c.secureBy = time.Time{}
	c.mu.Unlock()
	_ = c.Conn.SetDeadline(c.clamp(time.Time{}))
}

// Write implements [net.Conn].
func (c *control) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.session.replied()
	return n, err
}

// drain reads what a client has sent already, within limits: closing a connection with something unread in it would make the
// kernel throw away what was written to the client last.
func (c *control) drain() {
	conn, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return
	}
	c.drained.Do(func() {
		_ = conn.CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(replyTime))
		_, _ = io.CopyN(io.Discard, conn, mostDrained)
	})
}

// mostDrained is how many bytes are read so.
const mostDrained = 1 << 20

// Close implements [net.Conn].
func (c *control) Close() error {
	if c.flooded.Load() {
		c.drain()
	}
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

// SetDeadline implements [net.Conn]: before the login, no later than the client must have logged in. The library sets it before
// it reads a command, each time: so commands are counted here.
func (c *control) SetDeadline(t time.Time) error {
	if c.late.Load() || c.commands.take(time.Now()) {
		return c.Conn.SetDeadline(c.clamp(t))
	}
	if c.plain == nil && !c.session.speaks() && c.commands.left > -commandsToLogin {
		return c.timeOut()
	}
	c.session.tooManyCommands()
	return net.ErrClosed
}

// timeOut makes the library take the client for an idle one. Under TLS nobody else can say 421 before USER. What it has read already it
// answers first; if that is much, the connection ends without a word.
func (c *control) timeOut() error {
	if !c.flooded.Swap(true) {
		c.session.service.refused(c.session.peer.String(), events.TooManyCommands, errBusy)
	}
	now := time.Now()
	return errors.Join(c.Conn.SetReadDeadline(now), c.Conn.SetWriteDeadline(now.Add(replyTime)))
}

// SetReadDeadline implements [net.Conn].
func (c *control) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.clamp(t)) }

func (c *control) clamp(t time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, by := range []time.Time{c.secureBy, c.loginBy} {
		if !by.IsZero() && (t.IsZero() || t.After(by)) {
			t = by
		}
	}
	return t
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
