package ledger

import (
	"bytes"
	"encoding/base64"
	"fmt"
)

// RecordProofFormat is the first line of a record proof.
const RecordProofFormat = "imaledger/record/v1"

// Limits of a record proof.
const (
	// MaxRecord is a record's size in bytes: what package ima accepts.
	MaxRecord = 17 << 20
	// MaxSealedRecords bounds a sealed proof; beyond, cut shorter segments.
	MaxSealedRecords = 1 << 22
)

// A RecordProof shows one record of a segment and nothing of the others.
//
// The short form has the record's path to the segment's record root. It proves
// what host and ledger committed to; that the quote covers it rests on the
// ledger's admission check. The sealed form has, of every other record, the
// register it extends and the digests it extends it with: that replays to the
// quote, so it is the TPM that proves it.
type RecordProof struct {
	Leaf   Hash   // leaf hash of the segment
	Index  uint64 // of the record in the segment
	Record []byte // raw
	Path   []Hash // short form
	Banks  []Bank // sealed form: those of the segment
	Sealed []byte // sealed form: for each record of the segment but this one, a byte for the register and a digest for each bank
}

// SealedSize returns the bytes that one undisclosed record takes.
func SealedSize(banks []Bank) int {
	n := 1
	for _, b := range banks {
		n += b.Size()
	}
	return n
}

// Marshal returns the proof's one encoding.
func (p *RecordProof) Marshal() []byte {
	b := fmt.Appendf(nil, "%s\nleaf %x\nindex %d\nrecord %s\n", RecordProofFormat, p.Leaf, p.Index, base64.StdEncoding.EncodeToString(p.Record))
	if p.Banks == nil {
		for _, h := range p.Path {
			b = fmt.Appendf(b, "path %x\n", h)
		}
		return b
	}
	for _, bank := range p.Banks {
		b = fmt.Appendf(b, "bank %s\n", bank)
	}
	b = fmt.Appendf(b, "sealed %d\n", len(p.Sealed)/SealedSize(p.Banks))
	return append(b, p.Sealed...)
}

// ParseRecordProof reads what Marshal wrote.
func ParseRecordProof(b []byte) (*RecordProof, error) {
	text, sealed := b, []byte(nil)
	if at := bytes.Index(b, []byte("\nsealed ")); at >= 0 {
		if end := bytes.IndexByte(b[at+1:], '\n'); end >= 0 {
			text, sealed = b[:at+1+end+1], b[at+1+end+1:]
		}
	}
	r := newTextReader(RecordProofFormat, string(text))
	p := &RecordProof{Leaf: r.hash("leaf"), Index: r.number("index"), Record: r.base64("record", MaxRecord)}
	for r.peek("bank") {
		bank := Bank(r.value("bank"))
		if n := len(p.Banks); bank.Size() == 0 || n > 0 && p.Banks[n-1].Alg() >= bank.Alg() {
			r.fail("bank: unknown, out of order, or twice")
		}
		p.Banks = append(p.Banks, bank)
	}
	if len(p.Banks) > 0 {
		n := r.number("sealed")
		if r.err == nil && (n > MaxSealedRecords || uint64(len(sealed)) != n*uint64(SealedSize(p.Banks))) {
			r.fail("sealed: %d bytes follow, which is not %d records, at most %d", len(sealed), n, MaxSealedRecords)
		}
		if err := r.end(); err != nil {
			return nil, err
		}
		p.Sealed = bytes.Clone(sealed)
		return p, nil
	}
	for r.peek("path") {
		if len(p.Path) == 63 {
			r.fail("path: more than 63 hashes")
			break
		}
		p.Path = append(p.Path, r.hash("path"))
	}
	return p, r.end()
}
