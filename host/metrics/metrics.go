// Package metrics counts what the server does, for Prometheus, and says whether it is alive and ready. Most of it is counted from
// the events, see [Metrics.Observe]; what has none is asked for when somebody looks, see [Sources].
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sallyport-ftps/sallyport/events"
)

// Sources are asked for numbers when somebody looks. Each may be nil.
type Sources struct {
	Version string
	// Plugins says what the sandbox did.
	Plugins func() Plugins
	// Failing are the methods whose plugins crash for everybody, of all methods.
	Failing func() map[string]bool
	// Streams are the streams of events, by name.
	Streams func() map[string]Stream
	// Lag is how many events of each stream are not forwarded yet; nil: they are not forwarded.
	Lag func() map[string]int64
}

// Plugins is what the sandbox did since the start.
type Plugins struct {
	Runs, Created, Resets, Discards int64
	Executing                       int // now
}

// Stream is the size of one.
type Stream struct {
	Events, Bytes, Limit uint64
}

// Metrics counts.
type Metrics struct {
	registry *prometheus.Registry

	logins    *prometheus.CounterVec
	login     *prometheus.HistogramVec
	method    *prometheus.HistogramVec
	approvals *prometheus.CounterVec
	approval  *prometheus.HistogramVec
	hash      prometheus.Observer
	store     prometheus.Observer
	unstored  prometheus.Counter
	open      *prometheus.GaugeVec
	sessions  *prometheus.CounterVec
	files     *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	data      *prometheus.CounterVec
	changes   *prometheus.CounterVec
	refused   *prometheus.CounterVec
}

// patience are the buckets of what may wait for a person, in seconds.
func patience() []float64 {
	return []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80, 160}
}

// New makes the metrics.
func New(s Sources) *Metrics {
	r := prometheus.NewRegistry()
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "sallyport", Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "sallyport", Name: name, Help: help, Buckets: buckets}, labels)
		r.MustRegister(h)
		return h
	}
	quick := prometheus.ExponentialBuckets(.0001, 2, 16)
	m := &Metrics{
		registry:  r,
		logins:    counter("logins_total", "Logins that were decided, accepted or refused and why; method is the one that decided, and empty if none did.", "service", "method", "outcome", "reason"),
		login:     histogram("login_duration_seconds", "Time from the password (PASS) to the decision, approvals by people included.", patience(), "service", "outcome"),
		method:    histogram("method_duration_seconds", "What one method took for one login.", patience(), "method", "verdict"),
		approvals: counter("approvals_total", "Requests of second factors that people answer, by what became of them.", "factor", "state"),
		approval:  histogram("approval_duration_seconds", "From the request to the answer.", patience(), "factor", "state"),
		hash:      histogram("password_hash_duration_seconds", "One password hash, without its wait.", quick).WithLabelValues(),
		store:     histogram("event_store_duration_seconds", "Time until an event that somebody waits for is on disk.", quick).WithLabelValues(),
		unstored:  counter("events_not_stored_total", "Events of the audit stream that could not be stored.").WithLabelValues(),
		open:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "sallyport", Name: "sessions_open", Help: "Sessions that are logged in."}, []string{"service"}),
		sessions:  counter("sessions_total", "Sessions that ended, by why.", "service", "reason"),
		files:     counter("files_total", "Files that were transferred whole, counted at the end of the session.", "service", "direction"),
		bytes:     counter("transfer_bytes_total", "Bytes of files, counted at the end of the session.", "service", "direction"),
		data:      counter("data_connections_total", "Data connections, counted at the end of the session, by whether they resumed the TLS session of the control connection.", "service", "resumed"),
		refused:   counter("connections_refused_total", "Connections that were ended before anybody was logged in, by why.", "service", "reason"),
		changes:   counter("changes_total", "Changes of accounts, passwords, approvers, bans and the server, by type of event.", "type"),
	}
	r.MustRegister(m.open, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), asked{s})
	build := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "sallyport", Name: "build_info", Help: "1, with the version.", ConstLabels: prometheus.Labels{"version": s.Version}})
	build.Set(1)
	r.MustRegister(build)
	return m
}

// Observe counts an event.
func (m *Metrics) Observe(e events.Payload) {
	switch d := e.(type) {
	case *events.LoginAccepted:
		if d.Trial {
			return
		}
		m.logins.WithLabelValues(d.Service, d.Method, "accepted", "").Inc()
		m.login.WithLabelValues(d.Service, "accepted").Observe(seconds(d.DurationMS))
	case *events.LoginRefused, *events.Refusals: // see Refused
	case *events.MethodResult:
		m.method.WithLabelValues(d.Method, last(d.Verdict)).Observe(seconds(d.DurationMS))
	case *events.Approval:
		state := last(d.State)
		m.approvals.WithLabelValues(d.Factor, state).Inc()
		switch d.State {
		case events.ApprovalApprovedType, events.ApprovalDeniedType, events.ApprovalExpiredType:
			m.approval.WithLabelValues(d.Factor, state).Observe(seconds(d.DurationMS))
		}
	case *events.SessionOpened:
		m.open.WithLabelValues(d.Service).Inc()
	case *events.SessionClosed:
		m.open.WithLabelValues(d.Service).Dec()
		m.sessions.WithLabelValues(d.Service, string(d.Reason)).Inc()
		m.files.WithLabelValues(d.Service, "up").Add(float64(d.FilesUp))
		m.files.WithLabelValues(d.Service, "down").Add(float64(d.FilesDown))
		m.data.WithLabelValues(d.Service, "yes").Add(float64(d.DataResumed))
		m.data.WithLabelValues(d.Service, "no").Add(float64(d.DataConns - d.DataResumed))
		m.bytes.WithLabelValues(d.Service, "up").Add(float64(d.BytesReceived))
		m.bytes.WithLabelValues(d.Service, "down").Add(float64(d.BytesSent))
	case *events.ConnectionRefused:
		m.refused.WithLabelValues(d.Service, string(d.Reason)).Add(float64(d.Count))
	default:
		m.changes.WithLabelValues(family(e.EventType())).Inc()
	}
}

// Refused counts a refusal, also one that is summed up in an event with others.
func (m *Metrics) Refused(e *events.LoginRefused) {
	m.logins.WithLabelValues(e.Service, e.Method, "refused", string(e.Reason)).Inc()
	m.login.WithLabelValues(e.Service, "refused").Observe(seconds(e.DurationMS))
}

// Hashed counts a password hash.
func (m *Metrics) Hashed(took time.Duration) { m.hash.Observe(took.Seconds()) }

// Stored counts an event of the audit stream.
func (m *Metrics) Stored(took time.Duration, err error) {
	if err != nil {
		m.unstored.Inc()
		return
	}
	m.store.Observe(took.Seconds())
}

// Handler answers /metrics, /healthz (the process answers) and /readyz (ready returns nil: logins are possible).
func (m *Metrics) Handler(ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
	return mux
}

func seconds(ms int64) float64 { return float64(ms) / 1000 }

// last is the last word of a type.
func last(t events.Type) string {
	text := string(t)
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == '.' {
			return text[i+1:]
		}
	}
	return text
}

// family is a type without its root.
func family(t events.Type) string { return string(t)[len(events.Root)+1:] }
