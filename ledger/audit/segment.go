package audit

import (
	"encoding/hex"
	"fmt"

	"github.com/imaledger/imaledger/ledger"
)

// A Segment is what holds of a segment, unless a finding that contradicts names
// it: then it is what the segment states.
type Segment struct {
	Log      string `json:"log"`
	Host     string `json:"host"`
	Sequence uint64 `json:"sequence"`
	Leaf     string `json:"leaf"` // leaf hash, hex
	Join     string `json:"join"`

	First uint64 `json:"first"` // index in the boot of the first record
	Count uint64 `json:"count"`
	// Replayed says that the records were at hand and give the quoted values;
	// without it only the values themselves are proven.
	Replayed   bool           `json:"replayed"`
	Violations uint64         `json:"violations"` // records whose contents no register binds
	Unattested uint64         `json:"unattested"` // records that no register binds at all
	Kexecs     uint64         `json:"kexecs"`
	Erased     *ErasedSegment `json:"erased,omitempty"`
	// Register to value in hex, of a segment in a Report.
	Base map[string]string `json:"base"`
	End  map[string]string `json:"end"`

	ResetCount   uint32 `json:"resetCount"`
	RestartCount uint32 `json:"restartCount"`
	Clock        uint64 `json:"clock"` // milliseconds, the TPM's

	Grade ledger.Grade `json:"grade"` // how the AK was enrolled

	// Set by the check of a receipt and of the anchor; Unix seconds, 0 where
	// nothing bounds.
	Index     *uint64 `json:"index,omitempty"`     // in the log
	NotBefore uint64  `json:"notBefore,omitempty"` // the quote is not older
	NotAfter  uint64  `json:"notAfter,omitempty"`  // the quote is not newer
	// The records are not older than the quote before; 0 in a boot's first
	// segment, where only the boot itself bounds them.
	RecordsNotBefore uint64 `json:"recordsNotBefore,omitempty"`
}

// ErasedSegment says by what a segment's records were erased.
type ErasedSegment struct {
	Leaf   string   `json:"leaf"`   // leaf hash of the erasure, hex
	Policy uint64   `json:"policy"` // number of the retention policy, 0 if unknown
	By     []string `json:"by"`
	Reason string   `json:"reason"`
	Time   uint64   `json:"time"` // Unix seconds, the operator's word
	// Witnessed is when witnesses had seen the erasure, 0 if that is not known.
	Witnessed uint64 `json:"witnessed,omitempty"`
}

// judgeSegment follows FORMAT.md, "Verifying a segment".
func (s *State) judgeSegment(j *Judgement, seg *ledger.Segment, addenda Addenda) {
	// SPEC: 1. The segment names the host's entry before it.
	next := s.judgeLink(j, seg)
	j.next, next.begun = next, true
	q := s.judgeQuote(j, seg, next)
	if q == nil {
		// What the quote does not bear out must not become the base that the
		// next segment is held to.
		return
	}
	// SPEC: 9. The segment joins the one before it. That the host is enrolled means
	// that there is a state before.
	s.judgeJoin(j, seg, j.before, next.skipped, q)

	next.Last, next.renewed = seg, false
	next.quote, next.ek = counters{q.ResetCount, q.RestartCount, q.Clock}, next.Enrolment.EK
	j.Segment = &Segment{
		Log: seg.Log, Host: seg.Host, Sequence: seg.Sequence, Leaf: hex.EncodeToString(j.leaf[:]), Join: seg.Join.String(),
		First: seg.First, Count: seg.Count,
		ResetCount: q.ResetCount, RestartCount: q.RestartCount, Clock: q.Clock, Grade: next.Enrolment.Grade,
	}
	// SPEC: 10 to 14, on the records.
	s.judgeRecords(j, seg, j.before.Last, next.skipped, addenda)
}

func registers(list []ledger.PCR) map[string]string {
	m := make(map[string]string, len(list))
	for _, p := range list {
		m[p.Slot()] = hex.EncodeToString(p.Value)
	}
	return m
}

// erasedBy returns the erasure that accounts for a payload that is not at hand.
func (s *State) erasedBy(leaf ledger.Hash, payload ledger.Hash) *ErasedSegment {
	e, found := s.erased[leaf]
	if !found || e.payload != payload {
		return nil
	}
	erased := &ErasedSegment{Leaf: hex.EncodeToString(e.leaf[:]), By: e.by, Reason: e.Reason, Time: e.Time}
	if p := s.retentions[e.Retention]; p != nil {
		erased.Policy = p.Policy
	}
	if s.log != nil {
		erased.Witnessed = s.log.NotAfter(e.leaf)
	}
	return erased
}

func (e *ErasedSegment) String() string {
	when := "stated at " + Time(e.Time)
	if e.Witnessed > 0 {
		when = "witnessed by " + Time(e.Witnessed)
	}
	return fmt.Sprintf("erased under retention policy %d by %v, erasure %.12s… %s: %s", e.Policy, e.By, e.Leaf, when, e.Reason)
}
