package ledger

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
)

// A Segment is a leaf: a run of a host's measurement records that ends where a
// quote does. Its payload, the records' raw bytes, is an addendum.
type Segment struct {
	Head
	Body
	Attest    []byte // TPMS_ATTEST, without size prefix
	Signature []byte // TPMT_SIGNATURE
}

// A Body says what the quote covers. Each field can be recomputed from the
// payload, the quote and the previous leaf, and nothing in it is believed that
// was not: no quote binds it until the next head names this leaf.
type Body struct {
	Join    Join
	First   uint64 // index of the first record in this epoch
	Count   uint64 // number of records
	List    List
	Styles  []BankStyle // one for each bank of Base, in their order
	Payload Addendum
	Records Hash  // RFC 6962 root over the records, each a leaf of its raw bytes
	Base    []PCR // registers that the list extends, before the first record
	End     []PCR // the same registers, after the last record
	Others  []PCR // all other quoted registers
}

// A List is the format of the file that the payload was read from.
type List struct {
	Bank  Bank   // whose digests the records hold
	Order string // "le" or "be"
}

// A BankStyle says how the kernel extends a bank other than SHA-1.
type BankStyle struct {
	Bank Bank
	// Style is "digest": the bank's own hash of the data (Linux 5.8 and later);
	// "padded": the SHA-1 digest and zeros, a violation likewise; or "padded-ff":
	// the same but for violations, which are ff throughout. For SHA-1 it is
	// "digest".
	Style string
}

// A JoinKind says how a segment begins where the one before it ended.
type JoinKind string

// The joins.
const (
	JoinContinues JoinKind = "continues" // same epoch, base is the previous end
	JoinBoot      JoinKind = "boot"      // new epoch, base is zero, boot_aggregate first
	JoinGap       JoinKind = "gap"       // anything else: declared, and visible for ever
)

// A Join is a join's kind and, for a gap, the reason the host gives.
type Join struct {
	Kind   JoinKind
	Reason string // of a gap, one of GapReasons
}

// GapReasons are the reasons that a host can give for a gap. None is proven.
var GapReasons = []string{
	"kexec-lost", // the kernel did not carry the list over a kexec
	"trimmed",    // another program deleted records
	"resumed",    // PCRs restarted while the kernel's list went on (hibernation)
	"tpm-clear",  // TPM2_Clear set the counters back
	"first-seen", // the host was enrolled after its list had been shortened
	"state-lost", // the host's agent lost its directory
	"extended",   // a PCR was extended by something that is not in the list
	"unknown",
}

func (j Join) String() string {
	if j.Kind == JoinGap {
		return string(j.Kind) + " " + j.Reason
	}
	return string(j.Kind)
}

// Marshal returns the leaf's bytes, the entry of the log.
func (s *Segment) Marshal() []byte {
	return appendTrailer(s.text(), s.Payload.Digest, s.Anchor.Note)
}

func (s *Segment) text() []byte {
	b := s.Head.Marshal()
	b = fmt.Appendf(b, "join %s\nfirst %d\ncount %d\nlist %s %s\n", s.Join, s.First, s.Count, s.List.Bank, s.List.Order)
	for _, t := range s.Styles {
		b = fmt.Appendf(b, "style %s %s\n", t.Bank, t.Style)
	}
	b = fmt.Appendf(b, "payload %s\nrecords %x\n", s.Payload, s.Records)
	b = appendPCRs(b, "base", s.Base)
	b = appendPCRs(b, "end", s.End)
	b = appendPCRs(b, "other", s.Others)
	b = fmt.Appendf(b, "quote %s\n", base64.StdEncoding.EncodeToString(s.Attest))
	return fmt.Appendf(b, "signature %s\n", base64.StdEncoding.EncodeToString(s.Signature))
}

