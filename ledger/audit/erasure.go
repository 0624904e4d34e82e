package audit

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/imaledger/imaledger/ledger"
)

// A Log is what statements refer to: the entries before them, and time.
type Log interface {
	// Segment returns a segment of the log by its leaf hash.
	Segment(leaf ledger.Hash) (s *Placed, found bool, err error)
	// NotAfter returns a time by which an entry was in the log, 0 if none is
	// known.
	NotAfter(leaf ledger.Hash) uint64
}

// Placed is a segment and when it came into the log, in Unix seconds: not before
// its anchor's time, not after its receipt's. Either is 0 where witnesses state
// none.
type Placed struct {
	*ledger.Segment
	NotBefore, NotAfter uint64
}

// A verdict is an appraisal's: on the host's segments up to one.
type verdict struct {
	sequence uint64
	passed   bool
}

// Policy returns the retention policy in force, and its leaf hash; nil where the
// operators have stated none.
func (s *State) Policy() (leaf ledger.Hash, r *ledger.Retention) {
	return s.policy, s.retentions[s.policy]
}

// Keeps tells why the records of a segment must be kept, empty if they may be
// erased at the time now. It is for one who would erase: what is not known for
// certain counts for keeping.
func (s *State) Keeps(seg *Placed, now uint64) string {
	_, policy := s.Policy()
	switch {
	case policy == nil:
		return "no retention policy is stated"
	case policy.Days == ledger.Forever:
		return fmt.Sprintf("retention policy %d keeps records forever", policy.Policy)
	case seg.NotAfter == 0 || now == 0:
		return "no witness states yet on which day it came into the log"
	case now < end(seg.NotAfter, policy):
		return fmt.Sprintf("retention policy %d keeps it until %s", policy.Policy, Time(end(seg.NotAfter, policy)))
	case policy.Appraisal && !s.appraised(seg.Segment):
		return fmt.Sprintf("retention policy %d demands a passed appraisal first", policy.Policy)
	}
	for leaf, h := range s.holds {
		if Covers(h, seg) {
			return fmt.Sprintf("hold %x of %s: %s", leaf[:6], Time(h.Time), h.Reason)
		}
	}
	return ""
}

// Covers tells whether a hold may cover a segment, whose times must both be known.
func Covers(h *ledger.Hold, seg *Placed) bool {
	return (h.Host == "" || h.Host == seg.Host) && seg.NotBefore <= h.To && seg.NotAfter >= h.From
}

// end returns the time at which a policy no longer keeps what came into the log
// at a time. Days that no clock reaches are not taken for few.
func end(since uint64, r *ledger.Retention) uint64 {
	const day = 24 * 60 * 60
	if since > math.MaxInt64 || r.Days > (math.MaxInt64-since)/day {
		return math.MaxInt64
	}
	return since + r.Days*day
}

// keptThen tells why an erasure that was in the log by the time then was against
// the policy in force, empty if it may have followed it. It is for one who audits:
// only what is certain counts.
func (s *State) keptThen(seg *Placed, then uint64) string {
	_, policy := s.Policy()
	switch {
	case policy == nil:
		return ""
	case policy.Days == ledger.Forever:
		return fmt.Sprintf("retention policy %d kept its records forever", policy.Policy)
	case then > 0 && seg.NotBefore > 0 && then < end(seg.NotBefore, policy):
		return fmt.Sprintf("it was in the log by %s, and retention policy %d kept the records until %s at least", Time(then), policy.Policy, Time(end(seg.NotBefore, policy)))
	case policy.Appraisal && !s.partial && !s.appraised(seg.Segment):
		return fmt.Sprintf("retention policy %d demanded a passed appraisal first", policy.Policy)
	}
	for leaf, h := range s.holds {
		if (h.Host == "" || h.Host == seg.Host) && seg.NotBefore >= h.From && seg.NotAfter > 0 && seg.NotAfter <= h.To {
			return fmt.Sprintf("hold %x was in force: %s", leaf[:6], h.Reason)
		}
	}
	return ""
}

// appraised tells whether the newest appraisal that covers a segment passed it.
func (s *State) appraised(seg *ledger.Segment) bool {
	list := s.verdicts[seg.Host]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].sequence >= seg.Sequence {
			return list[i].passed
		}
	}
	return false
}

// judgeErasure holds an erasure to the policy in force, to what it names, and to
// holds and appraisals before it.
func (s *State) judgeErasure(j *Judgement, e *ledger.Erasure) {
	named := s.retentions[e.Retention]
	if named == nil {
		j.find(ledger.EntryMissing, "the retention policy %x that it follows is not known", e.Retention[:6])
	}
	if leaf, policy := s.Policy(); named != nil && leaf != e.Retention {
		j.find(ledger.StatementInvalid, "it follows retention policy %d; policy %d was in force", named.Policy, policy.Policy)
	}
	if s.log == nil {
		return
	}
	then := s.log.NotAfter(j.leaf)
	for _, x := range e.Erased {
		seg, found, err := s.log.Segment(x.Leaf)
		switch {
		case err != nil:
			j.Err = err
			return
		case !found && s.partial: // of no concern to this evidence
		case !found:
			j.find(ledger.EntryMissing, "the segment %x that it names is not in the log", x.Leaf[:6])
		case seg.Payload.Digest != x.Payload:
			j.find(ledger.StatementInvalid, "of %s #%d it names the payload %x, which is not that segment's", seg.Host, seg.Sequence, x.Payload[:6])
		default:
			if why := s.keptThen(seg, then); why != "" {
				j.find(ledger.StatementInvalid, "%s #%d: %s", seg.Host, seg.Sequence, why)
			}
		}
	}
}

// judgeAppraisal finds what an appraisal is about.
func (s *State) judgeAppraisal(j *Judgement, e *ledger.Appraisal) {
	if s.log == nil {
		return
	}
	seg, found, err := s.log.Segment(e.Segment)
	switch {
	case err != nil:
		j.Err = err
	case !found && s.partial:
	case !found:
		j.find(ledger.EntryMissing, "the segment %x that it is about is not in the log", e.Segment[:6])
	case seg.Host != e.Host:
		j.find(ledger.StatementInvalid, "it is about host %s, and names a segment of host %s", e.Host, seg.Host)
	default:
		j.verdict = &verdict{seg.Sequence, e.Passed}
	}
}

// Holds calls f for each hold in force, in the order of their leaf hashes.
func (s *State) Holds(f func(leaf ledger.Hash, h *ledger.Hold)) {
	order := slices.SortedFunc(maps.Keys(s.holds), func(a, b ledger.Hash) int { return bytes.Compare(a[:], b[:]) })
	for _, leaf := range order {
		f(leaf, s.holds[leaf])
	}
}
