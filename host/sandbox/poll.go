package sandbox

import (
	"encoding/binary"
	"math"
	"time"
)

// The kinds of subscriptions and events of poll_oneoff.
const (
	eventClock = 0
	eventRead  = 1
	eventWrite = 2

	subscriptionSize = 48
	eventSize        = 32
)

type subscription struct {
	userdata   uint64
	kind       byte
	timeout    time.Duration // of a clock, from now
	descriptor int32
}

// wasiPoll waits for the first of several things. As long as no socket is open that can only be
// time, and then nobody waits: the guest's clock moves.
func wasiPoll(g *guest, a arguments) errno {
	subscriptions, e := g.subscriptions(a)
	if e != errnoSuccess {
		return e
	}
	g.calls.note("poll")
	timeout := time.Duration(math.MaxInt64)
	for _, s := range subscriptions {
		if s.kind == eventClock {
			timeout = min(timeout, s.timeout)
		}
	}
	events := g.readyEvents(subscriptions, 0)
	if len(events) == 0 {
		var waited time.Duration
		if waited, e = g.waitReady(subscriptions, timeout); e != errnoSuccess {
			return e
		}
		events = g.readyEvents(subscriptions, waited)
	}
	if !a.memory.Write(a.u32(1), events) {
		return errnoFault
	}
	return both(a.memory.WriteUint32Le(a.u32(3), uint32(len(events)/eventSize)))
}

func (g *guest) subscriptions(a arguments) ([]subscription, errno) {
	count := a.u32(2)
	if count == 0 || count > maxPolls {
		return nil, errnoInval
	}
	raw, ok := a.memory.Read(a.u32(0), count*subscriptionSize)
	if !ok {
		return nil, errnoFault
	}
	var all []subscription
	for ; len(raw) > 0; raw = raw[subscriptionSize:] {
		s := subscription{userdata: binary.LittleEndian.Uint64(raw), kind: raw[8], descriptor: int32(binary.LittleEndian.Uint32(raw[16:]))}
		if s.kind > eventWrite {
			return nil, errnoInval
		}
		if s.kind == eventClock {
			s.timeout = g.clockTimeout(raw)
		}
		all = append(all, s)
	}
	return all, errnoSuccess
}

// clockTimeout reads a clock subscription: from now on, or until a time on one of the clocks.
func (g *guest) clockTimeout(raw []byte) time.Duration {
	at := int64(min(binary.LittleEndian.Uint64(raw[24:]), math.MaxInt64))
	if binary.LittleEndian.Uint16(raw[40:])&1 != 0 { // absolute
		now := int64(g.mono + g.time())
		if binary.LittleEndian.Uint32(raw[16:]) == 0 {
			now = g.wall.Add(g.time()).UnixNano()
		}
		at = max(0, at-now)
	}
	return min(time.Duration(at), maxSleep)
}

// waitReady waits for a socket or the time-out.
func (g *guest) waitReady(subscriptions []subscription, timeout time.Duration) (time.Duration, errno) {
	if !g.holding {
		if timeout == math.MaxInt64 {
			return 0, errnoBadF // nothing can ever happen
		}
		g.sleep(timeout)
		return timeout, errnoSuccess
	}
	start := time.Now()
	g.clock.outside(g.ctx, func() {
		timer := time.NewTimer(min(timeout, maxSleep))
		defer timer.Stop()
		for len(g.readyEvents(subscriptions, 0)) == 0 {
			select {
			case <-g.ready:
			case <-timer.C:
				return
			case <-g.ctx.Done():
				return
			}
		}
	})
	if g.ctx.Err() != nil {
		return 0, errnoConn
	}
	return time.Since(start), errnoSuccess
}

// readyEvents are the events of what is ready after so much waiting.
func (g *guest) readyEvents(subscriptions []subscription, waited time.Duration) (events []byte) {
	for _, s := range subscriptions {
		var e errno
		switch s.kind {
		case eventClock:
			if waited < s.timeout {
				continue
			}
		default:
			var ready bool
			if ready, e = g.descriptorReady(s); !ready {
				continue
			}
		}
		var event [eventSize]byte
		binary.LittleEndian.PutUint64(event[:], s.userdata)
		binary.LittleEndian.PutUint16(event[8:], uint16(e))
		event[10] = s.kind
		if s.kind != eventClock {
			event[16] = 1 // bytes that may be read or written, at least
		}
		events = append(events, event[:]...)
	}
	return events
}

func (g *guest) descriptorReady(s subscription) (bool, errno) {
	if socket := g.sockets[s.descriptor]; socket != nil {
		if s.kind == eventRead {
			return socket.canReceive(), errnoSuccess
		}
		return socket.canSend(), errnoSuccess
	}
	if s.kind == eventWrite && (s.descriptor == 1 || s.descriptor == 2) {
		return true, errnoSuccess
	}
	return true, errnoBadF
}
