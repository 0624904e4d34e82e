package ima

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
)

// Quoted is what a quote says of registers.
type Quoted struct {
	Selection Selection
	Hash      Bank   // of the signature scheme
	Digest    []byte // pcrDigest
	// Known has the values of quoted registers that the list does not extend,
	// such as PCR 0 to 9. They are a hint: the digest decides.
	Known Values
}

// A Cut is where a quote divides a list.
type Cut struct {
	Prefix      uint64 // records under the quote
	Records     uint64 // in the list
	PrefixBytes int64
	Bytes       int64
	End         Values // after the prefix: PCR 10, and all others that base or a record of the list names, in every quoted bank
	Named       []int  // registers that records of the prefix name, ascending, the attestable ones
	Unattested  uint64 // records of the prefix whose register no quote can cover
	Order       Order  // the list's, as read
}

// A NoCutError says that no prefix of the list gives the quoted digest: the
// quote is older than the base or newer than the list, the base or a known
// value is not the quoted one, a record was removed, altered or put elsewhere,
// or something that is not in the list extended a register.
type NoCutError struct {
	Records  uint64 // in the list
	Unquoted []int  // registers that records name and the quote does not cover
	Unknown  []Slot // quoted registers of whose value nothing was said: zero was taken
}

func (e *NoCutError) Error() string {
	text := fmt.Sprintf("no prefix of the %d records gives the quoted register values", e.Records)
	if len(e.Unquoted) > 0 {
		return text + fmt.Sprintf("; records extend PCR %v, which the quote does not cover", e.Unquoted)
	}
	if len(e.Unknown) > 0 {
		return text + fmt.Sprintf("; the values of %v were not given, zero was taken", e.Unknown)
	}
	return text + ": a record is missing, altered or out of order, something else extended a register, or the quote is of another time or machine"
}

// An UnquotedError is a record before the cut that extends a register which the
// quote does not cover, in some bank that it covers otherwise. Nothing would
// bind the record, nor its place.
type UnquotedError struct {
	Record uint64
	PCR    int
	Bank   Bank
}

func (e *UnquotedError) Error() string {
	return fmt.Sprintf("record %d extends PCR %d, which the quote does not cover in bank %s", e.Record, e.PCR, e.Bank)
}

// FindCut reads the list to its end and finds the shortest prefix that,
// replayed from base, gives the quoted digest. The prefix is taken over all
// quoted registers and banks together. A list that is damaged, also after the
// prefix, gives the error of Reader or Replayer.
func FindCut(r *Reader, q Quoted, base Values, styles Styles) (*Cut, error) {
	if !q.Hash.Available() {
		return nil, fmt.Errorf("cut: quotes hashed with %s cannot be checked here", q.Hash)
	}
	var banks []Bank
	for _, s := range q.Selection {
		banks = append(banks, s.Bank)
	}
	start := make(Values)
	for _, s := range q.Selection {
		for _, pcr := range s.PCRs {
			slot := Slot{s.Bank, pcr}
			if v, known := q.Known[slot]; known && base[slot] == nil && pcr != DefaultPCR {
				start[slot] = v
			}
		}
	}
	c := &cutter{quoted: q, base: base}
	for slot, v := range base {
		start[slot] = v
	}
	var err error
	if c.pcrs, err = NewReplayer(banks, start, styles); err != nil {
		return nil, err
	}
	c.candidate.init(q, c.pcrs)
	return c.run(r)
}

type cutter struct {
	quoted    Quoted
	base      Values
	pcrs      *Replayer
	candidate candidate
	named     [MaxPCRs]bool
	unquoted  *UnquotedError
	cut       *Cut
}

func (c *cutter) run(r *Reader) (*Cut, error) {
	c.try(0, 0, 0)
	var records, unattested uint64
	var size int64
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		// A register that the list extends starts at its base, and not at the
		// value it had when the hint was read.
		if Attestable(rec.PCR) && !c.named[rec.PCR] {
			c.name(rec)
		}
		if err := c.pcrs.Extend(rec); err != nil {
			return nil, err
		}
		records++
		size += int64(len(rec.Raw))
		if !Attestable(rec.PCR) {
			unattested++
			continue
		}
		if c.cut == nil {
			c.candidate.changed(int(rec.PCR))
			c.try(records, size, unattested)
		}
	}
	if c.cut == nil {
		return nil, c.noCut(records)
	}
	if c.unquoted != nil && c.unquoted.Record < c.cut.Prefix {
		return nil, c.unquoted
	}
	c.cut.Records, c.cut.Bytes, c.cut.Order = records, size, r.Format().Order
	return c.cut, nil
}

