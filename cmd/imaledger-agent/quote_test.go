package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	others "github.com/imaledger/imaledger/ledger/export"
	"github.com/imaledger/imaledger/tpm"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// TestBootAggregateBank: a TPM with four banks, and kernels whose boot_aggregate is of
// one of them: its registers are quoted, so that it can be checked.
func TestBootAggregateBank(t *testing.T) {
	t.Parallel()
	device := newSwtpm(t)
	w := newWorldOf(t, newFakeKernelOf(t, securityfs.Staging, device))
	banks, err := device.Banks()
	if err != nil || len(banks) != 4 {
		t.Fatalf("banks %v, %v, want 4", banks, err)
	}
	for i, bank := range banks {
		w.kernel.hash = bank
		w.kernel.reboot()
		w.kernel.measure(3)
		w.round()
		w.kernel.measure(1)
		w.round()
		if n := w.whole(); n != 5*(i+1) {
			t.Errorf("%s: %d records sealed, want %d", bank, n, 5*(i+1))
		}
	}
	// Another kernel, which was told to use another hash.
	w.kernel.hash = ima.SHA1
	w.kernel.kexec(true)
	w.kernel.measure(1)
	w.round()
	last, _ := w.newestSegments()
	for _, bank := range []ledger.Bank{"sha1", "sha512"} {
		if last.Quoted(bank, 0) == nil {
			t.Errorf("after a kexec PCR 0 of %s is not quoted", bank)
		}
	}
	if last.Quoted("sha256", 0) != nil {
		t.Error("PCR 0 of sha256 is quoted, which nothing needs")
	}
	w.whole()
}

// TestQuoteAll: with it, PCR 0 to 10 are quoted in each bank, the ledger and a
// stranger accept that, and so does what writes evidence for Keylime's verifier.
func TestQuoteAll(t *testing.T) {
	t.Parallel()
	for _, all := range []bool{false, true} {
		w := newWorldOf(t, newFakeKernelOf(t, securityfs.Staging, newSwtpm(t)))
		w.change = func(c *agent.Config) { c.QuoteAll = all }
		for range 2 {
			w.kernel.measure(3)
			w.round()
		}
		if n := w.whole(); n != 7 {
			t.Errorf("all %v: %d records sealed, want 7", all, n)
		}
		last, _ := w.newestSegments()
		q, err := quote.Parse(last.Attest)
		if err != nil {
			t.Fatal(err)
		}
		same := !slices.ContainsFunc(q.Selection, func(b quote.SelectedBank) bool { return len(b.PCRs) != 11 })
		if len(q.Selection) != 4 || same != all {
			t.Errorf("all %v: quoted %v", all, q.Selection)
		}
		public, err := w.kernel.tpm.AK()
		if err != nil {
			t.Fatal(err)
		}
		ak, err := quote.ParseAK(public)
		if err != nil {
			t.Fatal(err)
		}
		values := func(s ima.Slot) []byte { return last.Quoted(ledger.Bank(s.Bank.String()), s.PCR) }
		keylime, err := others.NewKeylime(io.Discard, others.KeylimeEvidence{Attest: last.Attest, Signature: last.Signature, AK: ak, Values: values})
		if err == nil {
			err = keylime.Close()
		}
		if all && err != nil || !all && !errors.Is(err, others.ErrKeylime) {
			t.Errorf("all %v: for Keylime: %v", all, err)
		}
	}
	if code, _, stderr := tool(t, "once", "--ledger", "http://127.0.0.1:1", "--quote", "some"); code != cli.ExitUsage || !strings.Contains(stderr, `quote "some": it is auto or all`) {
		t.Errorf("once --quote some: exit %d %s", code, stderr)
	}
}

// withSHA3 is a TPM with a bank that the kernel has no number for.
type withSHA3 struct{ *tpm.Software }

func (withSHA3) Banks() ([]ima.Bank, error) {
	return []ima.Bank{ima.SHA1, ima.SHA256, ima.SHA3_256}, nil
}

// TestUnmappedBank: the firmware turned on a bank that the kernel pads while it digests
// the others. Its records are sealed like all others, and strongly bound.
func TestUnmappedBank(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		w := newWorld(t, flavour)
		k := w.kernel
		soft := k.tpm.(*tpm.Software)
		k.measure(2)
		w.round()
		soft.Firmware = make(ima.Values)
		for pcr := range ima.MaxPCRs {
			soft.Firmware[ima.Slot{Bank: ima.SHA3_256, PCR: pcr}] = make([]byte, ima.SHA3_256.Size())
		}
		k.tpm = withSHA3{soft}
		k.reboot()
		for range 3 {
			k.measure(2)
			k.violate()
			w.round()
		}
		if n := w.whole(); n != 3+10 || w.gapped() != "" {
			t.Errorf("%s: %d records sealed, want 13; %s", flavour, n, w.gapped())
		}
	}
}
