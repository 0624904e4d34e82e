package audit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
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
		{"a statement again, with a line by a stranger", func(w *world, _ *host) {
			held := &ledger.Hold{Log: origin, From: 1, To: 2, Reason: "court order", Time: 1}
			leaf := w.state(held)
			w.state(&ledger.Release{Log: origin, Hold: leaf, Reason: "lifted", Time: 2})
			stranger, _ := noteSigner(w.t, "stranger.example")
			if err := ledger.Sign(held, stranger); err != nil {
				w.t.Fatal(err)
			}
			w.add(held.Marshal())
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

// TestKeeps: one who would erase counts what is not certain as kept.
func TestKeeps(t *testing.T) {
	w := newWorld(t)
	at := func(days uint64) uint64 { return 1_800_000_000 + days*24*60*60 }
	seg := &audit.Placed{Segment: &ledger.Segment{Head: ledger.Head{Host: "stock"}}, NotBefore: at(0), NotAfter: at(1)}
	retention := func() *ledger.Retention {
		return &ledger.Retention{Log: origin, Policy: 1, Days: 30, Statement: "thirty days", Time: 1}
	}
	hold := func(host string, from, to uint64) *ledger.Hold {
		return &ledger.Hold{Log: origin, Host: host, From: from, To: to, Reason: "court order", Time: 1}
	}
	for _, row := range []struct {
		name       string
		statements []ledger.Statement
		seg        *audit.Placed
		now        uint64
		keeps      string // part of it; nothing where it may go
	}{
		{"no policy", nil, seg, at(1000), "no retention policy"},
		{"forever", []ledger.Statement{&ledger.Retention{Log: origin, Policy: 1, Statement: "forever", Time: 1}}, seg, at(1000), "forever"},
		{"thirty days by the later bound", []ledger.Statement{retention()}, seg, at(31), ""},
		{"thirty days by the earlier bound alone", []ledger.Statement{retention()}, seg, at(31) - 1, "keeps it until"},
		{"nobody knows since when", []ledger.Statement{retention()}, &audit.Placed{Segment: seg.Segment, NotBefore: at(0)}, at(1000), "no witness"},
		{"nobody knows what time it is", []ledger.Statement{retention()}, seg, 0, "no witness"},
		{"its host is held", []ledger.Statement{retention(), hold("stock", at(0), at(1))}, seg, at(40), "court order"},
		{"every host is held", []ledger.Statement{retention(), hold("", at(0), at(1))}, seg, at(40), "court order"},
		{"another host is held", []ledger.Statement{retention(), hold("other", at(0), at(1))}, seg, at(40), ""},
		{"the hold may begin after it", []ledger.Statement{retention(), hold("stock", at(1), at(9))}, seg, at(40), "court order"},
		{"the hold begins after it", []ledger.Statement{retention(), hold("stock", at(1)+1, at(9))}, seg, at(40), ""},
		{"the hold may end before it", []ledger.Statement{retention(), hold("stock", 0, at(0))}, seg, at(40), "court order"},
		{"the hold ends before it", []ledger.Statement{retention(), hold("stock", 0, at(0)-1)}, seg, at(40), ""},
		{"nobody looked at it", []ledger.Statement{&ledger.Retention{Log: origin, Policy: 1, Days: 30, Appraisal: true, Statement: "x", Time: 1}}, seg, at(40), "appraisal"},
	} {
		s := audit.NewState(w.trust)
		for _, statement := range row.statements {
			if err := ledger.Sign(statement, w.operator); err != nil {
				t.Fatal(err)
			}
			j := s.Judge(ledger.LeafHash(statement.Marshal()), statement, nil)
			if len(j.Findings) > 0 {
				t.Fatal(row.name, j.Findings)
			}
			s.Commit(j)
		}
		if got := s.Keeps(row.seg, row.now); (got == "") != (row.keeps == "") || !strings.Contains(got, row.keeps) {
			t.Errorf("%s: %q, want %q", row.name, got, row.keeps)
		}
	}
}
