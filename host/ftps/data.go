package ftps

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// errCut is what reading a data connection gives when it ends without TLS's close_notify: then
// nobody knows whether the file is complete. crypto/tls passes it on, io.EOF it would swallow.
var errCut = errors.New("the data connection was cut")

var (
	errNoData  = errors.New("no data connection came")
	errNoTLS   = errors.New("no TLS on the data connection")
	errGivenUp = errors.New("the transfer was given up")
	errNotOpen = errors.New("EPSV or PASV comes first")

	errHandshake = errors.New("the TLS handshake failed")
)

// listen opens the port for the next data connection, on the control connection's own address. The one before is closed: its port may be
// the only one.
func (sess *session) listen() (net.Addr, error) {
	local, ok := sess.control.LocalAddr().(*net.TCPAddr)
	if !ok {
		return nil, errors.New("no TCP connection")
	}
	sess.closePassive(nil)
	own, err := sess.service.ports.openSoon(sess.files.ctx, local, sess.peer.Addr(), sess.control.closed)
	if err != nil {
		sess.service.options.Log.Warn("no data connection possible", "service", sess.service.options.Name, "peer", sess.peer, "user", sess.grant.User, "err", err)
		return nil, err
	}
	l := &passiveListener{port: own, session: sess}
	if sess.control.curl.is() {
		l.early = begin(l.arrive)
		time.Sleep(curlPause)
	}
	sess.closePassive(l)
	return own.Addr(), nil
}

// adopt gives the library the listener of [session.listen] for its own, which is on all addresses. It goes on to set deadlines on that, so it stays
// open, but deaf, as long as ours.
func (sess *session) adopt(library net.Listener) (net.Listener, error) {
	if err := deafen(library); err != nil {
		return nil, err
	}
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.passive == nil || !sess.passive.keep(library) {
		return nil, errGivenUp
	}
	return sess.passive, nil
}

// passiveListener waits for the one data connection of a transfer.
type passiveListener struct {
	port
	session *session
	early   *early // for curl only

	mu      sync.Mutex
	library net.Listener
	closed  bool
}

// keep has the library's listener closed with ours, and reports whether ours is open.
func (l *passiveListener) keep(library net.Listener) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.library = library
	return !l.closed
}

// arrival is a data connection, or why there is none.
type arrival struct {
	conn *tls.Conn
	err  error
}

// arrive waits for the connection for some time, or until the port is closed.
func (l *passiveListener) arrive(within time.Duration) arrival {
	raw, err := l.accept(within)
	if errors.Is(err, net.ErrClosed) {
		err = errGivenUp
	}
	if err != nil {
		return arrival{err: err}
	}
	data := &dataConn{Conn: raw, session: l.session, port: l}
	data.tls = tls.Server(data, l.session.dataTLS())
	return arrival{conn: data.tls}
}

// Accept implements [net.Listener], for the transfer's command.
func (l *passiveListener) Accept() (net.Conn, error) {
	arrive := l.arrive
	if l.early != nil {
		arrive = l.early.take
	}
	a := arrive(l.session.service.options.Limits.DataConnect)
	if a.err != nil {
		l.session.broke(a.err)
		return nil, a.err
	}
	if raw, ok := a.conn.NetConn().(*dataConn); !ok || !raw.take() {
		_ = a.conn.NetConn().Close()
		l.session.broke(errGivenUp)
		return nil, errGivenUp
	}
	if lists(l.session.asks()) {
		return lines{a.conn, l.session.files}, nil
	}
	return a.conn, nil
}

