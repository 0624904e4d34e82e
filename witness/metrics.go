package witness

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what an operator watches. The registry is the caller's; without one
// they are counted and shown to nobody.
type metrics struct {
	requests      *prometheus.CounterVec // by request and status
	seconds       prometheus.Histogram
	equivocations atomic.Uint64
}

func newMetrics(w *Witness, to prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "imaledger_witness_requests_total", Help: "Requests for signatures, by path and HTTP status.",
		}, []string{"path", "status"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "imaledger_witness_request_seconds", Help: "Time from a whole request until its answer, with the disk's.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 15), // to 1.6 s
		}),
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	collectors := []prometheus.Collector{
		m.requests, m.seconds,
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "imaledger_witness_equivocations_total", Help: "Pieces of evidence that a log signed two histories, since the start.",
		}, func() float64 { return float64(m.equivocations.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "imaledger_witness_journal_batches_total", Help: "Batches that were made durable, over the life of the state.",
		}, func() float64 { at, _ := w.state.durable(); return float64(at.sequence) }),
		gauge("imaledger_witness_logs", "Logs that are cosigned for.", func() float64 {
			n := 0
			for _, s := range w.Status() {
				if s.Trusted {
					n++
				}
			}
			return float64(n)
		}),
		gauge("imaledger_witness_last_cosigned_seconds", "Time of the newest cosignature, in seconds since 1970.", func() float64 {
			_, at := w.state.durable()
			return float64(at)
		}),
		gauge("imaledger_witness_failed", "1 if nothing is cosigned any more, until the witness is started again.", func() float64 {
			if w.Err() != nil {
				return 1
			}
			return 0
		}),
	}
	if to == nil {
		return m, nil
	}
	for _, c := range collectors {
		if err := to.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) answered(path string, status int) {
	m.requests.WithLabelValues(path, strconv.Itoa(status)).Inc()
}
