package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/sallyport-ftps/sallyport/host/admin"
	"github.com/sallyport-ftps/sallyport/host/config"
)

// lockPatience is how long a command waits for a server that is starting or stopping.
const lockPatience = 10 * time.Second

// connect returns a client of the running server, or of the same API in this process on the
// data folder under its lock. running tells which.
func connect(ctx context.Context, c *cli, need parts) (client *admin.Client, running bool, closing func(), err error) {
	conf, err := config.Load(c.Config)
	if err != nil {
		return nil, false, nil, err
	}
	deadline := time.Now().Add(lockPatience)
	for {
		if conn, err := dialSocket(ctx, conf.Server.DataDir); err == nil {
			_ = conn.Close()
			client := admin.NewClient(func(ctx context.Context) (net.Conn, error) { return dialSocket(ctx, conf.Server.DataDir) })
			return client, true, func() {}, sameConfig(ctx, client, c, conf, need)
		} else if errors.Is(err, os.ErrPermission) {
			return nil, false, nil, fmt.Errorf("the server's socket: %w; use the account that the server runs as", err)
		}
		if locked := checkLock(conf.Server.DataDir); need == 0 && (!errors.Is(locked, errInUse) || time.Now().After(deadline)) {
			return nil, false, nil, fmt.Errorf("this needs the running server, and none runs on the data folder %s", conf.Server.DataDir)
		}
		a, err := openUnlessServed(ctx, conf, need)
		if err == nil {
			client, stop := inProcess(a)
			return client, false, func() { stop(); a.close() }, nil
		}
		if !errors.Is(err, errInUse) || time.Now().After(deadline) {
			return nil, false, nil, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, false, nil, context.Cause(ctx)
		}
	}
}

// openUnlessServed opens the parts. What needs the running server waits until that has started.
func openUnlessServed(ctx context.Context, conf *config.Config, need parts) (*app, error) {
	if need == 0 {
		return nil, errInUse
	}
	return open(ctx, conf, slog.New(slog.DiscardHandler), need)
}

// sameConfig refuses to ask a server about methods that it does not have: one that was started
// with another configuration than the one named.
func sameConfig(ctx context.Context, client *admin.Client, c *cli, conf *config.Config, need parts) error {
	if c.Config == "" || (need != 0 && need&withLogins != withLogins) {
		return nil
	}
	s, err := client.Server(ctx)
	if err != nil || s.Config == absolute(conf.File) {
		return err
	}
	return fmt.Errorf("a server runs on the data folder %s with the configuration %s, not %s: name that one with --config, or restart it", conf.Server.DataDir, orText(s.Config, "built into it"), conf.File)
}

// inProcess serves the API on pipes.
func inProcess(a *app) (*admin.Client, func()) {
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: admin.Handler(a.backend()), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	return admin.NewClient(l.dial), func() { _ = server.Close() }
}

// pipeListener is a net.Listener within the process.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; the server calls it once.
func (l *pipeListener) Close() error {
	close(l.done)
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }
