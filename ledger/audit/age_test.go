package audit_test

import (
	"testing"

	"github.com/imaledger/imaledger/ledger"
)

// Evidence that is older than the trust folder allows is undecided, by a quorum's
// clocks and by the checker's: the same bundle, at two times.
func TestCheckAge(t *testing.T) {
	w, _ := small(t)
	raw := w.bundle(nil)
	r := w.check(raw)
	if r.Class() != ledger.Noted || r.Vouched == 0 {
		t.Fatalf("%v, vouched for at %d", r.Findings, r.Vouched)
	}
	r.CheckAge(w.trust, r.Vouched+1_000_000)
	if r.Class() != ledger.Noted {
		t.Errorf("no age is demanded: %v", r.Findings)
	}
	w.trust.MaxAge = 3600
	for now, want := range map[uint64]ledger.Class{r.Vouched + 3600: ledger.Noted, r.Vouched + 3601: ledger.Undecided, r.Vouched - 1000: ledger.Undecided} {
		r := w.check(raw)
		r.CheckAge(w.trust, now)
		if r.Class() != want {
			t.Errorf("at %d: %v", now, r.Findings)
		}
		if want == ledger.Undecided {
			refuse(t, r, ledger.CheckpointStale)
		}
	}
}
