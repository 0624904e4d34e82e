package main

import (
	"errors"
	"net/http"
	"strings"
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

// age makes rounds until the TPM has been on for longer than a TPM that begins anew needs
// for its next quote, on a machine that is busy as well.
func (w *world) age(round func()) {
	w.t.Helper()
	for ; ; time.Sleep(200 * time.Millisecond) {
		w.kernel.measure(2)
		round()
		last, _ := w.newestSegments()
		q, err := quote.Parse(last.Attest)
		if err != nil {
			w.t.Fatal(err)
		}
		if q.Clock > 2500 {
			return
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
			w.age(round)
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
		w.age(w.round)
		device := newSwtpm(t)
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

		device.Clear() // so that its clock is behind, and its counters at zero
		for range boots + 1 {
			device.Reset()
		}
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

// oneWitness is the trust folder that demands the first witness only.
func (w *world) oneWitness() *ledger.Trust {
	w.t.Helper()
	policy := strings.Replace(w.policy, "group both all w0 w1\nquorum both\n", "quorum w0\n", 1)
	trust, err := ledger.ParseTrust([]byte(policy), []byte(w.rules))
	if err != nil {
		w.t.Fatal(err)
	}
	return trust
}

// withoutWitness takes the cosignatures of a witness out of all receipts.
func (w *world) withoutWitness(name string) {
	w.rewrite(func(proof string) string {
		kept := ""
		for line := range strings.Lines(proof) {
			if !strings.HasPrefix(line, "— "+name+" ") {
				kept += line
			}
		}
		return kept
	})
}

// TestReceiptOfOlderPolicy: receipts came under a trust folder that demanded one witness,
// and before anything was deleted by them another was put in its place, which demands
// two. Nothing is deleted by the old receipts, whether another segment came after them or
// not; they are asked for anew.
func TestReceiptOfOlderPolicy(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours[1:] {
		for _, more := range []bool{false, true} {
			w := newWorld(t, flavour)
			k := w.kernel
			k.measure(2)
			w.round()
			both := w.trust
			w.trust = w.oneWitness()
			w.withoutWitness(w.witnesses[1].Name())
			k.measure(3)
			if err := w.once("receipted"); !errors.Is(err, errPower) {
				t.Fatal(err)
			}
			if more {
				w.answer(nil) // so that it is anchored to what both have seen
				k.measure(2)
				if err := w.once("spooled"); !errors.Is(err, errPower) {
					t.Fatal(err)
				}
			}
			w.down()
			w.trust = both
			held := k.held()
			if err := w.once(""); err == nil {
				t.Error("no error while the ledger is down")
			}
			if k.held() != held {
				t.Errorf("%s, more %v: %d records are in the kernel, want %d", flavour, more, k.held(), held)
			}
			w.answer(nil)
			w.round()
			w.exported()
			if n := w.whole(); n != len(k.history[0]) || k.held() != 0 {
				t.Errorf("%s, more %v: %d records sealed, want %d; %d are in the kernel", flavour, more, n, len(k.history[0]), k.held())
			}
		}
	}
}

// TestErasedMeanwhile: a machine comes out of storage with a trust folder by which its
// newest receipt does not verify. The segment's records were erased by policy since, so
// they cannot be uploaded again: the log has the segment, and what came after it is sealed.
func TestErasedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	k := w.kernel
	both := w.trust
	w.trust = w.oneWitness()
	w.withoutWitness(w.witnesses[1].Name())
	k.measure(3)
	w.round()
	last, _ := w.newestSegments()
	w.trust = both
	k.reboot()
	w.answer(func(rw http.ResponseWriter, r *http.Request) bool {
		erased := r.URL.Path == "/"+ledger.AddendumPath(last.Payload.Digest)
		if erased {
			http.Error(rw, "erased", http.StatusGone)
		}
		return erased
	})
	k.measure(2)
	w.round()
	w.answer(nil)
	w.trust = w.oneWitness() // who has it can verify all of it
	if n := w.whole(); n != 4+3 {
		t.Errorf("%d records sealed, want 7", n)
	}
}
