package ftps

import (
	"context"
	"errors"
	"net"
	"time"
)

// errHungUp is the cause of a login's end when the client is gone.
var errHungUp = errors.New("the client hung up")

// watch returns a context that ends within the interval when the peer of conn hangs up, and a
// function to stop watching. Nobody reads the connection while PASS waits, so the kernel is asked.
func watch(ctx context.Context, conn net.Conn, interval time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := onHangup(conn, interval, func() { cancel(errHungUp) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// onHangup calls gone, once, within the interval in which the peer of conn hangs up, until it is stopped.
func onHangup(conn net.Conn, interval time.Duration, gone func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				if hungUp(conn) {
					gone()
					return
				}
			}
		}
	}()
	return func() { close(done) }
}
