package server

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// value returns a metric with labels "name=value", the number of observations of
// a histogram; -1 where there is none.
func value(t *testing.T, r prometheus.Gatherer, name string, labels ...string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var has []string
			for _, l := range m.GetLabel() {
				has = append(has, l.GetName()+"="+l.GetValue())
			}
			if strings.Join(has, " ") != strings.Join(labels, " ") {
				continue
			}
			switch {
			case m.GetHistogram() != nil:
				return float64(m.GetHistogram().GetSampleCount())
			case m.GetCounter() != nil:
				return m.GetCounter().GetValue()
			}
			return m.GetGauge().GetValue()
		}
	}
	return -1
}

// What the alert of a clone goes by is counted apart from what strangers send in a
// host's name: an entry that only looks like the host's, a twin of one that anyone can
// read, an enrolment of another's key.
func TestMetricsOfForks(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	registry := prometheus.NewRegistry()
	l.config.Metrics = registry
	l.start(t)
	h := l.enrolHost(t, "h")
	clone := h.fork()
	standing, _ := l.submit(t, h, "/bin/a")
	fork, payload := clone.segment(t, testOrigin, l.anchor(t), "/bin/b")
	counts := func(code ledger.Code, unsigned, signed float64) {
		t.Helper()
		for label, n := range map[string]float64{"signed=false": unsigned, "signed=true": signed} {
			if got := value(t, registry, "imaledger_findings_total", "code="+string(code), label); got != n {
				t.Errorf("%s %s is %v, want %v", code, label, got, n)
			}
		}
	}
	refuse := func(leaf []byte) {
		t.Helper()
		if _, err := l.SubmitLeaf(t.Context(), leaf, 0); err == nil {
			t.Fatal("admitted")
		}
	}
	unsigned := alter(t, fork, func(s *ledger.Segment) { s.Signature[len(s.Signature)-1] ^= 1 })
	refuse(unsigned) // also where its records are not there
	l.upload(t, payload)
	refuse(unsigned)
	refuse(alter(t, standing, func(s *ledger.Segment) { s.Count++ }))
	counts(ledger.ChainFork, 3, 0)
	if _, _, err := l.Enrol(t.Context(), client.EnrolRequest{Host: "other", AKPublic: h.tpm.ak}, 0); err == nil {
		t.Fatal("enrolled another's key")
	}
	counts(ledger.AKReused, 1, 0)
	refuse(fork)
	counts(ledger.ChainFork, 3, 1)
	clone.tpm.reset, clone.leaf, clone.sequence, clone.booted = 0, h.leaf, h.sequence, false
	back, payload := clone.segment(t, testOrigin, l.anchor(t), "/bin/c")
	l.upload(t, payload)
	refuse(alter(t, back, func(s *ledger.Segment) { s.Signature[len(s.Signature)-1] ^= 1 }))
	counts(ledger.CounterRollback, 0, 0)
	refuse(back)
	counts(ledger.CounterRollback, 0, 1)
}

// The metrics count what was done.
func TestMetrics(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	registry := prometheus.NewRegistry()
	l.config.Metrics = registry
	l.start(t)
	want := func(n float64, name string, labels ...string) {
		t.Helper()
		if got := value(t, registry, name, labels...); got != n {
			t.Errorf("%s%v is %v, want %v", name, labels, got, n)
		}
	}
	h := l.enrolHost(t, "h")
	leaf, _ := l.submit(t, h, "/bin/sh")
	l.submit(t, h, "/bin/ls")
	if _, err := l.SubmitLeaf(t.Context(), leaf, client.MaxWait); err != nil {
		t.Fatal(err)
	}
	next, payload := h.fork().segment(t, testOrigin, l.anchor(t), "/bin/dd")
	if _, err := l.SubmitLeaf(t.Context(), next, 0); err == nil {
		t.Fatal("admitted without its records")
	}
	l.upload(t, payload)
	wrong := alter(t, next, func(s *ledger.Segment) { s.Count++ })
	_, err := l.SubmitLeaf(t.Context(), wrong, 0)
	problem(t, err, http.StatusUnprocessableEntity, "")
	if _, err := l.SubmitLeaf(t.Context(), []byte("garbage"), 0); err == nil {
		t.Fatal("admitted garbage")
	}
	segment := "format=" + ledger.SegmentFormat
	want(2, "imaledger_entries_total", segment, "outcome=admitted")
	want(1, "imaledger_entries_total", segment, "outcome=repeated")
	want(1, "imaledger_entries_total", "format=none", "outcome=refused")
	want(1, "imaledger_findings_total", "code=entry-malformed", "signed=false")
	want(2, "imaledger_admission_seconds", segment)
	want(3, "imaledger_tree_size")
	want(3, "imaledger_published_size")
	want(1, "imaledger_hosts")
	want(1, "imaledger_up")
	want(float64(len(payload)), "imaledger_pending_bytes")
	if n := value(t, registry, "imaledger_entries_total", segment, "outcome=lacking"); n < 1 {
		t.Errorf("%v entries lacked their records", n)
	}
	if at := value(t, registry, "imaledger_witnessed_timestamp_seconds"); at < float64(time.Now().Add(-time.Minute).Unix()) {
		t.Errorf("witnessed at %v", at)
	}
	l.server.fail(errCrash)
	want(0, "imaledger_up")
}
