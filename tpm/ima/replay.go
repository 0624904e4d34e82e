package ima

import (
	"bytes"
	"fmt"
	"slices"
)

// A Style says how the kernel extends a bank other than SHA-1
// (ima_calc_field_array_hash, ima_init_digests).
type Style byte

// The styles.
const (
	// StyleDigest: the bank's own hash of the data; ff throughout for a
	// violation. Linux 5.8 and later.
	StyleDigest Style = iota
	// StylePadded: the SHA-1 digest and zeros, also for a violation: 20 bytes of
	// ff and zeros. Before 5.8, and for a bank the kernel has no number for.
	// It is as strong as SHA-1.
	StylePadded
	// StylePaddedFF: as StylePadded, but ff throughout for a violation. A hash
	// that the kernel knows and was built without.
	StylePaddedFF
)

// styleNames are the formats' names.
var styleNames = [...]string{StyleDigest: "digest", StylePadded: "padded", StylePaddedFF: "padded-ff"}

// String returns digest, padded or padded-ff.
func (s Style) String() string {
	if int(s) < len(styleNames) {
		return styleNames[s]
	}
	return fmt.Sprintf("style %d", byte(s))
}

// ParseStyle reads what String writes.
func ParseStyle(name string) (Style, error) {
	if i := slices.Index(styleNames[:], name); i >= 0 {
		return Style(i), nil
	}
	return 0, fmt.Errorf("unknown style %.16q: want digest, padded or padded-ff", name)
}

// Styles gives banks their style; one that is missing has StyleDigest.
type Styles map[Bank]Style

// KernelStyles returns the styles of a current kernel. It has no numbers for the
// SHA-3 banks, and pads those, beside others that it digests.
func KernelStyles() Styles {
	return Styles{SHA3_256: StylePadded, SHA3_384: StylePadded, SHA3_512: StylePadded}
}

// A DigestError is a record whose stored digest is not that of its data. Either
// was altered, or the list is of another bank than was said.
type DigestError struct {
	Record uint64
	Offset int64
	Bank   Bank
	Stored []byte
	Want   []byte // of the data
}

func (e *DigestError) Error() string {
	mend := "one of them was altered, or the list is of another bank"
	if len(e.Stored) > SHA1.Size() && bytes.Equal(e.Stored[SHA1.Size():], zeroDigest[SHA1.Size():len(e.Stored)]) {
		mend = "it is padded with zeros as SHA-1 is in a bank of style padded"
	}
	return fmt.Sprintf("record %d at byte %d: the stored %s digest is %x, that of its data is %x; %s", e.Record, e.Offset, e.Bank, e.Stored, e.Want, mend)
}

// A Replayer extends registers with records, in several banks at once, as the
// TPM did.
type Replayer struct {
	banks  []replayBank
	styles Styles
	known  [MaxPCRs]bool   // registers of Values
	sum    [MaxDigest]byte // of a list's bank that is not replayed
}

type replayBank struct {
	bank  Bank
	size  int
	style Style
	value [MaxPCRs][MaxDigest]byte
	sum   [MaxDigest]byte     // what the last record extended with
	ext   [2 * MaxDigest]byte // the extend's input
}

// NewReplayer returns a replayer of the given banks; one that is not Available
// gives ErrUnavailable. Registers that base does not name start at zero. Styles
// also say how the list's own bank is digested where it is not replayed.
func NewReplayer(banks []Bank, base Values, styles Styles) (*Replayer, error) {
	p := &Replayer{}
	if err := p.Reset(banks, base, styles); err != nil {
		return nil, err
	}
	return p, nil
}

// Reset begins another replay, as NewReplayer does, in the memory that there is.
func (p *Replayer) Reset(banks []Bank, base Values, styles Styles) error {
	*p = Replayer{banks: p.banks[:0], styles: styles}
	p.known[DefaultPCR] = true
	for _, b := range banks {
		if !b.Available() {
			return fmt.Errorf("replay: bank %s: %w", b, ErrUnavailable)
		}
		if slices.ContainsFunc(p.banks, func(x replayBank) bool { return x.bank == b }) {
			return fmt.Errorf("replay: bank %s stands twice", b)
		}
		p.banks = append(p.banks, replayBank{bank: b, size: b.Size(), style: styles[b]})
	}
	for slot, v := range base {
		b := p.find(slot.Bank)
		if b == nil || slot.PCR < 0 || slot.PCR >= MaxPCRs || len(v) != slot.Bank.Size() {
			return fmt.Errorf("replay: base has %s with %d bytes: no register of the replayed banks", slot, len(v))
		}
		copy(b.value[slot.PCR][:], v)
		p.known[slot.PCR] = true
	}
	return nil
}

