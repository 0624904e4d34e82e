package main

import (
	"errors"
	"os"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm"
	"github.com/imaledger/imaledger/tpm/quote"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

var flavours = []securityfs.Flavour{securityfs.ReadOnly, securityfs.Counted, securityfs.Staging}

// TestRounds: several segments, reboots and a kexec that carries the list, on
// each kind of kernel. What is receipted leaves the kernel.
func TestRounds(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, flavour)
			k := w.kernel
			k.measure(5)
			w.round()
			if n := w.whole(); n != 6 {
				t.Errorf("%d records sealed, want 6", n)
			}
			for range 3 {
				k.measure(4)
				w.round()
				w.exported()
			}
			if n := w.whole(); n != 18 {
				t.Errorf("%d records sealed, want 18", n)
			}
			if left := len(k.list) + len(k.staged); flavour == securityfs.ReadOnly && left != 18 || flavour != securityfs.ReadOnly && left != 0 {
				t.Errorf("%d records are left in the kernel", left)
			}
			w.round() // nothing is new
			k.measure(3)
			k.kexec(true)
			k.measure(2)
			w.round()
			w.exported()
			if n := w.whole(); n != 24 {
				t.Errorf("%d records sealed, want 24", n)
			}
			k.measure(2) // these are never sealed
			k.reboot()
			k.measure(1)
			w.round()
			w.exported()
			k.measure(1)
			w.round()
			if n := w.whole(); n != 27 {
				t.Errorf("%d records sealed, want 27", n)
			}
		})
	}
}

// TestRegisters: records of a register that was not quoted before, and violations.
func TestRegisters(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, flavour)
			k := w.kernel
			k.measure(3)
			w.round()
			for range 3 {
				k.measure(2)
				k.violate()
				k.add(11, "other", make([]byte, 32))
				k.add(11, "another", make([]byte, 32))
				w.round()
				if n := w.whole(); n != len(k.history[0]) {
					t.Errorf("%d records sealed, want %d", n, len(k.history[0]))
				}
			}
		})
	}
}

// TestLostAgain: the directory is lost twice, each time with another key configured,
// and the power is cut while it is made anew.
func TestLostAgain(t *testing.T) {
	t.Parallel()
	device := newSwtpm(t)
	w := newWorldOf(t, newFakeKernelOf(t, securityfs.ReadOnly, device))
	k := w.kernel
	k.measure(3)
	w.round()
	kinds := map[string]tpm.AKKind{"enrolled": tpm.AKRSASSA, "recovered": tpm.AKRSAPSS}
	for _, step := range []string{"enrolled", "recovered"} {
		kind := kinds[step]
		if err := errors.Join(os.RemoveAll(w.dir), device.UseAK(kind, quote.Endorsement)); err != nil {
			t.Fatal(err)
		}
		if err := w.once(step); !errors.Is(err, errPower) {
			t.Fatal(err)
		}
	}
	k.measure(2)
	w.round()
	if last, _ := w.newestSegments(); last.Join.Kind != ledger.JoinContinues || last.First != 4 || last.Count != 2 {
		t.Errorf("%s of %d records from %d on", last.Join, last.Count, last.First)
	}
}

// TestLostDirectory: the agent's directory is gone, in a boot and between two. The
// host's chain goes on from what the log has. Where the kernel lists the whole boot
// nothing is missing; else there is a gap, which says so.
func TestLostDirectory(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, flavour)
			k := w.kernel
			k.measure(3)
			w.round()
			k.measure(2)
			w.round()
			lose := func() {
				if err := os.RemoveAll(w.dir); err != nil {
					t.Fatal(err)
				}
			}
			lose()
			k.measure(4)
			w.round()
			k.measure(1)
			w.round()
			last, before := w.newestSegments()
			if flavour == securityfs.ReadOnly {
				if last.Join.Kind != ledger.JoinContinues || last.First+last.Count != 11 || before.Join.Kind != ledger.JoinContinues || before.Count != 4 {
					t.Errorf("%v of %d records, then %v", before.Join, before.Count, last.Join)
				}
			} else if before.Join != (ledger.Join{Kind: ledger.JoinGap, Reason: "state-lost"}) || last.Join.Kind != ledger.JoinContinues || last.Count != 1 {
				t.Errorf("%v, then %v", before.Join, last.Join)
			}
			k.reboot()
			lose()
			k.measure(2)
			w.round()
			if last, _ := w.newestSegments(); last.Join.Kind != ledger.JoinBoot || last.Count != 3 {
				t.Errorf("%v of %d records", last.Join, last.Count)
			}
		})
	}
}
