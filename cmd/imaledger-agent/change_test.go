package main

import (
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/tpm"
	"github.com/imaledger/imaledger/tpm/quote"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// TestNewKeyWhileDown: the host's key is another one, since the configuration or the TPM
// is, and the ledger cannot be reached to enrol it. No segment is made by that key, which
// the ledger would refuse, with the enrolment waiting behind it; all goes on when the
// ledger is back.
func TestNewKeyWhileDown(t *testing.T) {
	t.Parallel()
	for _, boots := range []bool{false, true} {
		device := newSwtpm(t)
		w := newWorldOf(t, newFakeKernelOf(t, securityfs.Staging, device))
		k := w.kernel
		k.measure(2)
		w.round()
		if boots {
			k.reboot()
		}
		if err := device.UseAK(tpm.AKRSASSA, quote.Endorsement); err != nil {
			t.Fatal(err)
		}
		w.down()
		for range 2 {
			k.measure(2)
			if err := w.once(""); err == nil {
				t.Error("no error while the ledger is down")
			}
		}
		w.answer(nil)
		w.round()
		if n, want := w.whole(), map[bool]int{false: 7, true: 8}[boots]; n != want || w.gapped() != "" {
			t.Errorf("boot %v: %d records sealed, want %d; %s", boots, n, want, w.gapped())
		}
	}
}

// TestClearedAgain: TPM2_Clear, so that the counters are what they were at the newest
// segment, and the clock alone tells that they began anew.
func TestClearedAgain(t *testing.T) {
	t.Parallel()
	for _, boots := range []bool{false, true} {
		for _, runs := range []bool{false, true} {
			device := newSwtpm(t)
			w := newWorldOf(t, newFakeKernelOf(t, securityfs.Staging, device))
			k := w.kernel
			var a *agent.Agent
			round := func() {
				t.Helper()
				if !runs {
					w.round()
					return
				}
				if a == nil {
					a = w.running()
				}
				if err := a.Once(t.Context()); err != nil {
					t.Errorf("boot %v: %v", boots, err)
				}
			}
			clear := func() {
				device.Clear()
				if boots {
					k.reboot()
				}
			}
			clear()
			if !boots {
				k.reboot() // a list that begins with the registers
				device.Clear()
			}
			clock := func(s *ledger.Segment) uint64 {
				q, err := quote.Parse(s.Attest)
				if err != nil {
					t.Fatal(err)
				}
				return q.Clock
			}
			for until := uint64(1000); ; time.Sleep(100 * time.Millisecond) { // more than the rest of the test may take
				k.measure(2)
				round()
				if last, _ := w.newestSegments(); clock(last) > until {
					break
				}
			}
			clear()
			k.measure(2)
			round()
			k.measure(1)
			round()
			last, before := w.newestSegments()
			if before.Join != (ledger.Join{Kind: ledger.JoinGap, Reason: "tpm-clear"}) || before.Count == 0 || last.Join.Kind != ledger.JoinContinues {
				t.Errorf("boot %v: %v of %d records, then %v", boots, before.Join, before.Count, last.Join)
			}
			if r, _ := w.evidence(); r.Class() == ledger.Contradicted {
				t.Errorf("boot %v: %v", boots, r.Findings)
			}
		}
	}
}

// TestOtherTPM: a mainboard is changed, and with it the TPM, whose counters are behind
// those of the old one, the same, or ahead. The ledger's operator lists the new one.
func TestOtherTPM(t *testing.T) {
	t.Parallel()
	for _, boots := range []int{-1, 0, 1} {
		old := newSwtpm(t)
		old.Reset()
		w := newWorldOf(t, newFakeKernelOf(t, securityfs.Staging, old))
		k := w.kernel
		for range 3 {
			k.measure(2)
			w.round()
		}
		device := newSwtpm(t) // its clock is behind
		for range boots + 1 {
			device.Reset()
		}
		public, err := device.EK()
		if err != nil {
			t.Fatal(err)
		}
		ek, err := quote.ParseEK(public)
		if err != nil {
			t.Fatal(err)
		}
		w.served.Pinned = map[ledger.Name]string{ledger.Name(ek.Name): w.config().Host}
		w.rules += "grade pinned\n"
		w.trust = w.trusting(w.logKey)
		w.restartLedger(w.trust, w.signer)

		k.tpm = device
		k.start()
		k.measure(2)
		w.round()
		k.measure(1)
		w.round()
		last, before := w.newestSegments()
		if before.Count != 3 || last.Count != 1 || last.Join.Kind != ledger.JoinContinues {
			t.Errorf("%d boots: %v of %d records, then %v of %d", boots, before.Join, before.Count, last.Join, last.Count)
		}
		if r, _ := w.evidence(); r.Class() == ledger.Contradicted {
			t.Errorf("%d boots: %v", boots, r.Findings)
		}
	}
}
