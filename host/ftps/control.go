package ftps

import (
	"bufio"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
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
	plain   *bufio.Reader // nil once TLS begins
	pending []byte        // of the line that is being handed out
	reads   int           // since TLS began

	mu      sync.Mutex
	loginBy time.Time // zero: logged in
}

func newControl(conn net.Conn, sess *session) *control {
	c := &control{
		Conn: conn, session: sess, closed: make(chan struct{}),
		plain:   bufio.NewReaderSize(conn, 4096),
		loginBy: time.Now().Add(sess.service.options.Limits.PreLogin),
	}
	_ = c.SetDeadline(c.loginBy)
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

// notice remembers an idle time-out as the reason of the end.
func (c *control) notice(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.session.busy() {
		c.session.ended(events.IdleTimeout)
	}
	return err
}

// Write implements [net.Conn].
func (c *control) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.session.replied()
	return n, err
}

// Close implements [net.Conn].
func (c *control) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

// SetDeadline implements [net.Conn]: before the login, no later than the client must have logged in.
func (c *control) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(c.clamp(t)) }

// SetReadDeadline implements [net.Conn].
func (c *control) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.clamp(t)) }

func (c *control) clamp(t time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.loginBy.IsZero() && (t.IsZero() || t.After(c.loginBy)) {
		return c.loginBy
	}
	return t
}

// allow gives the connection time until t, whatever was set before. A zero time: logged in.
func (c *control) allow(loginBy, t time.Time) {
	c.mu.Lock()
	c.loginBy = loginBy
	c.mu.Unlock()
	_ = c.Conn.SetDeadline(t)
}
