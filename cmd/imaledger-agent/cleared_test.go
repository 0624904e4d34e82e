package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// TestCleared: the power is cut at each step of the round that follows TPM2_Clear.
// The gap is stated once.
func TestCleared(t *testing.T) {
	t.Parallel()
	for _, boots := range []bool{false, true} {
		for _, step := range steps {
			device := newSwtpm(t)
			w := newWorldOf(t, newFakeKernelOf(t, securityfs.Staging, device))
			k := w.kernel
			k.reboot() // the counters of a TPM that was used
			k.measure(2)
			w.round()
			k.measure(2)
			device.Clear()
			if boots {
				k.reboot()
				k.measure(1)
			}
			if err := w.once(step); err != nil && !errors.Is(err, errPower) {
				t.Fatalf("boot %v, cut after %s: %v", boots, step, err)
			}
			k.measure(1)
			if err := w.try(); err != nil {
				t.Errorf("boot %v, cut after %s: %v", boots, step, err)
				continue
			}
			k.measure(1)
			w.round()
			r, _ := w.evidence()
			gaps := 0
			for _, s := range r.Segments {
				if strings.HasPrefix(s.Join, "gap") {
					gaps++
				}
			}
			if r.Class() == ledger.Contradicted || gaps != 1 {
				t.Errorf("boot %v, cut after %s: %d gaps, %v", boots, step, gaps, r.Findings)
			}
		}
	}
}

// TestClearedWhileRunning: TPM2_Clear under an agent that runs ends the key that it
// has loaded. It goes on by itself. Where records are missing besides, the gap says no less.
func TestClearedWhileRunning(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		device := newSwtpm(t)
		w := newWorldOf(t, newFakeKernelOf(t, securityfs.Staging, device))
		k := w.kernel
		k.reboot()
		k.measure(2)
		a := w.running()
		round := func() {
			t.Helper()
			if err := a.Once(t.Context()); err != nil {
				t.Errorf("lost %v: %v", lost, err)
			}
		}
		round()
		device.Clear()
		k.measure(2)
		if lost {
			k.list = k.list[1:]
		}
		round()
		k.measure(1)
		round()
		last, before := w.newestSegments()
		if before == nil || before.Join != (ledger.Join{Kind: ledger.JoinGap, Reason: "tpm-clear"}) || lost == (before.Count > 0) || last.Join.Kind != ledger.JoinContinues {
			t.Fatalf("lost %v: %+v, then %+v", lost, before, last)
		}
		if r, _ := w.evidence(); r.Class() == ledger.Contradicted {
			t.Errorf("lost %v: %v", lost, r.Findings)
		}
	}
}
