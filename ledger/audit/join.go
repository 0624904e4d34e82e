package audit

import (
	"bytes"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/quote"
)

// judgeJoin holds a segment's begin to the end of the one before it, and the
// TPM's counters to those of the quote before. It follows FORMAT.md, "Joins".
func (s *State) judgeJoin(j *Judgement, seg *ledger.Segment, h *Host, skipped bool, q *quote.Quote) {
	prev, was := h.Last, h.quote
	if prev == nil {
		judgeFirst(j, seg, skipped)
		return
	}
	reset := q.ResetCount > was.reset
	cleared := h.renewed && seg.Join == ledger.Join{Kind: ledger.JoinGap, Reason: "tpm-clear"}

	// SPEC: J1. Within one boot no counter and no clock goes back; the reset
	// counter never does, but where TPM2_Clear is declared and a registrar has
	// enrolled the host anew.
	same := q.ResetCount == was.reset
	if !cleared && q.ResetCount < was.reset {
		j.find(ledger.CounterRollback, "resetCount is %d, it was %d in #%d", q.ResetCount, was.reset, prev.Sequence)
	}
	if !cleared && same && q.RestartCount < was.restart {
		j.find(ledger.CounterRollback, "restartCount is %d, it was %d in #%d of the same boot", q.RestartCount, was.restart, prev.Sequence)
	}
	if !cleared && same && q.Clock < was.clock {
		j.find(ledger.ClockRollback, "the TPM's clock is %d ms, it was %d ms in #%d of the same boot", q.Clock, was.clock, prev.Sequence)
	}
	restarted := same && q.RestartCount > was.restart

	switch seg.Join.Kind {
	case ledger.JoinContinues:
		// SPEC: J2. continues: the TPM is the same and was not reset, the base is
		// the previous end, the index goes on.
		if ek := h.Enrolment.EK; ek != h.ek {
			j.find(ledger.JoinInvalid, "continues, but under another TPM: its EK is %.16s…, it was %.16s… in #%d", ek, h.ek, prev.Sequence)
		}
		if !same {
			j.find(ledger.JoinInvalid, "continues, but resetCount is %d, it was %d: that is not the same boot", q.ResetCount, was.reset)
		}
		judgeBase(j, seg, prev)
		if seg.First != prev.First+prev.Count {
			j.find(ledger.BodyMismatch, "first is %d, the segment before ends at record %d of this boot", seg.First, prev.First+prev.Count)
		}
	case ledger.JoinBoot:
		// SPEC: J3. boot: the registers restarted, so the base is zero and the
		// index too.
		if !reset && !restarted {
			j.find(ledger.ZeroBase, "begins a boot, but neither resetCount %d nor restartCount %d has grown since #%d", q.ResetCount, q.RestartCount, prev.Sequence)
		}
		judgeBoot(j, seg)
	case ledger.JoinGap:
		// SPEC: J4. gap: declared. Registers that hold records cannot return to
		// zero without a restart, and what would continue must say so.
		if !reset && !restarted && !cleared {
			if seg.ZeroBase() && !zero(prev.End) {
				j.find(ledger.ZeroBase, "begins at zero, but neither resetCount nor restartCount has grown since #%d", prev.Sequence)
			}
			if seg.First < prev.First+prev.Count {
				j.find(ledger.BodyMismatch, "first is %d, the segment before ends at record %d of this boot", seg.First, prev.First+prev.Count)
			}
		}
		j.find(ledger.Gap, "records between #%d and #%d are missing: the host says %s", prev.Sequence, seg.Sequence, seg.Join.Reason)
	}
	if reset && q.ResetCount > was.reset+1 {
		j.find(ledger.BootSkipped, "resetCount went from %d to %d: between them %s without a quote", was.reset, q.ResetCount, Count(q.ResetCount-was.reset-1, "boot"))
	}
}

// judgeFirst: SPEC: J5. A host's first segment begins a boot, or declares what
// is missing. skipped says that the evidence begins in the middle of the chain.
func judgeFirst(j *Judgement, seg *ledger.Segment, skipped bool) {
	switch {
	case seg.Join.Kind == ledger.JoinBoot:
		judgeBoot(j, seg)
	case seg.Join.Kind == ledger.JoinGap:
		j.find(ledger.Gap, "records before #%d are missing: the host says %s", seg.Sequence, seg.Join.Reason)
	case !skipped:
		j.find(ledger.JoinInvalid, "continues, but the host has no segment before it")
	}
}

func judgeBoot(j *Judgement, seg *ledger.Segment) {
	if !seg.ZeroBase() {
		j.find(ledger.BaseMismatch, "begins a boot with registers that are not zero")
	}
	if seg.First != 0 {
		j.find(ledger.BodyMismatch, "begins a boot with record %d", seg.First)
	}
}

// judgeBase: each register begins with the value that the segment before quoted
// for it, also one that the list extends for the first time now; and none that
// the list extended is dropped.
func judgeBase(j *Judgement, seg *ledger.Segment, prev *ledger.Segment) {
	for _, p := range seg.Base {
		switch was := prev.Quoted(p.Bank, p.Index); {
		case was == nil && !zero([]ledger.PCR{p}):
			j.find(ledger.BaseMismatch, "%s begins with %x, and #%d did not quote it; such a register begins with zero, or after a gap", p.Slot(), p.Value, prev.Sequence)
		case was != nil && !bytes.Equal(was, p.Value):
			j.find(ledger.BaseMismatch, "%s begins with %x, #%d ended with %x", p.Slot(), p.Value, prev.Sequence, was)
		}
	}
	for _, p := range prev.End {
		if seg.Quoted(p.Bank, p.Index) == nil {
			j.find(ledger.QuoteSelection, "%s was extended by the list in #%d and is no longer quoted", p.Slot(), prev.Sequence)
		}
	}
}

func zero(list []ledger.PCR) bool {
	for _, p := range list {
		if len(bytes.Trim(p.Value, "\x00")) > 0 {
			return false
		}
	}
	return true
}
