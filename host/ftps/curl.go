package ftps

import (
	"sync"
	"time"
)

// curl is how much of what curl, and nobody else that we know, says after USER was heard in its order. RATIONALE.md, "What is done for curl?".
type curl int

func curlSays() []string { return []string{"PASS", "PBSZ", "PROT", "PWD"} }

func (c *curl) hear(command string) {
	switch says := curlSays(); {
	case c.is():
	case says[*c] == command:
		*c++
	default:
		*c = 0
	}
}

func (c *curl) is() bool { return int(*c) == len(curlSays()) }

// curlPause is how long curl has until it is told of a port.
const curlPause = time.Millisecond

// early takes a data connection, and begins with TLS on it, before the transfer's command is there.
type early struct {
	came   chan arrival
	once   sync.Once
	closed chan struct{}
}

func begin(arrive func(within time.Duration) arrival) *early {
	e := &early{came: make(chan arrival, 1), closed: make(chan struct{})}
	go e.await(arrive)
	return e
}

func (e *early) await(arrive func(within time.Duration) arrival) {
	a := arrive(0)
	e.came <- a
	select {
	case <-e.closed:
		e.drop()
	default:
	}
	if a.conn != nil {
		_ = a.conn.Handshake() // the connection keeps the error for who reads or writes
	}
}

// take returns the connection as soon as it is there, whether TLS is or not.
func (e *early) take(within time.Duration) arrival {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case a := <-e.came:
		return a
	case <-e.closed:
		return arrival{err: errGivenUp}
	case <-timer.C:
		return arrival{err: errNoData}
	}
}

// close ends the waiting. A connection that no transfer took goes with it.
func (e *early) close() {
	e.once.Do(func() { close(e.closed) })
	e.drop()
}

func (e *early) drop() {
	select {
	case a := <-e.came:
		if a.conn != nil {
			_ = a.conn.NetConn().Close() // and not by TLS: the handshake may be under way
		}
	default:
	}
}
