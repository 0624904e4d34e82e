package audit_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// TestRecordProofs proves every record of a real segment in both forms, and
// refuses each altered byte of one.
func TestRecordProofs(t *testing.T) {
	w := newWorld(t)
	h := w.newHost("stock", "stock-6.1/boot1/cut1")
	h.reboot(readFile(t, recordings+"stock-6.1/boot1/cut4/binary_runtime_measurements"))
	h.measure(141)
	h.seal(0)
	seg := h.last
	payload := h.list
	violations := 0
	for i := range seg.Count {
		for _, sealed := range []bool{false, true} {
			p, err := audit.ProveRecord(seg, bytes.NewReader(payload), i, sealed)
			if err != nil {
				t.Fatal(err)
			}
			p, err = ledger.ParseRecordProof(p.Marshal())
			if err != nil {
				t.Fatal(err)
			}
			claim, findings := audit.CheckRecord(seg, p)
			if claim == nil || claim.Sealed != sealed || claim.Index != i || !bytes.Equal(claim.Raw, p.Record) {
				t.Fatalf("record %d, sealed %v: %+v, %v", i, sealed, claim, findings)
			}
			if !claim.Bound {
				violations++
				if !strings.Contains(claim.Statement(), "bound by no register") {
					t.Errorf("record %d: %s", i, claim.Statement())
				}
			}
		}
	}
	if violations != 4 {
		t.Errorf("%d proofs of violations, want two of each form", violations)
	}
	if _, err := audit.ProveRecord(seg, bytes.NewReader(payload), seg.Count, false); err == nil {
		t.Error("a record after the last is proven")
	}
	for _, sealed := range []bool{false, true} {
		p, err := audit.ProveRecord(seg, bytes.NewReader(payload), 7, sealed)
		if err != nil {
			t.Fatal(err)
		}
		raw := p.Marshal()
		// What an altered template name says is not proven, and passes in the
		// sealed form alone.
		after := 28 + int(p.Record[24]) // the name begins at 28, its length stands before
		for i := range raw {
			raw[i] ^= 1
			altered, err := ledger.ParseRecordProof(raw)
			if err == nil {
				claim, _ := audit.CheckRecord(seg, altered)
				if claim != nil && (!sealed || !bytes.Equal(altered.Record[after:], p.Record[after:])) {
					t.Errorf("sealed %v: byte %d altered, and it verifies", sealed, i)
				}
			}
			raw[i] ^= 1
		}
	}
}

// TestSealedBesideUnattested: a record that extends nothing is sealed by zeros, and the
// others of its segment are proven all the same. What each form proves, it says.
func TestSealedBesideUnattested(t *testing.T) {
	w := newWorld(t)
	h := w.newHost("stock", "stock-6.1/boot1/cut1")
	list := readFile(t, recordings+"stock-6.1/boot1/cut4/binary_runtime_measurements")
	records := recordsIn(t, list)[:10]
	records[3][0] = 30 // the PCR
	h.reboot(slices.Concat(records...))
	h.measure(10)
	h.seal(0)
	for index, bound := range map[uint64]bool{3: false, 5: true} {
		for sealed, says := range map[bool]string{false: "host and ledger committed", true: "under the segment's TPM quote"} {
			p, err := audit.ProveRecord(h.last, bytes.NewReader(h.list), index, sealed)
			if err != nil {
				t.Fatal(err)
			}
			claim, findings := audit.CheckRecord(h.last, p)
			if claim == nil || claim.Bound != bound || !strings.Contains(claim.Statement(), says) {
				t.Errorf("record %d, sealed %v: %+v, %v", index, sealed, claim, findings)
			}
		}
	}
	short := slices.Concat(records[:5]...)
	if p, err := audit.ProveRecord(h.last, bytes.NewReader(short), 7, true); err == nil {
		t.Errorf("a record that the payload does not have: %+v", p)
	}
}

// TestSealedDigests: a proof has a digest for each other record, in one form.
func TestSealedDigests(t *testing.T) {
	w := newWorld(t)
	h := w.newHost("stock", "stock-6.1/boot1/cut1")
	h.reboot(readFile(t, recordings+"stock-6.1/boot1/cut4/binary_runtime_measurements"))
	h.measure(141)
	h.seal(0)
	seg := h.last
	size := ledger.SealedSize([]ledger.Bank{seg.Styles[0].Bank, seg.Styles[1].Bank})
	for _, test := range []struct {
		name, want string
		alter      func(*ledger.RecordProof)
	}{
		{"none altered", "", func(*ledger.RecordProof) {}},
		{"the last left out", "besides this one", func(p *ledger.RecordProof) { p.Sealed = p.Sealed[:len(p.Sealed)-size] }},
		{"one that extends nothing appended", "besides this one", func(p *ledger.RecordProof) { p.Sealed = append(p.Sealed, make([]byte, size)...) }},
		{"a register that extends nothing", "extends nothing", func(p *ledger.RecordProof) { p.Sealed[0] = 63 }},
		{"a byte after the record", "LIST", func(p *ledger.RecordProof) { p.Record = append(p.Record, 0) }},
		{"a record twice", "LIST", func(p *ledger.RecordProof) { p.Record = append(p.Record, p.Record...) }},
	} {
		p, err := audit.ProveRecord(seg, bytes.NewReader(h.list), 7, true)
		if err != nil {
			t.Fatal(err)
		}
		test.alter(p)
		claim, findings := audit.CheckRecord(seg, p)
		switch {
		case test.want == "":
			if claim == nil {
				t.Errorf("%s: %v", test.name, findings)
			}
		case claim != nil || len(findings) == 0:
			t.Errorf("%s: it verifies", test.name)
		case test.want == "LIST":
			if findings[0].Code != ledger.ListMalformed {
				t.Errorf("%s: %v", test.name, findings)
			}
		case !strings.Contains(findings[0].Text, test.want):
			t.Errorf("%s: %v, want %q", test.name, findings, test.want)
		}
	}
}

// TestSealedSize: some 53 bytes for a record that is not disclosed, in two
// banks.
func TestSealedSize(t *testing.T) {
	if n := ledger.SealedSize([]ledger.Bank{"sha1", "sha256"}); n != 53 {
		t.Errorf("%d bytes", n)
	}
}
