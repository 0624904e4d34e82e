package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// A RecordClaim is what a record proof shows of one record.
type RecordClaim struct {
	Index uint64 // in the boot
	Raw   []byte
	// Sealed says that the TPM's quote binds the record; otherwise the segment's
	// record root does, and that the quote covers it rests on the check that the
	// ledger made when it admitted the segment.
	Sealed bool
	// Bound says that a register binds what the record says: not for a
	// violation, nor for a register that the kernel cannot extend.
	Bound bool
}

// Statement says in a sentence what the proof shows.
func (c *RecordClaim) Statement() string {
	text := fmt.Sprintf("record %d of the boot is in the segment that host and ledger committed to; that the quote covers it rests on the ledger's admission check or on an auditor's cosignature", c.Index)
	if c.Sealed {
		text = fmt.Sprintf("record %d of the boot is under the segment's TPM quote; of the other records only digests are disclosed", c.Index)
	}
	if !c.Bound {
		text += "; what it says is bound by no register"
	}
	return text
}

// ProveRecord makes a proof of the record at index of a segment from its
// payload.
func ProveRecord(seg *ledger.Segment, payload io.Reader, index uint64, sealed bool) (*ledger.RecordProof, error) {
	p := &ledger.RecordProof{Leaf: ledger.LeafHash(seg.Marshal()), Index: index}
	if index >= seg.Count {
		return nil, fmt.Errorf("prove record %d: the segment has %d", index, seg.Count)
	}
	r := newReplay()
	if err := r.begin(seg, payload); err != nil {
		return nil, fmt.Errorf("prove record %d: %w", index, err)
	}
	if sealed {
		for _, t := range seg.Styles {
			p.Banks = append(p.Banks, t.Bank)
		}
	}
	var leaves []ledger.Hash
	for i := uint64(0); ; i++ {
		rec, err := r.list.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("prove record %d: %w", index, err)
		}
		leaves = append(leaves, ledger.LeafHash(rec.Raw))
		switch {
		case i == index:
			p.Record = bytes.Clone(rec.Raw)
		case sealed:
			p.Sealed = appendSealed(p.Sealed, rec, seg.Styles)
		}
	}
	if p.Record == nil {
		return nil, fmt.Errorf("prove record %d: the payload has %d", index, len(leaves))
	}
	if !sealed {
		var err error
		if p.Path, err = ledger.RecordPath(leaves, index); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// unsealable stands in a sealed record for a register above 23.
const unsealable = 0xff

func appendSealed(b []byte, rec *ima.Record, list []ledger.BankStyle) []byte {
	b = append(b, byte(min(rec.PCR, unsealable)))
	for _, t := range list {
		bank := ima.Bank(t.Bank.Alg())
		if !ima.Attestable(rec.PCR) {
			b = append(b, make([]byte, bank.Size())...)
			continue
		}
		b = append(b, rec.Sum(bank, styles[t.Style])...)
	}
	return b
}

// CheckRecord verifies a record proof against the segment it names, which the
// caller has verified in all but its payload. It follows FORMAT.md, "Verifying a
// record proof".
func CheckRecord(seg *ledger.Segment, p *ledger.RecordProof) (*RecordClaim, []ledger.Finding) {
	leaf := ledger.LeafHash(seg.Marshal())
	subject := fmt.Sprintf("%s, record %d", ledger.Subject(seg.Host, seg.Sequence), p.Index)
	refuse := func(code ledger.Code, format string, args ...any) (*RecordClaim, []ledger.Finding) {
		return nil, []ledger.Finding{finding(code, subject, leaf, fmt.Errorf(format, args...))}
	}
	switch {
	case p.Leaf != leaf:
		return refuse(ledger.ProofInclusion, "the proof is for segment %x", p.Leaf[:6])
	case p.Index >= seg.Count:
		return refuse(ledger.ProofInclusion, "the segment has %d records", seg.Count)
	}
	r := newReplay()
	if err := r.begin(seg, bytes.NewReader(p.Record)); err != nil {
		return refuse(ledger.ProofMalformed, "%v", err)
	}
	rec, err := r.list.Next()
	if err == nil && len(rec.Raw) != len(p.Record) {
		err = errors.New("more than one record")
	}
	if err != nil {
		return refuse(ledger.ListMalformed, "%v", err)
	}
	claim := &RecordClaim{Index: seg.First + p.Index, Raw: p.Record, Sealed: p.Banks != nil, Bound: !rec.Violation() && ima.Attestable(rec.PCR)}
	if !claim.Sealed {
		if err := ledger.VerifyRecord(p.Record, p.Index, seg.Count, p.Path, seg.Records); err != nil {
			return refuse(ledger.ProofInclusion, "%v", err)
		}
		return claim, nil
	}
	if err := r.sealed(rec, p); err != nil {
		return refuse(recordCode(err), "%v", err)
	}
	for _, e := range seg.End {
		if got := r.pcrs.Value(slot(e)); !bytes.Equal(got, e.Value) {
			return refuse(ledger.ReplayMismatch, "the digests give %s = %x, the quote has %x", e.Slot(), got, e.Value)
		}
	}
	return claim, nil
}

// sealed replays the sealed digests, and at its place the record itself.
func (r *replay) sealed(rec *ima.Record, p *ledger.RecordProof) error {
	var banks []ledger.Bank
	for _, t := range r.seg.Styles {
		banks = append(banks, t.Bank)
	}
	if fmt.Sprint(banks) != fmt.Sprint(p.Banks) {
		return fmt.Errorf("the proof has the banks %v, the segment %v", p.Banks, banks)
	}
	size := ledger.SealedSize(banks)
	if uint64(len(p.Sealed)/size) != r.seg.Count-1 {
		return fmt.Errorf("%d sealed records, the segment has %d besides this one", len(p.Sealed)/size, r.seg.Count-1)
	}
	for rest := p.Sealed; len(rest) > 0; rest = rest[size:] {
		if !ima.Attestable(uint32(rest[0])) && len(bytes.Trim(rest[1:size], "\x00")) > 0 {
			return fmt.Errorf("a sealed record names PCR %d, which extends nothing, and has a digest", rest[0])
		}
	}
	rest := p.Sealed
	for i := range r.seg.Count {
		if i == p.Index {
			if err := r.pcrs.Extend(rec); err != nil {
				return err
			}
			continue
		}
		pcr, digests := rest[0], rest[1:size]
		rest = rest[size:]
		if !ima.Attestable(uint32(pcr)) {
			continue
		}
		for _, t := range banks {
			if err := r.pcrs.ExtendDigest(ima.Slot{Bank: ima.Bank(t.Alg()), PCR: int(pcr)}, digests[:t.Size()]); err != nil {
				return err
			}
			digests = digests[t.Size():]
		}
	}
	return nil
}
