package ftps

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Ports are the ports of all ranges of passive ports. Services whose ranges overlap share what is in both: each listens for all.
type Ports struct {
	mu       sync.Mutex
	services int
	shared   map[netip.AddrPort]*sharedPort
}

// NewPorts listens on none yet.
func NewPorts() *Ports { return &Ports{shared: map[netip.AddrPort]*sharedPort{}} }

// ports are where data connections of a service come in. Without a range each transfer has a free port of its own. The ports of a range are
// shared: each waits for one client of every address at the same time, so that a few are enough for many.
type ports struct {
	all      *Ports
	stranger func(net.Conn) // closes a connection that nobody waits for, and tells of it
	numbers  []int          // shuffled, so that the next one is usually free; empty: there is no range

	next   int // these are guarded by all.mu
	closed bool
}

// port is where one data connection may come in.
type port interface {
	// accept returns the first connection that comes from the control connection's address. Without a time it waits until Close.
	accept(within time.Duration) (net.Conn, error)
	Addr() net.Addr
	Close() error
}

// mostPorts is how many ports are tried for one transfer.
const mostPorts = 128

var errNoPort = errors.New("no passive port is free: each of passive_ports waits for another client of this address, or is another program's")

func (all *Ports) of(first, last int, stranger func(net.Conn)) *ports {
	p := &ports{all: all, stranger: stranger}
	if first == 0 {
		return p
	}
	for number := first; number <= last; number++ {
		p.numbers = append(p.numbers, number)
	}
	rand.Shuffle(len(p.numbers), func(i, j int) { p.numbers[i], p.numbers[j] = p.numbers[j], p.numbers[i] })
	all.mu.Lock()
	defer all.mu.Unlock()
	all.services++
	return p
}

// portTime is how long a client waits until a port of the range is free for its address.
const portTime = 5 * time.Second

// openSoon is open, but if no port is free it tries again for a while, unless the client goes.
func (p *ports) openSoon(ctx context.Context, local *net.TCPAddr, peer netip.Addr, gone <-chan struct{}) (port, error) {
	for deadline := time.Now().Add(portTime); ; {
		one, err := p.open(ctx, local, peer)
		if !errors.Is(err, errNoPort) || time.Now().After(deadline) {
			return one, err
		}
		select {
		case <-gone:
			return nil, net.ErrClosed
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// open waits for a connection of peer on an address of ours.
func (p *ports) open(ctx context.Context, local *net.TCPAddr, peer netip.Addr) (port, error) {
	if len(p.numbers) == 0 {
		l, err := listen(ctx, net.TCPAddr{IP: local.IP, Zone: local.Zone})
		return &ownPort{l, peer, p.stranger}, err
	}
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	for range min(len(p.numbers), mostPorts) {
		at := net.TCPAddr{IP: local.IP, Zone: local.Zone, Port: p.numbers[p.next]}
		p.next = (p.next + 1) % len(p.numbers)
		if place := p.reserve(ctx, at, peer); place != nil {
			return place, nil
		}
	}
	return nil, errNoPort
}

// reserve is called with the lock. It returns nil if the port is another program's, or somebody of the address is waited for already.
func (p *ports) reserve(ctx context.Context, at net.TCPAddr, peer netip.Addr) port {
	if p.closed {
		return nil
	}
	one := p.all.shared[at.AddrPort()]
	if one == nil {
		l, err := listen(ctx, at)
		if err != nil {
			return nil
		}
		one = &sharedPort{all: p.all, stranger: p.stranger, listener: l, waiting: map[netip.Addr]*reservation{}}
		p.all.shared[at.AddrPort()] = one
		go one.serve()
	}
	if one.waiting[peer] != nil {
		return nil
	}
	r := &reservation{port: one, peer: peer, conns: make(chan net.Conn, 1), done: make(chan struct{})}
	one.waiting[peer] = r
	return r
}

// listen opens a port whose connections have no keep-alive, which would cost each of them four system calls: they have time limits.
func listen(ctx context.Context, at net.TCPAddr) (*net.TCPListener, error) {
	l, err := (&net.ListenConfig{KeepAlive: -1}).Listen(ctx, "tcp", at.String())
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil // by its documentation
}

// close is for when no session of the service is left. With the last service the listening ends.
func (p *ports) close() {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	if p.closed || len(p.numbers) == 0 {
		return
	}
	p.closed = true
	if p.all.services--; p.all.services > 0 {
		return
	}
	for at, one := range p.all.shared {
		_ = one.listener.Close()
		delete(p.all.shared, at)
	}
}

func peerOf(conn net.Conn) netip.Addr {
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return from.Addr().Unmap()
}

// ownPort is for one transfer.
type ownPort struct {
	*net.TCPListener
	peer     netip.Addr
	stranger func(net.Conn)
}

func (o *ownPort) accept(within time.Duration) (net.Conn, error) {
	if within > 0 {
		_ = o.SetDeadline(time.Now().Add(within))
	}
	for {
		conn, err := o.AcceptTCP()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, errNoData
		case err != nil:
			return nil, err
		}
		if peerOf(conn) == o.peer {
			return conn, nil
		}
		o.stranger(conn) // it must not spoil the transfer
	}
}

// sharedPort hands connections to who waits for their address.
type sharedPort struct {
	all      *Ports
	stranger func(net.Conn) // of the service that was first
	listener *net.TCPListener
	waiting  map[netip.Addr]*reservation // guarded by all.mu
}

func (s *sharedPort) serve() {
	for {
		conn, err := s.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of file descriptors, for example
			time.Sleep(10 * time.Millisecond)
		case hungUp(conn): // for a place that somebody has given up
			_ = conn.Close()
		case !s.give(conn):
			s.stranger(conn)
		}
	}
}

// give hands a connection to who waits for its address, if anybody does.
func (s *sharedPort) give(conn net.Conn) bool {
	peer := peerOf(conn)
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	r := s.waiting[peer]
	if r == nil {
		return false
	}
	delete(s.waiting, peer)
	r.conns <- conn // it has room for this one
	return true
}

// reservation is a place on a shared port.
type reservation struct {
	port  *sharedPort
	peer  netip.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (r *reservation) accept(within time.Duration) (net.Conn, error) {
	var late <-chan time.Time
	if within > 0 {
		timer := time.NewTimer(within)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case conn := <-r.conns:
		return conn, nil
	case <-r.done:
		return nil, net.ErrClosed
	case <-late:
		return nil, errNoData
	}
}

// Addr implements port.
func (r *reservation) Addr() net.Addr { return r.port.listener.Addr() }

// Close implements port.
func (r *reservation) Close() error {
	r.once.Do(func() {
		r.port.all.mu.Lock()
		defer r.port.all.mu.Unlock()
		if r.port.waiting[r.peer] == r {
			delete(r.port.waiting, r.peer)
		}
		close(r.done)
		select {
		case conn := <-r.conns: // it came, and nobody asked for it
			_ = conn.Close()
		default:
		}
	})
	return nil
}