// Close implements [net.Listener].
func (l *passiveListener) Close() error {
	l.mu.Lock()
	library, closed := l.library, l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return nil
	}
	if l.early != nil {
		l.early.close()
	}
	err := ignoreClosed(l.port.Close())
	if library != nil {
		err = errors.Join(err, ignoreClosed(library.Close()))
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// dataConn is a raw data connection, below TLS.
type dataConn struct {
	net.Conn
	session *session
	port    *passiveListener // that it came by
	fate    *fate            // of the transfer that took it
	once    sync.Once
	tls     *tls.Conn // above it
	reads   atomic.Int32
	refused atomic.Bool  // an upload, while the client still sends
	taken   atomic.Bool  // by a transfer: until then there is no time limit but the session's
	armed   atomic.Int64 // when the deadlines were last set, in nanoseconds

	mu       sync.Mutex
	expected int // bytes that are to be gathered before they are written
	gathered []byte
	failed   error // of a write

	broken atomic.Pointer[error] // the first error
}

// note remembers an error, for the reply.
func (c *dataConn) note(err error) {
	if err != nil {
		c.broken.CompareAndSwap(nil, &err)
	}
}

// why is what ended it, if data did not just end. Only crypto/tls knows of a handshake that failed.
func (c *dataConn) why() error {
	if c.reads.Load() > 0 { // else there was none
		if err := c.tls.Handshake(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("%w: %w", errHandshake, err)
		}
	}
	if err := c.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// take gives the connection to a transfer, unless the session ends.
func (c *dataConn) take() bool {
	c.taken.Store(true)
	if c.reads.Load() > 0 { // a handshake is under way
		_ = c.SetReadDeadline(time.Now().Add(c.began()))
	}
	return c.session.transferBegins(c)
}

// began is how long TLS may take to begin.
func (c *dataConn) began() time.Duration {
	return min(dataHandshakeTime, c.session.service.options.Limits.DataIdle)
}

// dataHandshakeTime is for the first bytes of TLS on a data connection.
const dataHandshakeTime = 10 * time.Second

// handshakeReads is how many reads a TLS handshake takes at most, about. That of a data connection, which mostly resumes, is shorter.
const (
	handshakeReads     = 8
	dataHandshakeReads = 4
)

// Read implements [net.Conn].
func (c *dataConn) Read(p []byte) (int, error) {
	c.arm()
	first := c.reads.Add(1) == 1
	if first && c.taken.Load() {
		_ = c.SetReadDeadline(time.Now().Add(c.began()))
		_ = c.port.Close() // nobody else is to come; and the client, which was told to begin, has not yet
	}
	if n := c.reads.Load(); n > 2 && n <= dataHandshakeReads { // the client's end of the handshake may come in pieces
		quickAck(c.Conn)
	}
	n, err := c.Conn.Read(p)
	switch {
	case first && errors.Is(err, os.ErrDeadlineExceeded):
		err = errNoTLS
	case first && n > 0:
		c.armed.Store(0) // from now on data must move
	case errors.Is(err, io.EOF):
		err = errCut
	}
	c.note(err)
	return n, err
}

// Write implements [net.Conn]. What is gathered goes to the kernel when it is as much as was expected, or has no more room.
func (c *dataConn) Write(p []byte) (int, error) {
	c.arm()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expected = max(0, c.expected-len(p))
	rest := p
	if len(c.gathered)+len(p) <= cap(c.gathered) {
		c.gathered, rest = append(c.gathered, p...), nil
		if c.expected > 0 {
			return len(p), nil
		}
	}
	for _, part := range [][]byte{c.gathered, rest} {
		if len(part) == 0 {
			continue
		}
		if err := c.send(part); err != nil {
			return 0, err
		}
	}
	c.gathered = c.gathered[:0]
	return len(p), nil
}

const (
	tlsRecord = 16 << 10              // bytes in one at most
	looks     = 8                     // how often a writer looks for room in the time that nothing may move
	probeTime = 50 * time.Millisecond // for a write that has room
)

// send writes p, as long as a record moves in the time that nothing may. Meanwhile it tries again and again, since the kernel says only
// when a third of its buffer, of megabytes, is free that there is room. After a failure nothing is written any more: half a record is.
func (c *dataConn) send(p []byte) error {
	if c.failed != nil {
		return c.failed
	}
	idle := c.session.service.options.Limits.DataIdle
	since, moved := time.Now(), 0
	for full := false; ; full = true {
		n, err := c.Conn.Write(p)
		if full { // else there was room before it waited
			moved += n
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.failed = err
			c.note(err)
			return err
		}
		_ = c.SetWriteDeadline(time.Now().Add(probeTime))
		more, err := c.Conn.Write(p[n:])
		if moved += more; moved >= tlsRecord {
			since, moved = time.Now(), 0
		}
		if err != nil && (!errors.Is(err, os.ErrDeadlineExceeded) || time.Since(since) >= idle) {
			c.failed = err
			c.note(err)
			return err
		}
		p = p[n+more:]
		_ = c.SetWriteDeadline(time.Now().Add(idle / looks))
	}
}

// expect has the next bytes gathered in a buffer, and forgets what is in the one before. With 0 they go out as they come.
func (c *dataConn) expect(bytes int, buf []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expected, c.gathered = bytes, buf[:0]
}

// noMore is for the last bytes that are expected.
func (c *dataConn) noMore() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expected = 0
}

// allSent is nil if nothing waits any more: ABOR may have closed the connection with what was gathered.
func (c *dataConn) allSent() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.gathered) > 0 {
		return errGivenUp
	}
	return nil
}

