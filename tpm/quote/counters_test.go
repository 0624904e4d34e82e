package quote

import (
	"bytes"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// measure extends PCR 10, so that a zero one afterwards is a reset one.
func (tpm *testTPM) measure(t *testing.T) {
	t.Helper()
	_, err := tpm2.PCREvent{
		PCRHandle: tpm2.AuthHandle{Handle: 10, Auth: tpm2.PasswordAuth(nil)}, EventData: tpm2.TPM2BEvent{Buffer: []byte("record")},
	}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
}

// quotes returns a quote over PCR 10 by an AK of each hierarchy, which are made
// anew since a power cycle takes them, and the AKs' names.
func (tpm *testTPM) quotes(t *testing.T) (endorsement, owner *Quote, names [2]string) {
	t.Helper()
	var list [2]*Quote
	for i, h := range []Hierarchy{Endorsement, Owner} {
		key := tpm.create(t, h, eccTemplate(algSHA256, algSHA256, curveP256))
		ak := mustAK(t, key.area)
		attest, signature := key.quote(t, []byte("nonce"), sha256PCR10)
		q, err := ak.Verify(attest, signature)
		if err != nil {
			t.Fatal(err)
		}
		checkSigner(t, q, ak, h)
		list[i], names[i] = q, string(ak.Name)
		key.flush()
	}
	return list[0], list[1], names
}

// TestCounters is the table of what a quote's counters prove, on a TPM. What an
// epoch is, in the segments of a host, rests on it.
func TestCounters(t *testing.T) {
	shutClear, shutState := tpm2.TPMSUClear, tpm2.TPMSUState
	zero := sha256.Sum256(make([]byte, 32))
	for _, row := range []struct {
		name           string
		event          func(t *testing.T, tpm *testTPM)
		reset, restart func(uint32) uint32
		zeroed         bool
		clock          func(before, after uint64, since time.Duration) bool
		safe           bool
	}{
		{"orderly reset", func(t *testing.T, tpm *testTPM) { tpm.powerCycle(t, &shutClear, shutClear) }, next, none, true, continues, true},
		{"disorderly reset", func(t *testing.T, tpm *testTPM) { tpm.powerCycle(t, nil, shutClear) }, next, none, true, anything, false},
		{"restart", func(t *testing.T, tpm *testTPM) { tpm.powerCycle(t, &shutState, shutClear) }, same, next, true, continues, true},
		{"resume", func(t *testing.T, tpm *testTPM) { tpm.powerCycle(t, &shutState, shutState) }, same, next, false, continues, true},
		{"clear", clearTPM, none, none, false, fromZero, true},
		{"nothing", func(*testing.T, *testTPM) {}, same, same, false, continues, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			tpm := newTPM(t)
			// A history that each row must keep, raise or end.
			tpm.powerCycle(t, &shutClear, shutClear)
			tpm.powerCycle(t, &shutClear, shutClear)
			tpm.powerCycle(t, &shutState, shutState)
			tpm.measure(t)
			before, ownerBefore, names := tpm.quotes(t)
			if before.ResetCount < 2 || before.RestartCount != 1 || !before.Safe || bytes.Equal(before.PCRDigest, zero[:]) {
				t.Fatalf("before: %+v", before)
			}
			start := time.Now()
			row.event(t, tpm)
			after, ownerAfter, namesAfter := tpm.quotes(t)

			if want := row.reset(before.ResetCount); after.ResetCount != want {
				t.Errorf("resetCount %d after %d, want %d", after.ResetCount, before.ResetCount, want)
			}
			if want := row.restart(before.RestartCount); after.RestartCount != want {
				t.Errorf("restartCount %d after %d, want %d", after.RestartCount, before.RestartCount, want)
			}
			if zeroed := bytes.Equal(after.PCRDigest, zero[:]); zeroed != row.zeroed || !zeroed && !bytes.Equal(after.PCRDigest, before.PCRDigest) {
				t.Errorf("PCR 10 zeroed: %v, want %v; kept: %v", zeroed, row.zeroed, bytes.Equal(after.PCRDigest, before.PCRDigest))
			}
			if !row.clock(before.Clock, after.Clock, time.Since(start)) {
				t.Errorf("clock %d after %d, within %v", after.Clock, before.Clock, time.Since(start))
			}
			if after.Safe != row.safe {
				t.Errorf("safe %v, want %v", after.Safe, row.safe)
			}
			if names[0] != namesAfter[0] {
				t.Errorf("the AK in the endorsement hierarchy is another one")
			}

			// Under the owner hierarchy the offset is constant while its key is:
			// differences, and only these, are those of the true counters.
			if ownerBefore.ResetCount == before.ResetCount || ownerBefore.FirmwareVersion == before.FirmwareVersion {
				t.Errorf("the owner hierarchy shows the true counters")
			}
			if names[1] == namesAfter[1] {
				if ownerAfter.ResetCount-ownerBefore.ResetCount != after.ResetCount-before.ResetCount ||
					ownerAfter.RestartCount-ownerBefore.RestartCount != after.RestartCount-before.RestartCount {
					t.Errorf("owner: reset %d to %d, restart %d to %d", ownerBefore.ResetCount, ownerAfter.ResetCount, ownerBefore.RestartCount, ownerAfter.RestartCount)
				}
			} else if row.name != "clear" {
				t.Errorf("the AK in the owner hierarchy is another one")
			}
		})
	}
}

func next(n uint32) uint32 { return n + 1 }
func same(n uint32) uint32 { return n }
func none(uint32) uint32   { return 0 }

func continues(before, after uint64, _ time.Duration) bool { return after >= before }

// fromZero allows for the tolerance of a TPM's clock, 32.5 % (TPM 2.0 Part 1,
// section 36).
func fromZero(_, after uint64, since time.Duration) bool {
	return after <= uint64(since.Milliseconds())*3/2+1
}

// anything: see TestClockGoesBack.
func anything(uint64, uint64, time.Duration) bool { return true }

// TestClockGoesBack: the TPM writes its clock down when it is shut down in
// order, and every few seconds; a loss of power takes it back, and Safe says so.
// The several tries are for machines that stall while the clock is watched.
func TestClockGoesBack(t *testing.T) {
	for range 5 {
		tpm := newTPM(t)
		time.Sleep(300 * time.Millisecond)
		before, _, _ := tpm.quotes(t)
		tpm.powerCycle(t, nil, tpm2.TPMSUClear)
		after, _, _ := tpm.quotes(t)
		if after.Safe || after.ResetCount != before.ResetCount+1 {
			t.Fatalf("after a loss of power: %+v", after)
		}
		if after.Clock < before.Clock {
			return
		}
	}
	t.Error("the clock never went back")
}

func clearTPM(t *testing.T, tpm *testTPM) {
	_, err := tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
}
