package server

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/imaledger/imaledger/ledger"
)

// metrics are what an operator watches. The registry is the caller's; without one
// they are counted and shown to nobody.
type metrics struct {
	entries   *prometheus.CounterVec   // by format and outcome
	refusals  *prometheus.CounterVec   // by finding, and whether it is one of evidence
	admission *prometheus.HistogramVec // by format
	witnessed prometheus.Histogram
	erased    prometheus.Counter
}

// The outcomes of an entry.
const (
	outcomeAdmitted = "admitted"
	outcomeRepeated = "repeated" // the log had it already
	outcomeLacking  = "lacking"  // its addenda were not uploaded yet
	outcomeRefused  = "refused"
	outcomeFailed   = "failed" // for no fault of its own
)

var outcomes = []string{outcomeAdmitted, outcomeRepeated, outcomeLacking, outcomeRefused, outcomeFailed}

// newMetrics makes the metrics of a server that is open, and registers them.
func newMetrics(s *Server, to prometheus.Registerer) (*metrics, error) {
	seconds := prometheus.ExponentialBuckets(0.001, 2, 15) // to 16 s
	m := &metrics{
		entries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "imaledger_entries_total", Help: "Entries that were submitted, by format and outcome.",
		}, []string{"format", "outcome"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "imaledger_findings_total", Help: "Findings for which entries and enrolments were refused, by code, and whether the host's TPM, registrars or an operator had signed what was refused: the rest anyone can send.",
		}, []string{"code", "signed"}),
		admission: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "imaledger_admission_seconds", Help: "Time from an entry's arrival until it is durable in the log.", Buckets: seconds,
		}, []string{"format"}),
		witnessed: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "imaledger_proof_wait_seconds", Help: "Time for which a request waited for the witnesses to see its entry.", Buckets: seconds,
		}),
		erased: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "imaledger_erased_segments_total", Help: "Segments whose records were erased since the start.",
		}),
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	collectors := []prometheus.Collector{
		m.entries, m.refusals, m.admission, m.witnessed, m.erased,
		gauge("imaledger_tree_size", "Entries that are durable in the log.", func() float64 {
			size, err := s.log.reader.IntegratedSize(s.log.ctx)
			if err != nil {
				return -1
			}
			return float64(size)
		}),
		gauge("imaledger_published_size", "Entries that the newest cosigned checkpoint includes.", func() float64 {
			if c := s.log.newest.checkpoint(); c != nil {
				return float64(c.Size)
			}
			return 0
		}),
		gauge("imaledger_witnessed_timestamp_seconds", "Time that the witnesses of the newest checkpoint state; 0 without any.", func() float64 {
			return float64(s.witnessed())
		}),
		gauge("imaledger_hosts", "Hosts that are enrolled.", func() float64 {
			s.chains.mu.Lock()
			defer s.chains.mu.Unlock()
			return float64(len(s.chains.hosts))
		}),
		gauge("imaledger_holds_failing", "1 if the object store did not, the last time, hold or let go what it is to.", func() float64 {
			if s.holds.failing.Load() {
				return 1
			}
			return 0
		}),
		gauge("imaledger_pending_bytes", "Bytes that were uploaded and that no entry names yet.", s.pending.total),
		gauge("imaledger_submissions", "Entries that are being judged or written.", func() float64 { return float64(len(s.slots)) }),
		gauge("imaledger_up", "1 while the ledger takes entries.", func() float64 {
			if s.Err() != nil {
				return 0
			}
			return 1
		}),
	}
	for _, k := range s.log.signers {
		collectors = append(collectors, k.metrics())
	}
	for _, w := range s.log.witnesses.list {
		collectors = append(collectors, w.metrics()...)
	}
	collectors = append(collectors, gauge("imaledger_quorum_met", "1 while the witnesses follow the log: receipts are given.", func() float64 {
		if s.log.newest.witnessed() {
			return 1
		}
		return 0
	}))
	m.begin()
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

// begin shows every counter from the start: of one that appears with its first
// event Prometheus cannot tell that it has grown, and no alert would come.
func (m *metrics) begin() {
	for _, c := range ledger.Codes() {
		for _, signed := range []bool{false, true} {
			m.refusals.WithLabelValues(string(c), strconv.FormatBool(signed))
		}
	}
	for _, format := range append(ledger.EntryFormats(), formatUnknown) {
		for _, outcome := range outcomes {
			m.entries.WithLabelValues(format, outcome)
		}
	}
}

// metrics are those of one key.
func (s *logSigner) metrics() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "imaledger_key_up", Help: "1 if the log's key made its last signature.", ConstLabels: prometheus.Labels{"key": s.id()},
	}, func() float64 {
		if s.signs() {
			return 1
		}
		return 0
	})
}

// metrics are those of one witness.
func (w *witnessState) metrics() []prometheus.Collector {
	labels := prometheus.Labels{"witness": w.name}
	read := func(f func() float64) func() float64 {
		return func() float64 {
			w.mu.Lock()
			defer w.mu.Unlock()
			return f()
		}
	}
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "imaledger_witness_up", Help: "1 if the witness's last answer was a cosignature.", ConstLabels: labels,
		}, read(func() float64 {
			if w.problem == "" && !w.cosigned.IsZero() {
				return 1
			}
			return 0
		})),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "imaledger_witness_failures_total", Help: "Requests that the witness did not cosign.", ConstLabels: labels,
		}, read(func() float64 { return float64(w.total) })),
	}
}

// total returns the bytes that were uploaded and that no entry names yet.
func (p *pending) total() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := int64(0)
	for _, bytes := range p.bytes {
		n += bytes
	}
	return float64(n)
}

// formatUnknown is the label of what is no entry: strangers choose no labels.
const formatUnknown = "none"

// entry counts what became of an entry; a is nil after an error.
func (m *metrics) entry(format string, a *admitted, err error, took time.Duration) {
	outcome := outcomeAdmitted
	var r *refusal
	switch {
	case errors.As(err, &r) && len(r.Missing) > 0:
		outcome = outcomeLacking
	case r != nil:
		outcome = outcomeRefused
	case err != nil:
		outcome = outcomeFailed
	case a.repeated:
		outcome = outcomeRepeated
	default:
		m.admission.WithLabelValues(format).Observe(took.Seconds())
	}
	m.entries.WithLabelValues(format, outcome).Inc()
}

// found counts the findings of a refusal.
func (m *metrics) found(r *refusal) {
	for _, f := range r.Findings {
		m.refusals.WithLabelValues(string(f.Code), strconv.FormatBool(r.signed)).Inc()
	}
}