func (p *Replayer) find(b Bank) *replayBank {
	for i := range p.banks {
		if p.banks[i].bank == b {
			return &p.banks[i]
		}
	}
	return nil
}

// Extend takes the next record. It gives a *DigestError, and changes nothing,
// if the stored digest is not that of the data: the digest of the list's bank
// is not part of what the other banks bind. A record whose register is not
// Attestable changes nothing.
func (p *Replayer) Extend(rec *Record) error {
	violation, input := rec.Violation(), rec.hashInput()
	for i := range p.banks {
		if err := p.banks[i].digest(rec, violation, input); err != nil {
			return err
		}
	}
	if err := p.checkUnreplayed(rec, violation, input); err != nil {
		return err
	}
	if !Attestable(rec.PCR) {
		return nil
	}
	p.known[rec.PCR] = true
	for i := range p.banks {
		p.banks[i].extend(int(rec.PCR))
	}
	return nil
}

// checkUnreplayed checks the stored digest where the list's bank is none of
// those that are replayed.
func (p *Replayer) checkUnreplayed(rec *Record, violation bool, input []byte) error {
	switch {
	case violation || p.find(rec.bank) != nil:
		return nil
	case !rec.bank.Available():
		return fmt.Errorf("record %d at byte %d: the stored %s digest cannot be checked: %w", rec.Index, rec.Offset, rec.bank, ErrUnavailable)
	}
	return rec.check(rec.appendSum(p.sum[:0], rec.bank, p.styles[rec.bank], false, input))
}

// digest computes what a record extends the bank with into sum, and checks the
// stored digest if it is of this bank.
func (b *replayBank) digest(rec *Record, violation bool, input []byte) error {
	rec.appendSum(b.sum[:0], b.bank, b.style, violation, input)
	if b.bank == rec.bank && !violation {
		return rec.check(b.sum[:b.size])
	}
	return nil
}

// ExtendDigest extends one register with a digest of which nothing else is
// known. It is for records that are not disclosed.
func (p *Replayer) ExtendDigest(s Slot, digest []byte) error {
	b := p.find(s.Bank)
	if b == nil || s.PCR < 0 || s.PCR >= MaxPCRs || len(digest) != s.Bank.Size() {
		return fmt.Errorf("replay: %d bytes for %s: no register of the replayed banks", len(digest), s)
	}
	copy(b.sum[:], digest)
	b.extend(s.PCR)
	p.known[s.PCR] = true
	return nil
}

// extend does what TPM2_PCR_Extend does with b.sum.
func (b *replayBank) extend(pcr int) {
	value := b.value[pcr][:b.size]
	copy(b.ext[:], value)
	copy(b.ext[b.size:], b.sum[:b.size])
	b.bank.appendSum(value[:0], b.ext[:2*b.size])
}

// check compares the stored digest. There is one right one for each style: a
// second that were let pass would be a second encoding of the same measurement.
func (r *Record) check(want []byte) error {
	if bytes.Equal(r.Digest, want) {
		return nil
	}
	return &DigestError{r.Index, r.Offset, r.bank, bytes.Clone(r.Digest), bytes.Clone(want)}
}

// Value returns a register's value, nil for a bank that is not replayed. It is
// good until the next Extend.
func (p *Replayer) Value(s Slot) []byte {
	b := p.find(s.Bank)
	if b == nil || s.PCR < 0 || s.PCR >= MaxPCRs {
		return nil
	}
	return b.value[s.PCR][:b.size]
}

// Values returns the values of PCR 10, of every register in the base, and of
// every register that a record extended.
func (p *Replayer) Values() Values {
	v := make(Values)
	for i := range p.banks {
		b := &p.banks[i]
		for pcr, known := range p.known {
			if known {
				v[Slot{b.bank, pcr}] = bytes.Clone(b.value[pcr][:b.size])
			}
		}
	}
	return v
}
