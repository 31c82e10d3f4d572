package metrics

import "github.com/prometheus/client_golang/prometheus"

// asked collects what is asked for when somebody looks.
type asked struct{ Sources }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("sallyport_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector; to say nothing is allowed, and then nothing is checked in advance.
func (asked) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (a asked) Collect(to chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	if a.Plugins != nil {
		p := a.Plugins()
		send(desc("plugin_runs_total", "Runs of plugins: each login has one more than it asked others."), prometheus.CounterValue, float64(p.Runs))
		send(desc("plugin_instances_created_total", "Instances of plugins that were made."), prometheus.CounterValue, float64(p.Created))
		send(desc("plugin_instances_reset_total", "Instances that were put back after a run, to be used again."), prometheus.CounterValue, float64(p.Resets))
		send(desc("plugin_instances_discarded_total", "Instances that were thrown away."), prometheus.CounterValue, float64(p.Discards))
		send(desc("plugins_executing", "Plugins that execute now; at most as many as there are cores."), prometheus.GaugeValue, float64(p.Executing))
	}
	if a.Failing != nil {
		failing := desc("method_failing", "1 if the method's plugin crashes for everybody.", "method")
		for id, is := range a.Failing() {
			send(failing, prometheus.GaugeValue, map[bool]float64{true: 1}[is], id)
		}
	}
	if a.Streams != nil {
		count, bytes, limit := desc("event_stream_events", "Events that are stored.", "stream"), desc("event_stream_bytes", "Bytes that are stored.", "stream"), desc("event_stream_limit_bytes", "Bytes that may be stored; then the oldest events are deleted.", "stream")
		for name, s := range a.Streams() {
			send(count, prometheus.GaugeValue, float64(s.Events), name)
			send(bytes, prometheus.GaugeValue, float64(s.Bytes), name)
			send(limit, prometheus.GaugeValue, float64(s.Limit), name)
		}
	}
	if a.Lag != nil {
		lag := desc("event_forward_lag", "Events that the other NATS does not have yet.", "stream")
		for name, n := range a.Lag() {
			send(lag, prometheus.GaugeValue, float64(n), name)
		}
	}
}