// ParseSegment reads a segment leaf.
func ParseSegment(entry []byte) (*Segment, error) {
	if len(entry) > MaxLeaf {
		return nil, &FormatError{Format: SegmentFormat, What: fmt.Sprintf("%d bytes, at most %d", len(entry), MaxLeaf)}
	}
	text, err := cutTrailer(SegmentFormat, entry, 2)
	if err != nil {
		return nil, err
	}
	r := newTextReader(SegmentFormat, string(text))
	s := &Segment{Head: r.head(), Body: r.body()}
	s.Attest = r.base64("quote", MaxAttest)
	s.Signature = r.base64("signature", MaxSignature)
	if err := r.end(); err != nil {
		return nil, err
	}
	return s, checkTrailer(SegmentFormat, entry, text, s.Payload.Digest, s.Anchor.Note)
}

func (r *textReader) body() (b Body) {
	b.Join = r.join()
	b.First, b.Count = r.number("first"), r.number("count")
	f := r.values("list", 2)
	b.List = List{Bank(f[0]), f[1]}
	if r.err == nil && (b.List.Bank.Size() == 0 || b.List.Order != "le" && b.List.Order != "be") {
		r.fail("list: want a bank and le or be")
	}
	for r.peek("style") {
		f := r.values("style", 2)
		t := BankStyle{Bank(f[0]), f[1]}
		if r.err == nil && !slices.Contains([]string{"digest", "padded", "padded-ff"}, t.Style) {
			r.fail("style: want digest, padded or padded-ff")
		}
		b.Styles = append(b.Styles, t)
	}
	b.Payload = r.addendum("payload", MaxPayload)
	b.Records = r.hash("records")
	b.Base, b.End, b.Others = r.pcrs("base"), r.pcrs("end"), r.pcrs("other")
	r.checkRegisters(&b)
	return b
}

// checkRegisters holds the lists of registers to one another, so that one fact
// has one encoding.
func (r *textReader) checkRegisters(b *Body) {
	if r.err != nil {
		return
	}
	if len(b.Base) == 0 {
		r.fail("base: no register that the list extends")
	}
	if !slices.EqualFunc(b.Base, b.End, func(x, y PCR) bool { return comparePCR(x, y) == 0 }) {
		r.fail("end: not the registers of base")
	}
	for _, p := range b.Others {
		if _, found := slices.BinarySearchFunc(b.End, p, comparePCR); found {
			r.fail("other %s: has an end already", p.Slot())
		}
	}
	if !slices.EqualFunc(b.Styles, banksOf(b.Base), func(t BankStyle, bank Bank) bool { return t.Bank == bank }) {
		r.fail("style: want one line for each bank of base, in their order")
	}
	for _, t := range b.Styles {
		if t.Bank == "sha1" && t.Style != "digest" {
			r.fail("style: sha1 is always digest")
		}
	}
}

// banksOf returns the banks of a sorted list of registers.
func banksOf(list []PCR) []Bank {
	var banks []Bank
	for _, p := range list {
		if len(banks) == 0 || banks[len(banks)-1] != p.Bank {
			banks = append(banks, p.Bank)
		}
	}
	return banks
}

func (r *textReader) join() Join {
	v := r.value("join")
	for _, k := range []JoinKind{JoinContinues, JoinBoot} {
		if v == string(k) {
			return Join{Kind: k}
		}
	}
	for _, reason := range GapReasons {
		if v == string(JoinGap)+" "+reason {
			return Join{JoinGap, reason}
		}
	}
	r.fail("join: %.32q, want continues, boot, or gap and one of its reasons", v)
	return Join{}
}

// Quoted returns the value of a register after the last record, nil where the
// segment does not quote it.
func (b *Body) Quoted(bank Bank, index int) []byte {
	if v := valueOf(b.End, bank, index); v != nil {
		return v
	}
	return valueOf(b.Others, bank, index)
}

// valueOf searches a list of registers, which is short.
func valueOf(list []PCR, bank Bank, index int) []byte {
	for i := range list {
		if p := &list[i]; p.Index == index && p.Bank == bank {
			return p.Value
		}
	}
	return nil
}

// ZeroBase reports whether every register that the list extends starts at zero.
func (b *Body) ZeroBase() bool {
	for _, p := range b.Base {
		if len(bytes.Trim(p.Value, "\x00")) > 0 {
			return false
		}
	}
	return true
}
