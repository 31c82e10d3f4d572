package sandbox

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero/sys"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// socket is a connection that dial made. Two goroutines move bytes between it and buffers, so that
// the guest's reads and writes never block the host.
type socket struct {
	endpoint  endpoint.Endpoint
	datagrams bool
	blocks    bool          // reads and writes wait, until the guest says otherwise
	ready     chan struct{} // one place: something changed

	mu     sync.Mutex
	conn   net.Conn
	in     [][]byte
	held   int // bytes in in
	inErr  error
	out    []byte
	outErr error
	ended  bool // nothing more is sent
	room   *sync.Cond
	moving sync.WaitGroup
}

// firstDescriptor is the first of a socket: 3 is where programs look for opened folders.
const firstDescriptor = 4

// importDial connects to a granted address. From here to the verdict the guest is not suspended.
func (g *guest) importDial(address span) int32 {
	text, code := address.text(sdk.MaxKey)
	if code < 0 {
		return code
	}
	if g.loading() {
		return sdk.CodeBadState
	}
	g.calls.note("dial", text)
	target, err := endpoint.Parse(text, endpoint.Sockets())
	if err != nil {
		g.log(slog.LevelWarn, "dial "+text+": "+err.Error())
		return sdk.CodeUnknownKey
	}
	if !g.call.Reach.maySocket(target) {
		g.log(slog.LevelWarn, "dial "+text+": no grant { network = [...] } names it")
		return sdk.CodeNotGranted
	}
	if code := g.hold(); code < 0 {
		return code
	}
	if len(g.sockets) >= g.plugin.limits.Sockets {
		g.log(slog.LevelWarn, overLimit("sockets", len(g.sockets)+1, g.plugin.limits.Sockets).Error())
		return sdk.CodeOverLimit
	}
	return g.open(target)
}

// hold turns the rest of the run into one that is not suspended: the clock is real, the instance held. Before that
// the run is abandoned once more, to sleep and to wait for a place without an instance.
func (g *guest) hold() int32 {
	if g.holding {
		return 0
	}
	s := g.heard(callDial)
	if s == nil {
		g.suspended = &suspension{call: callDial, until: g.now, calls: g.calls.sum()}
		panic(sys.NewExitError(1))
	}
	if g.givenUp {
		return sdk.CodeGivenUp
	}
	g.holding, g.held, g.sockets, g.ready = true, g.call.Clock.Now(), map[int32]*socket{}, make(chan struct{}, 1)
	return 0
}

func (g *guest) open(target endpoint.Endpoint) int32 {
	g.countOutside()
	var conn net.Conn
	var err error
	g.clock.outside(g.ctx, func() { conn, err = g.call.Reach.dial(g.ctx, target) })
	if err != nil {
		g.log(slog.LevelWarn, "dial "+target.String()+": "+err.Error())
		return sdk.CodeFailed
	}
	s := &socket{endpoint: target, datagrams: target.Transport() == "udp", blocks: true, ready: g.ready, conn: conn}
	s.room = sync.NewCond(&s.mu)
	s.start()
	g.debug("dial %s: connected to %v", target, conn.RemoteAddr())
	descriptor := int32(firstDescriptor)
	for g.sockets[descriptor] != nil {
		descriptor++
	}
	g.sockets[descriptor] = s
	return descriptor
}

// importStartTLS puts TLS on a connection, as StartTLS of LDAP wants it.
func (g *guest) importStartTLS(descriptor int32, name span) int32 {
	server, code := name.text(sdk.MaxKey)
	if code < 0 {
		return code
	}
	s := g.sockets[descriptor]
	if s == nil || s.datagrams {
		return sdk.CodeBadState
	}
	if server == "" {
		server = s.endpoint.Host
	}
	if _, err := netip.ParseAddr(s.endpoint.Host); err != nil && !strings.EqualFold(server, s.endpoint.Host) {
		g.log(slog.LevelWarn, "start_tls: the connection is to "+s.endpoint.Host+", not to "+server)
		return sdk.CodeNotGranted
	}
	g.countOutside()
	var err error
	g.clock.outside(g.ctx, func() { err = s.startTLS(g.ctx, g.call.Reach.tlsConfig(server)) })
	if err != nil {
		g.log(slog.LevelWarn, "start_tls with "+server+": "+err.Error())
		return sdk.CodeFailed
	}
	g.debug("start_tls with %s: the connection is encrypted", server)
	return 0
}

// closeSockets ends what a run opened.
func (g *guest) closeSockets() {
	if !g.holding {
		return
	}
	var closing sync.WaitGroup
	for _, s := range g.sockets {
		closing.Go(s.close)
	}
	closing.Wait()
	g.sockets = nil
}

func (s *socket) start() {
	s.moving.Go(s.fill)
	s.moving.Go(s.drain)
}