// gathering writes by TLS to a data connection. RATIONALE.md, "Why do downloads gather TLS records?".
type gathering struct {
	*tls.Conn
	raw *dataConn
	buf []byte
}

// gathered is w by way of a buffer, or w itself if it is no data connection with TLS.
func gathered(w io.Writer, buf []byte) io.Writer {
	if secured, ok := w.(*tls.Conn); ok {
		if raw, ok := secured.NetConn().(*dataConn); ok {
			return gathering{secured, raw, buf}
		}
	}
	return w
}

// Write implements [io.Writer]. Nothing of p is still gathered when it returns. TLS makes p longer: so the last record, or the one before
// it, is more than was expected, and crypto/tls is in its Write as long as the kernel is: else Close would wait to say goodbye.
func (g gathering) Write(p []byte) (int, error) {
	if err := g.Handshake(); err != nil { // which waits for answers, so that it must not be gathered
		return 0, err
	}
	g.raw.expect(len(p), g.buf)
	defer g.raw.expect(0, nil)
	return g.Conn.Write(p)
}

// last writes the end of a file with TLS's goodbye behind it, both at once: a client so has all of a small file when it wakes up.
func (g gathering) last(p []byte) error {
	if err := g.Handshake(); err != nil {
		return err
	}
	g.raw.expect(math.MaxInt, g.buf)
	defer g.raw.expect(0, nil)
	if _, err := g.Conn.Write(p); err != nil {
		return err
	}
	g.raw.noMore()
	return errors.Join(g.CloseWrite(), g.raw.allSent())
}

// arm moves the deadlines, but not for each record: that would cost more than it is worth.
func (c *dataConn) arm() {
	if !c.taken.Load() {
		return
	}
	idle := c.session.service.options.Limits.DataIdle
	if now := time.Now(); now.UnixNano()-c.armed.Load() > int64(min(time.Second, idle/(2*looks))) {
		c.armed.Store(now.UnixNano())
		_ = c.SetReadDeadline(now.Add(idle))
		_ = c.SetWriteDeadline(now.Add(idle / looks))
	}
}

// RemoteAddr implements [net.Conn].
func (c *dataConn) RemoteAddr() net.Addr { return withoutZone(c.Conn.RemoteAddr()) }

// Close implements [net.Conn]. What is unread would make it a reset, and a client that sends does not look for a reply then: so who sends a
// file that there is no room for can go on for a moment.
func (c *dataConn) Close() (err error) {
	tcp, ok := c.Conn.(*net.TCPConn)
	if ok && c.refused.CompareAndSwap(true, false) {
		go func() {
			drain(tcp, math.MaxInt64)
			_ = tcp.Close()
		}()
	} else {
		err = c.Conn.Close()
	}
	c.once.Do(func() { c.session.transferEnds(c, c.why()) })
	return err
}

// refuse has the data connection that an upload comes by closed so.
func refuse(from io.Reader) {
	if secured, ok := from.(*tls.Conn); ok {
		if raw, ok := secured.NetConn().(*dataConn); ok {
			raw.refused.Store(true)
		}
	}
}
