package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/bus"
	"github.com/sallyport-ftps/sallyport/host/metrics"
)

// recorder stores events and counts them.
type recorder struct {
	bus     *bus.Bus
	metrics *metrics.Metrics
}

// Store implements auth.Recorder.
func (r recorder) Store(ctx context.Context, e events.Payload) error {
	start := time.Now()
	err := r.bus.Store(ctx, e)
	r.metrics.Stored(time.Since(start), err)
	r.metrics.Observe(e)
	return err
}

// Note implements auth.Recorder.
func (r recorder) Note(e events.Payload) {
	r.bus.Note(e)
	r.metrics.Observe(e)
}

// Publish stores the event of a change.
func (r recorder) Publish(ctx context.Context, e events.Event) error {
	start := time.Now()
	err := r.bus.Publish(ctx, e)
	r.metrics.Stored(time.Since(start), err)
	if err == nil {
		r.metrics.Observe(e.Data)
	}
	return err
}

// newMetrics counts for the parts of the app, which are there when somebody looks.
func (a *app) newMetrics(ctx context.Context) *metrics.Metrics {
	return metrics.New(metrics.Sources{
		Version: version(),
		Plugins: func() metrics.Plugins { return metrics.Plugins(a.sandbox.Usage()) },
		Failing: func() map[string]bool {
			failing := map[string]bool{}
			for _, id := range a.config().IDs() {
				failing[id] = a.authority.Failing(id)
			}
			return failing
		},
		Streams: func() map[string]metrics.Stream {
			all := map[string]metrics.Stream{}
			for name, info := range a.bus.Streams(ctx) {
				all[name] = metrics.Stream{Events: info.State.Msgs, Bytes: info.State.Bytes, Limit: uint64(max(0, info.Config.MaxBytes))}
			}
			return all
		},
		Lag: func() map[string]int64 { return a.bus.Lag(ctx) },
	})
}

// serveMetrics answers on the address in the configuration, if there is one, until the app closes.
func (r *running) serveMetrics() error {
	addr := r.config().Metrics
	if addr == "" {
		return nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: r.metrics.Handler(r.ready), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	go func() { _ = server.Serve(l) }()
	r.closers = append(r.closers, func() { _ = server.Close() })
	r.log.Info("metrics listen", "address", l.Addr().String())
	return nil
}

// ready is nil while users can log in.
func (r *running) ready() error {
	if r.ending.Load() {
		return errors.New("shutting down")
	}
	if !r.config().Events.Required {
		return nil
	}
	return r.bus.Healthy()
}
