package audit

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/quote"
)

// TestCountersOfJoins is the table of what a TPM's counters let a segment be,
// beside the one before it: what swtpm makes of each event is in
// tpm/quote, TestCounters.
func TestCountersOfJoins(t *testing.T) {
	pcr := func(b byte) []ledger.PCR {
		return []ledger.PCR{{Bank: "sha256", Index: 10, Value: bytes.Repeat([]byte{b}, 32)}}
	}
	ends, starts := pcr(7), pcr(0)
	boot := ledger.Join{Kind: ledger.JoinBoot}
	goesOn := ledger.Join{Kind: ledger.JoinContinues}
	gap := ledger.Join{Kind: ledger.JoinGap, Reason: "unknown"}
	cleared := ledger.Join{Kind: ledger.JoinGap, Reason: "tpm-clear"}
	for _, row := range []struct {
		name     string
		is       counters // was reset 5, restart 2, clock 1000
		join     ledger.Join
		base     []ledger.PCR
		first    uint64
		enrolled bool // anew, between the two
		want     []ledger.Code
	}{
		{"goes on", counters{5, 2, 1001}, goesOn, ends, 40, false, nil},
		{"goes on in the same millisecond", counters{5, 2, 1000}, goesOn, ends, 40, false, nil},
		{"resume", counters{5, 3, 1001}, goesOn, ends, 40, false, nil},
		{"restart", counters{5, 3, 1001}, boot, starts, 0, false, nil},
		{"restart, said to go on", counters{5, 3, 1001}, goesOn, starts, 40, false, []ledger.Code{ledger.BaseMismatch}},
		{"orderly reset", counters{6, 0, 1001}, boot, starts, 0, false, nil},
		{"disorderly reset, the clock goes back", counters{6, 0, 10}, boot, starts, 0, false, nil},
		{"reset, said to go on", counters{6, 0, 1001}, goesOn, ends, 40, false, []ledger.Code{ledger.JoinInvalid}},
		{"two resets", counters{7, 0, 1001}, boot, starts, 0, false, []ledger.Code{ledger.BootSkipped}},
		{"neither, and a zero base", counters{5, 2, 1001}, boot, starts, 0, false, []ledger.Code{ledger.ZeroBase}},
		{"neither, and a gap from zero", counters{5, 2, 1001}, gap, starts, 40, false, []ledger.Code{ledger.Gap, ledger.ZeroBase}},
		{"a gap that counts records again", counters{5, 2, 1001}, gap, ends, 39, false, []ledger.Code{ledger.BodyMismatch, ledger.Gap}},
		{"a gap", counters{5, 2, 1001}, gap, pcr(9), 40, false, []ledger.Code{ledger.Gap}},
		{"boot that does not begin at zero", counters{6, 0, 1001}, boot, ends, 0, false, []ledger.Code{ledger.BaseMismatch}},
		{"boot that does not begin with record 0", counters{6, 0, 1001}, boot, starts, 1, false, []ledger.Code{ledger.BodyMismatch}},
		{"reset counter lower", counters{4, 9, 2000}, boot, starts, 0, false, []ledger.Code{ledger.CounterRollback, ledger.ZeroBase}},
		{"restart counter lower", counters{5, 1, 1001}, goesOn, ends, 40, false, []ledger.Code{ledger.CounterRollback}},
		{"clock lower", counters{5, 2, 999}, goesOn, ends, 40, false, []ledger.Code{ledger.ClockRollback}},
		{"clock lower after a resume", counters{5, 3, 999}, goesOn, ends, 40, false, []ledger.Code{ledger.ClockRollback}},
		{"clear, enrolled anew and declared", counters{0, 0, 3}, cleared, ends, 40, true, []ledger.Code{ledger.Gap}},
		{"clear, declared and not enrolled anew", counters{0, 0, 3}, cleared, ends, 40, false, []ledger.Code{ledger.CounterRollback, ledger.Gap}},
		{"clear, enrolled anew and not declared", counters{0, 0, 3}, gap, ends, 40, true, []ledger.Code{ledger.CounterRollback, ledger.Gap}},
		{"clear, said to be a boot", counters{0, 0, 3}, boot, starts, 0, true, []ledger.Code{ledger.CounterRollback, ledger.ZeroBase}},
		// Counters of the endorsement hierarchy are the TPM's own. One that went round
		// has been reset 2^32 times, so it has been set back instead.
		{"reset counter at its greatest", counters{math.MaxUint32, 0, 1001}, boot, starts, 0, false, []ledger.Code{ledger.BootSkipped}},
		{"reset counter round", counters{0, 0, 1001}, boot, starts, 0, false, []ledger.Code{ledger.CounterRollback, ledger.ZeroBase}},
	} {
		prev := &ledger.Segment{Head: ledger.Head{Sequence: 3}, Body: ledger.Body{First: 30, Count: 10, End: ends}}
		seg := &ledger.Segment{Head: ledger.Head{Sequence: 4}, Body: ledger.Body{Join: row.join, First: row.first, Base: row.base, End: pcr(8)}}
		h := &Host{Last: prev, quote: counters{5, 2, 1000}, renewed: row.enrolled, Enrolment: &ledger.Enrolment{}}
		j := &Judgement{}
		new(State).judgeJoin(j, seg, h, false, &quote.Quote{ResetCount: row.is.reset, RestartCount: row.is.restart, Clock: row.is.clock})
		var got []ledger.Code
		for _, f := range j.Findings {
			got = append(got, f.Code)
		}
		if slices.Sort(got); !slices.Equal(got, row.want) {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}
