package audit_test

import (
	"bytes"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// What another implementation of FORMAT.md found, which altered bundles to find
// where it and this package differ.

// TestHonestMiddle: a history that is shown from its middle is verified, also where
// the list has extended more registers than the shown records name, and where an
// enrolment, and not a segment, comes first.
func TestHonestMiddle(t *testing.T) {
	w, _, staging := fleet(t)
	from := func(sequence uint64) func(int, ledger.Entry) bool {
		return func(_ int, e ledger.Entry) bool {
			host, n := link(e)
			return host == staging.name && (n == 0 || n >= sequence)
		}
	}
	r := w.check(w.bundle(from(5)))
	if got := codes(r); r.Class() != ledger.Noted || !slices.Contains(got, ledger.HistoryPartial) {
		t.Errorf("registers of before: %v", r.Findings)
	}

	w, h := small(t)
	h.enrol(enrolmentOf(h))
	h.measure(5)
	h.seal(0)
	r = w.check(w.bundle(func(_ int, e ledger.Entry) bool { _, n := link(e); return n >= 4 }))
	if got := codes(r); r.Class() != ledger.Noted || !slices.Equal(got, []ledger.Code{ledger.HistoryPartial}) {
		t.Errorf("an enrolment comes first: %v", r.Findings)
	}
}

// TestFurtherFindings: what is found does not hide what else is wrong.
func TestFurtherFindings(t *testing.T) {
	for _, row := range []struct {
		name  string
		alter func(w *world, h *host)
		want  []ledger.Code
	}{
		{"anchor of a segment whose quote fails", func(w *world, h *host) {
			h.anchor = func(a *ledger.Anchor) { a.Note[0] ^= 1 }
			h.alter = func(s *ledger.Segment) { s.Attest[60] ^= 1 }
			h.seal(0)
		}, []ledger.Code{ledger.AnchorMissing, ledger.QuoteSignature}},
		{"log that the policy does not name, and a quote", func(w *world, h *host) {
			other, _ := vkey(1, "other.example", w.log)
			w.policy = "log " + other + "\nquorum none\n"
			w.setTrust()
			h.alter = func(s *ledger.Segment) { s.End[0].Value = bytes.Repeat([]byte{7}, 20) }
			h.seal(0)
		}, []ledger.Code{ledger.CheckpointUnknown, ledger.EntryWrongLog, ledger.QuoteValues}},
		{"stored digest, and a record dropped", func(w *world, h *host) {
			h.alter = func(s *ledger.Segment) {
				records := recordsIn(w.t, h.list[h.sealed:h.extended])
				records[1][5] ^= 1
				remake(t, w, s, slices.Delete(records, 3, 4))
			}
			h.seal(0)
		}, []ledger.Code{ledger.RecordDigest, ledger.ReplayMismatch}},
		{"nothing of records that are not the leaf's", func(w *world, h *host) {
			h.alter = func(s *ledger.Segment) {
				records := recordsIn(w.t, h.list[h.sealed:h.extended])
				records[1][0] = 11
				remake(t, w, s, records)
				s.Payload.Size++
			}
			h.seal(0)
		}, []ledger.Code{ledger.PayloadDigest}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, h := small(t)
			h.measure(10)
			row.alter(w, h)
			if got := codes(w.check(w.bundle(nil))); !slices.Equal(got, row.want) {
				t.Errorf("found %v, want %v", got, row.want)
			}
		})
	}
}

// TestResetBack: a lower resetCount is told as a rollback, and is no continuation.
func TestResetBack(t *testing.T) {
	w, h := small(t)
	h.alter = func(s *ledger.Segment) { s.Join = ledger.Join{Kind: ledger.JoinContinues} }
	rollBack(h)
	got := codes(w.check(w.bundle(nil)))
	if !slices.Contains(got, ledger.CounterRollback) || !slices.Contains(got, ledger.JoinInvalid) {
		t.Errorf("found %v", got)
	}
}

// TestDaysPastTheEndOfTime: a policy of more days than time has keeps everything.
func TestDaysPastTheEndOfTime(t *testing.T) {
	for _, days := range []uint64{math.MaxInt64, math.MaxInt64 / 86400, 1 << 48} {
		w, _ := small(t)
		policy := w.retain(1, days)
		w.now = w.now.Add(100 * 365 * 24 * time.Hour)
		w.erase(policy)
		if got := codes(w.check(w.bundle(nil))); !slices.Contains(got, ledger.StatementInvalid) {
			t.Errorf("%d days: found %v", days, got)
		}
	}
}

// TestCheckpointOfAReceipt: a proof in its form with a checkpoint that is none.
func TestCheckpointOfAReceipt(t *testing.T) {
	w, _ := small(t)
	proof := bytes.Replace(w.proof(0), []byte("log.example/test\n4\n"), []byte("log.example/test\n04\n"), 1)
	refuse(t, w.check(w.replaceProof(0, proof)), ledger.CheckpointMalformed)
}

// TestSplitByAnAnchor: an anchor that is not the one that its segment names is the
// log's word all the same.
func TestSplitByAnAnchor(t *testing.T) {
	w, h := small(t)
	h.measure(5)
	forked := slices.Clone(w.leaves)
	forked = append(forked, ledger.Hash{1})
	fork := w.sign(forked)
	w.keep(ledger.FolderAnchors, fork)
	h.anchor = func(a *ledger.Anchor) { a.Note = ledger.SourceBytes(ledger.FolderAnchors, fork, ledger.Hash{}).Digest }
	h.seal(0)
	got := codes(w.check(w.bundle(nil)))
	if !slices.Contains(got, ledger.LogSplit) || !slices.Contains(got, ledger.AnchorMismatch) {
		t.Errorf("found %v", got)
	}
}

// TestSplitByTwoAnchors: two roots of one size are two histories, though no proof
// leads to either.
func TestSplitByTwoAnchors(t *testing.T) {
	w, h := small(t)
	for i := range 2 {
		h.measure(2)
		fork := w.sign(append(slices.Clone(w.leaves), make([]ledger.Hash, 64-len(w.leaves))...))
		if i == 1 {
			fork = w.sign(append(make([]ledger.Hash, 63), ledger.Hash{1}))
		}
		w.keep(ledger.FolderAnchors, fork)
		h.anchor = func(a *ledger.Anchor) { a.Note = ledger.SourceBytes(ledger.FolderAnchors, fork, ledger.Hash{}).Digest }
		h.seal(0)
	}
	if got := codes(w.check(w.bundle(nil))); !slices.Contains(got, ledger.LogSplit) {
		t.Errorf("found %v", got)
	}
}
