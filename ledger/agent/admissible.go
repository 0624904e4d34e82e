package agent

import (
	"bytes"
	"errors"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// A segment that a ledger refuses is refused for ever, and all that comes after it waits.
// So what goes against the formats by itself is not submitted.

// noBoot tells, by a gap's reason, that a segment is no begin of a boot as an auditor
// wants it (FORMAT.md, section 8.2, step 14). It would be refused for ever.
func (a *Agent) noBoot(s *ledger.Segment, q *quoted) string {
	begin := a.begin().Offset
	rec, err := ima.NewReader(a.list.section(begin, begin+int64(s.Payload.Size)), ima.Format{Bank: ima.SHA1}).Next()
	if err != nil {
		return a.gapReason(q)
	}
	bank, digest, is := rec.BootAggregate()
	if !is {
		return a.gapReason(q)
	}
	want, known := ima.BootAggregate(bank, func(slot ima.Slot) []byte { return s.Quoted(ledger.Bank(slot.Bank.String()), slot.PCR) })
	if known && !bytes.Equal(want, digest) {
		return "extended"
	}
	return ""
}

// tooLong reports whether a segment has more than any ledger takes.
func (a *Agent) tooLong(s *ledger.Segment) bool {
	limit := uint64(ledger.MaxPayload)
	if a.MaxSegment > 0 {
		limit = min(limit, uint64(a.MaxSegment))
	}
	return s.Payload.Size > limit
}

// gapTooLong passes over what is too long for a segment: no value that the registers had
// before its end was quoted, so no part of it can be sealed, now or later.
func (a *Agent) gapTooLong(s *ledger.Segment) error {
	a.Logger.Warn("agent: what was listed is too long for a segment", "records", s.Count, "bytes", s.Payload.Size)
	if s.Join.Reason != "" {
		return a.gap(s.Join.Reason)
	}
	if a.chain.last == nil {
		return a.gap("first-seen")
	}
	return a.gap("unknown")
}

// ErrNotExtended is a kernel that measures and does not tell the TPM.
var ErrNotExtended = errors.New("the kernel lists records and extends no register with them, so they cannot be sealed: it found no TPM when it began to measure (its log says TPM-bypass)")

// extended is an error where records that were listed before the quote are not under it.
func (a *Agent) extended(q *quoted) error {
	begin := a.begin()
	n, missed := begin.Record, false
	err := a.list.each(begin.Offset, a.spool.state.Bytes, func(r *ima.Record) error {
		missed = missed || n < q.listed && ima.Attestable(r.PCR)
		n++
		return nil
	})
	if err == nil && missed {
		err = ErrNotExtended
	}
	return err
}
