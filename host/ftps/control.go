package ftps

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
)

// control is the control connection as the library sees it: lines in clear text, one at a time. TLS is below it, and so are the commands
// of RFC 2228, which the library does not get to see: RATIONALE.md, "Why does the library know nothing of TLS?". Until the login it clamps
// the library's deadlines to the time that a client has to log in.
type control struct {
	net.Conn // the raw one, for deadlines and addresses
	session  *session
	ctx      context.Context // of the service
	closed   chan struct{}
	once     sync.Once
	drained  sync.Once

	// These are the library's goroutine's for commands.
	lines     *bufio.Reader
	pending   []byte    // of the line that is being handed out
	out       io.Writer // replies
	protected bool      // data connections are
	curl      bool      // the client is curl, as it seems
	commands  commands

	mu       sync.Mutex
	secureBy time.Time // zero: TLS is there
	loginBy  time.Time // zero: logged in
}

// inTurn makes a command of RFC 2228 one that the library answers when it is its turn, by way of [files.Site].
const inTurn = "SITE "

// maxLine is how many bytes a command may have, with its end: as many as the library takes.
const maxLine = 4096 - len(inTurn)

func newControl(ctx context.Context, conn net.Conn, sess *session) *control {
	c := &control{
		Conn: conn, session: sess, ctx: ctx, closed: make(chan struct{}),
		lines: bufio.NewReaderSize(conn, maxLine), out: conn,
		secureBy: time.Now().Add(sess.service.options.Limits.Secure),
		loginBy:  time.Now().Add(sess.service.options.Limits.PreLogin),
		commands: newCommands(sess.settings),
	}
	_ = c.Conn.SetDeadline(c.clamp(time.Time{}))
	return c
}

// secure begins TLS. What was sent behind AUTH in clear text is read as a part of the handshake, which fails, and not as commands
// (RFC 4217, section 15.3).
func (c *control) secure() error {
	ahead, _ := c.lines.Peek(c.lines.Buffered())
	secured := tls.Server(&wire{Conn: c.Conn, ahead: append([]byte(nil), ahead...)}, c.session.controlTLS())
	if err := secured.HandshakeContext(c.ctx); err != nil {
		c.session.handshakeFailed(err)
		return fmt.Errorf("handshake: %w", err)
	}
	c.lines, c.out = bufio.NewReaderSize(secured, maxLine), secured
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
		line, err := c.line()
		if err != nil {
			return 0, err
		}
		if c.pending, err = c.security(line); err != nil {
			_ = c.Close()
			return 0, net.ErrClosed
		}
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

// line reads the next command. When there is none, the client has been told why.
func (c *control) line() (line []byte, err error) {
	for {
		line, err = c.lines.ReadSlice('\n')
		if !errors.Is(err, os.ErrDeadlineExceeded) || !c.session.busy() {
			break
		}
		_ = c.Conn.SetDeadline(time.Now().Add(c.session.settings.IdleTimeout)) // who has a transfer under way is not idle
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && c.session.loggedIn():
		c.session.closeFor(events.IdleTimeout)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.session.refuse(events.LoginTimeout, errSlow)
	case errors.Is(err, bufio.ErrBufferFull):
		c.session.refuse(events.InputTooLong, errLongLine)
	case err != nil:
		return nil, err
	case !c.commands.take(time.Now()):
		c.session.refuse(events.TooManyCommands, errBusy)
	default:
		return line, nil
	}
	return nil, net.ErrClosed
}

// security answers the commands of RFC 2228, and returns others for the library. Who is logged in may have sent them while a transfer is
// under way: then they must wait for its reply.
func (c *control) security(line []byte) ([]byte, error) {
	command, param := parse(line)
	switch command {
	default:
		return line, nil
	case "PASV", "EPSV":
		if c.protected || !c.session.loggedIn() {
			return line, nil
		}
	case "AUTH", "PBSZ", "PROT":
	}
	if c.session.loggedIn() {
		return append([]byte(inTurn), line...), nil
	}
	code, text := c.answer(command, param)
	if _, err := fmt.Fprintf(c, "%d %s\r\n", code, text); err != nil {
		return nil, err
	}
	if code == codeBeginTLS {
		return nil, c.secure()
	}
	return nil, nil
}

// parse takes a line apart as the library does.
func parse(line []byte) (command, param string) {
	command, param, _ = strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
	return strings.ToUpper(command), param
}

// Replies of RFC 2228, section 5, and RFC 4217, for which the library has no names.
const (
	codeBeginTLS        = 234
	codeBadSequence     = 503
	codeNotProtected    = 521
	codeLevelRefused    = 534
	codeLevelNotByTLS   = 536
	codeNotImplemented  = 504
	codeBadBufferSize   = 501
	codeSecurityAgreed  = 200
	textSecured         = "The connection is secured already."
	textNotSecured      = "AUTH TLS comes first."
	textMustBeProtected = "Data connections must be encrypted: PROT P."
)

// answer is the reply to AUTH, PBSZ and PROT, and to who wants a data connection in clear text.
func (c *control) answer(command, param string) (code int, text string) {
	param = strings.ToUpper(param)
	secured := c.session.isSecured()
	switch {
	case command == "AUTH" && secured:
		return codeBadSequence, textSecured
	case command == "AUTH" && (param == "TLS" || param == "TLS-C" || param == "SSL"):
		c.curl = param == "SSL" // the others say TLS, or it first
		return codeBeginTLS, "Begin with TLS."
	case command == "AUTH":
		return codeNotImplemented, "Only AUTH TLS is known here."
	case !secured:
		return codeBadSequence, textNotSecured
	case command == "PBSZ":
		if _, err := strconv.ParseUint(param, 10, 32); err != nil {
			return codeBadBufferSize, "PBSZ 0 is expected."
		}
		return codeSecurityAgreed, "PBSZ=0"
	case command != "PROT":
		return codeNotProtected, textMustBeProtected
	}
	switch param {
	case "P":
		c.protected = true
		return codeSecurityAgreed, "Data connections are encrypted."
	case "C":
		return codeLevelRefused, textMustBeProtected
	case "S", "E":
		return codeLevelNotByTLS, "TLS has PROT P only."
	}
	return codeNotImplemented, "PROT P is expected."
}

// Write implements [net.Conn].
func (c *control) Write(p []byte) (int, error) {
	n, err := c.out.Write(p)
	c.session.replied()
	return n, err
}

// replyTime is how long a client has to take a last reply.
const replyTime = 2 * time.Second

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
	})
	return err
}

// SetDeadline implements [net.Conn]: before the login, no later than the client must have logged in.
func (c *control) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(c.clamp(t)) }

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