// name notes the first record that names a register.
func (c *cutter) name(rec *Record) {
	pcr := int(rec.PCR)
	c.named[pcr] = true
	for i := range c.pcrs.banks {
		b := &c.pcrs.banks[i]
		slot := Slot{b.bank, pcr}
		if c.base[slot] == nil {
			if _, hinted := c.quoted.Known[slot]; hinted && pcr != DefaultPCR {
				clear(b.value[pcr][:])
				c.candidate.changed(pcr)
			}
		}
		if !c.quoted.Selection.Has(slot) && c.unquoted == nil {
			c.unquoted = &UnquotedError{rec.Index, pcr, b.bank}
		}
	}
}

func (c *cutter) try(records uint64, size int64, unattested uint64) {
	if c.cut != nil || !c.candidate.matches(c.pcrs) {
		return
	}
	c.cut = &Cut{Prefix: records, PrefixBytes: size, Unattested: unattested, End: make(Values)}
	for pcr, named := range c.named {
		if named {
			c.cut.Named = append(c.cut.Named, pcr)
		}
	}
	for slot, v := range c.pcrs.Values() {
		if slot.PCR == DefaultPCR || c.named[slot.PCR] || c.base[slot] != nil {
			c.cut.End[slot] = v
		}
	}
}

func (c *cutter) noCut(records uint64) error {
	e := &NoCutError{Records: records}
	for pcr, named := range c.named {
		if named && slices.ContainsFunc(c.quoted.Selection, func(b SelectedBank) bool { return !slices.Contains(b.PCRs, pcr) }) {
			e.Unquoted = append(e.Unquoted, pcr)
		}
	}
	for _, b := range c.quoted.Selection {
		for _, pcr := range b.PCRs {
			slot := Slot{b.Bank, pcr}
			if pcr != DefaultPCR && !c.named[pcr] && c.base[slot] == nil && c.quoted.Known[slot] == nil {
				e.Unknown = append(e.Unknown, slot)
			}
		}
	}
	return e
}

// A candidate compares the registers' digest with the quoted one after each
// record. Most of what is hashed, PCR 0 to 9, never changes: the hash's state
// before the first register that does is kept.
type candidate struct {
	quoted Quoted
	order  []Slot
	prefix int // slots that state has taken in
	state  []byte
	hash   hash.Hash
	sum    []byte
}

func (c *candidate) init(q Quoted, p *Replayer) {
	c.quoted, c.hash = q, q.Hash.New()
	for _, b := range q.Selection {
		for _, pcr := range b.PCRs {
			c.order = append(c.order, Slot{b.Bank, pcr})
		}
	}
	c.prefix = len(c.order)
	c.changed(DefaultPCR)
}

// changed says that a register may change from now on.
func (c *candidate) changed(pcr int) {
	for i := range c.prefix {
		if c.order[i].PCR == pcr {
			c.prefix, c.state = i, nil
			return
		}
	}
}

func (c *candidate) matches(p *Replayer) bool {
	if c.state == nil || !c.restore() {
		c.hash.Reset()
		for _, s := range c.order[:c.prefix] {
			c.hash.Write(p.Value(s))
		}
		if m, ok := c.hash.(encoding.BinaryMarshaler); ok {
			c.state, _ = m.MarshalBinary()
		}
	}
	for _, s := range c.order[c.prefix:] {
		c.hash.Write(p.Value(s))
	}
	c.sum = c.hash.Sum(c.sum[:0])
	return bytes.Equal(c.sum, c.quoted.Digest)
}

func (c *candidate) restore() bool {
	u, ok := c.hash.(encoding.BinaryUnmarshaler)
	return ok && u.UnmarshalBinary(c.state) == nil
}
