package audit_test

import (
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

const day = 24 * time.Hour

// state puts an operator's statement into the log.
func (w *world) state(s ledger.Statement) ledger.Hash {
	w.t.Helper()
	if err := ledger.Sign(s, w.operator); err != nil {
		w.t.Fatal(err)
	}
	return w.add(s.Marshal())
}

// retain states a policy.
func (w *world) retain(number, days uint64) ledger.Hash {
	return w.state(&ledger.Retention{Log: origin, Policy: number, Days: days, Statement: "so many days", Time: 1})
}

// erase states the erasure of the host's second segment.
func (w *world) erase(policy ledger.Hash) ledger.Hash {
	payload := segmentAt(w.t, w, 2).Payload.Digest
	return w.state(&ledger.Erasure{Log: origin, Retention: policy, Erased: []ledger.Erased{{Leaf: w.leaves[2], Payload: payload}}, Reason: "it is time", Time: 2})
}

func (w *world) hold(host string, from, to time.Time) ledger.Hash {
	return w.state(&ledger.Hold{Log: origin, Host: host, From: uint64(from.Unix()), To: uint64(to.Unix()), Reason: "court order", Time: 1})
}

// erasureRows have what an erasure is refused for.
func erasureRows() []playRow {
	return []playRow{
		{"after its days", func(w *world, _ *host) {
			p := w.retain(1, 30)
			w.now = w.now.Add(31 * day)
			w.erase(p)
		}, ""},
		{"a day too early", func(w *world, _ *host) {
			p := w.retain(1, 30)
			w.now = w.now.Add(29 * day)
			w.erase(p)
		}, ledger.StatementInvalid},
		{"under a policy that keeps forever", func(w *world, _ *host) {
			p := w.retain(1, ledger.Forever)
			w.now = w.now.Add(1000 * day)
			w.erase(p)
		}, ledger.StatementInvalid},
		{"under a policy that another has followed", func(w *world, _ *host) {
			p := w.retain(1, 30)
			w.retain(2, 365)
			w.now = w.now.Add(31 * day)
			w.erase(p)
		}, ledger.StatementInvalid},
		{"policies out of order", func(w *world, _ *host) {
			w.retain(2, 30)
			w.retain(2, 60)
		}, ledger.StatementInvalid},
		{"while held", func(w *world, h *host) {
			p := w.retain(1, 30)
			w.hold("stock", w.now.Add(-day), w.now.Add(60*day))
			w.now = w.now.Add(31 * day)
			w.erase(p)
		}, ledger.StatementInvalid},
		{"while all hosts are held", func(w *world, h *host) {
			p := w.retain(1, 30)
			w.hold("", w.now.Add(-day), w.now.Add(60*day))
			w.now = w.now.Add(31 * day)
			w.erase(p)
		}, ledger.StatementInvalid},
		{"while another host is held", func(w *world, h *host) {
			p := w.retain(1, 30)
			w.hold("other", w.now.Add(-day), w.now.Add(60*day))
			w.now = w.now.Add(31 * day)
			w.erase(p)
		}, ""},
		{"while another time is held", func(w *world, h *host) {
			p := w.retain(1, 30)
			w.hold("stock", w.now.Add(-60*day), w.now.Add(-day))
			w.now = w.now.Add(31 * day)
			w.erase(p)
		}, ""},
		{"after the hold was released", func(w *world, h *host) {
			p := w.retain(1, 30)
			held := w.hold("stock", w.now.Add(-day), w.now.Add(60*day))
			w.now = w.now.Add(31 * day)
			w.state(&ledger.Release{Log: origin, Hold: held, Reason: "lifted", Time: 1})
			w.erase(p)
		}, ""},
		{"of another payload", func(w *world, h *host) {
			p := w.retain(1, 30)
			w.now = w.now.Add(31 * day)
			w.state(&ledger.Erasure{Log: origin, Retention: p, Erased: []ledger.Erased{{Leaf: w.leaves[2], Payload: ledger.Hash{1}}}, Reason: "x", Time: 2})
		}, ledger.StatementInvalid},
		{"of a segment that is not at hand", func(w *world, h *host) {
			p := w.retain(1, 30)
			w.now = w.now.Add(31 * day)
			w.state(&ledger.Erasure{Log: origin, Retention: p, Erased: []ledger.Erased{{Leaf: ledger.Hash{9}}}, Reason: "x", Time: 2})
		}, ""},
		{"appraisal of another host's segment", func(w *world, h *host) {
			w.state(&ledger.Appraisal{Log: origin, Host: "other", Segment: w.leaves[2], Passed: true, Report: ledger.Addendum{Size: 1}, Time: 1})
		}, ledger.StatementInvalid},
	}
}

func TestErasures(t *testing.T) {
	for _, row := range erasureRows() {
		t.Run(row.name, func(t *testing.T) {
			w, h := small(t)
			w.t, h.w.t = t, t
			row.play(w, h)
			// The reports that appraisals name are not part of this evidence.
			r := w.check(w.bundle(nil))
			if row.want == "" {
				if len(r.Findings) > 0 {
					t.Errorf("found %v", r.Findings)
				}
				return
			}
			refuse(t, r, row.want)
		})
	}
}