func (s *socket) changed() {
	s.room.Broadcast()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// fill reads what comes, as long as there is room.
func (s *socket) fill() {
	buffer := make([]byte, socketBuffer)
	for {
		s.mu.Lock()
		for s.inErr == nil && (s.held >= socketBuffer || len(s.in) >= maxDatagrams) {
			s.room.Wait()
		}
		failed := s.inErr != nil
		s.mu.Unlock()
		if failed {
			return
		}
		n, err := s.conn.Read(buffer)
		s.mu.Lock()
		if n > 0 || (s.datagrams && err == nil) {
			s.in = append(s.in, slices.Clone(buffer[:n]))
			s.held += n
		}
		if err != nil && s.inErr == nil {
			s.inErr = err
		}
		s.changed()
		s.mu.Unlock()
	}
}

// drain writes what the guest has sent.
func (s *socket) drain() {
	for {
		s.mu.Lock()
		for len(s.out) == 0 && s.outErr == nil && !s.ended {
			s.room.Wait()
		}
		out := s.out
		done := s.outErr != nil || (s.ended && len(out) == 0)
		s.out = nil
		s.mu.Unlock()
		if done {
			return
		}
		_, err := s.conn.Write(out)
		s.mu.Lock()
		if err != nil {
			s.outErr = err
		}
		s.changed()
		s.mu.Unlock()
	}
}

func (s *socket) canReceive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.in) > 0 || s.inErr != nil
}

func (s *socket) canSend() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.out) < socketBuffer || s.outErr != nil
}

// await waits until the socket can do what the guest wants of it, if the guest wants to wait.
func (s *socket) await(g *guest, can func() bool) {
	if !s.blocks || can() {
		return
	}
	g.clock.outside(g.ctx, func() {
		for !can() {
			select {
			case <-g.ready:
			case <-g.ctx.Done():
				return
			}
		}
	})
}

// receive fills the pieces with what has come: part of a stream, or one datagram.
func (s *socket) receive(g *guest, pieces [][]byte) (int, errno) {
	s.await(g, s.canReceive)
	s.mu.Lock()
	defer s.mu.Unlock()
	total := 0
	for _, piece := range pieces {
		for len(piece) > 0 && len(s.in) > 0 {
			n := copy(piece, s.in[0])
			piece, total = piece[n:], total+n
			s.held -= n
			if s.in[0] = s.in[0][n:]; len(s.in[0]) == 0 || s.datagrams {
				s.held -= len(s.in[0])
				s.in = s.in[1:]
				if s.datagrams {
					s.room.Broadcast()
					return total, errnoSuccess
				}
			}
		}
	}
	s.room.Broadcast()
	switch {
	case total > 0 || errors.Is(s.inErr, io.EOF):
		return total, errnoSuccess // 0: the other side has ended
	case s.inErr != nil:
		return 0, errnoConn
	}
	return 0, errnoAgain
}

func (s *socket) send(g *guest, p []byte) (int, errno) {
	s.await(g, s.canSend)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.outErr != nil || s.ended:
		return 0, errnoConn
	case len(s.out) >= socketBuffer:
		return 0, errnoAgain
	}
	if s.datagrams { // each is a write of its own
		if _, err := s.conn.Write(p); err != nil {
			s.outErr = err
			return 0, errnoConn
		}
		return len(p), errnoSuccess
	}
	n := min(len(p), socketBuffer-len(s.out))
	s.out = append(s.out, p[:n]...)
	s.changed()
	return n, errnoSuccess
}

func (s *socket) shutdown() errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.changed()
	return errnoSuccess
}

// flushTimeout is how long closing waits for what was sent last.
const flushTimeout = time.Second

// close sends what is left, such as LDAP's unbind, and ends the connection.
func (s *socket) close() {
	s.mu.Lock()
	s.ended, s.inErr = true, net.ErrClosed
	s.in, s.held = nil, 0
	_ = s.conn.SetDeadline(time.Now().Add(flushTimeout))
	_ = s.conn.SetReadDeadline(time.Now())
	s.changed()
	s.mu.Unlock()
	s.moving.Wait()
	if secured, ok := s.conn.(*tls.Conn); ok && s.outErr != nil {
		_ = secured.NetConn().Close() // else it would wait to say goodbye
		return
	}
	_ = s.conn.Close()
}

var errEarlyData = errors.New("there is data from before TLS: somebody may have put it there")

// startTLS stops the two goroutines, makes the handshake, and starts them again.
func (s *socket) startTLS(ctx context.Context, config *tls.Config) error {
	s.mu.Lock()
	if _, already := s.conn.(*tls.Conn); already || s.ended {
		s.mu.Unlock()
		return errors.New("it is encrypted already, or ended")
	}
	stopped := errors.New("stopped")
	s.ended = true // drain ends when all is written
	if s.inErr == nil {
		s.inErr = stopped // fill ends
	}
	_ = s.conn.SetReadDeadline(time.Now())
	_ = s.conn.SetWriteDeadline(time.Now().Add(connectTimeout)) // for what is not sent yet
	s.changed()
	s.mu.Unlock()
	defer context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Now()) })()
	s.moving.Wait()

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outErr != nil {
		return s.outErr
	}
	if len(s.in) > 0 { // as in CVE-2011-0411
		s.inErr = errEarlyData
		return errEarlyData
	}
	if !errors.Is(s.inErr, stopped) {
		return s.inErr
	}
	_ = s.conn.SetDeadline(time.Time{})
	secured := tls.Client(s.conn, config)
	limit, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := secured.HandshakeContext(limit); err != nil {
		s.inErr, s.outErr = err, err
		return err
	}
	s.conn, s.inErr, s.ended = secured, nil, false
	s.start()
	return nil
}
