package ima

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Quoted is what a quote says of registers.
type Quoted struct {
	Selection Selection
	Hash      Bank   // of the signature scheme
	Digest    []byte // pcrDigest
	// Known has values of quoted registers that the list does not extend, such
	// as PCR 0 to 9. They are a hint: the digest decides. For a register that the
	// list does extend, and for PCR 10, they are not used: those begin at the
	// base, or at zero.
	Known Values
	// Expected has values that quoted registers are thought to hold after the
	// prefix. It saves time: a prefix that gives other ones is not held to the
	// digest. So where they may be wrong, such as when they were read after the
	// quote, a *NoCutError means nothing before the search was made without them.
	Expected Values
}

// A Cut is where a quote divides a list.
type Cut struct {
	Prefix      uint64 // records under the quote
	Records     uint64 // in the list
	PrefixBytes int64
	Bytes       int64
	End         Values // after the prefix, quoted: PCR 10 and all others that base or a record of the prefix names, in every quoted bank
	Others      Values // of the other quoted registers, as the digest confirms them
	Named       []int  // registers that records of the prefix name, ascending, the attestable ones
	Listed      []int  // the same of all records of the list
	Unattested  uint64 // records of the prefix whose register no quote can cover
	Order       Order  // the list's, as read
}

// FindCut reads the list to its end and finds the shortest prefix that,
// replayed from base, gives the quoted digest. The prefix is taken over all
// quoted registers and banks together, and may be empty: then the quote is over
// base itself. A prefix that needs the hint of a register which the list may yet
// extend gives way to a longer one that needs none: the hint was perhaps read
// after those records.
//
// A list that is damaged, also after the prefix, gives the error of Reader or
// Replayer. A *NoCutError says that no prefix fits, an *UnquotedError that the
// quote leaves out a register that the prefix or base needs, ErrUnavailable that
// a quoted bank cannot be computed here.
func FindCut(r *Reader, q Quoted, base Values, styles Styles) (*Cut, error) {
	c, err := newCutter(q, base, styles)
	if err != nil {
		return nil, err
	}
	return c.run(r)
}

type cutter struct {
	quoted     Quoted
	pcrs       *Replayer
	candidates []*candidate
	based      [MaxPCRs]bool  // registers that base gives
	named      [MaxPCRs]bool  // registers that a record read so far names
	unquoted   *UnquotedError // the first
	hinted     *Cut           // one that a hint of PCR 10 or above made fit
	cut        *Cut
}

func newCutter(q Quoted, base Values, styles Styles) (*cutter, error) {
	if !q.Hash.Available() {
		return nil, fmt.Errorf("cut: quote hashed with %s: %w", q.Hash, ErrUnavailable)
	}
	var banks []Bank
	quoted := 0
	for _, s := range q.Selection {
		banks = append(banks, s.Bank)
		for _, pcr := range s.PCRs {
			if pcr < 0 || pcr >= MaxPCRs {
				return nil, fmt.Errorf("cut: the quote selects PCR %d of %s, the last is %d", pcr, s.Bank, MaxPCRs-1)
			}
			for _, values := range []Values{q.Known, q.Expected} {
				if v, known := values[Slot{s.Bank, pcr}]; known && len(v) != s.Bank.Size() {
					return nil, fmt.Errorf("cut: the known value of %s has %d bytes, want %d", Slot{s.Bank, pcr}, len(v), s.Bank.Size())
				}
			}
			quoted++
		}
	}
	if quoted == 0 {
		// A TPM signs such a quote, and its digest fits every list.
		return nil, errors.New("cut: the quote selects no register: quote those that the list extends")
	}
	c := &cutter{quoted: q}
	for _, slot := range base.Slots() {
		if !q.Selection.Has(slot) {
			return nil, &UnquotedError{Slot: slot, Base: true}
		}
		c.based[slot.PCR] = true
	}
	var err error
	if c.pcrs, err = NewReplayer(banks, base, styles); err != nil {
		return nil, err
	}
	c.start()
	return c, nil
}

// firmwarePCRs is the number of registers that firmware and boot loader extend,
// from PCR 0. No list is known to extend them.
const firmwarePCRs = 10

// start makes the candidates. A register that is not in base and that the list
// has not named yet is either one that it never names, and holds its hint, or
// one that it names later, and holds zero; which of them only the rest of the
// list could tell. So both are tried, where they differ.
func (c *cutter) start() {
	value := func(limit int) func(Slot) []byte {
		return func(s Slot) []byte {
			if hint, known := c.quoted.Known[s]; known && !c.based[s.PCR] && s.PCR != DefaultPCR && s.PCR < limit {
				return hint
			}
			return c.pcrs.Value(s)
		}
	}
	hinted, bare := newCandidate(c.quoted, value(MaxPCRs)), newCandidate(c.quoted, value(firmwarePCRs))
	c.candidates = []*candidate{hinted, bare}
	// PCR 10 is about to change.
	c.update(DefaultPCR, func(bank int) []byte { return c.pcrs.Value(Slot{c.quoted.Selection[bank].Bank, DefaultPCR}) })
	c.dropTwin()
}

// update takes a register's new value into the candidates.
func (c *cutter) update(pcr int, value func(bank int) []byte) {
	for _, candidate := range c.candidates {
		candidate.update(pcr, value)
	}
}

func (c *cutter) run(r *Reader) (*Cut, error) {
	line := newPipeline(c.pcrs)
	defer line.stop()
	var at Cut // how far the list was read
	c.try(at)

	banks := len(c.quoted.Selection)
	this, next := newBatch(banks), newBatch(banks)
	this.fill(r)
	line.send(this)
	for {
		if this.end == nil {
			next.fill(r)
			line.send(next)
		}
		if err := line.finish(this); err != nil {
			return nil, err
		}
		for i := range this.recs[:this.n] {
			rec := &this.recs[i]
			c.take(&at, &rec.Record, func(bank int) []byte { return this.banks[bank].after[i][:c.quoted.Selection[bank].Bank.Size()] })
		}
		if errors.Is(this.end, io.EOF) {
			return c.result(at.Prefix, at.PrefixBytes, r.Format().Order)
		}
		if this.end != nil {
			return nil, this.end
		}
		this, next = next, this
	}
}

// take goes on by a record; after gives its register's value after it.
func (c *cutter) take(at *Cut, rec *Record, after func(bank int) []byte) {
	at.Prefix++
	at.PrefixBytes += int64(len(rec.Raw))
	if !Attestable(rec.PCR) {
		at.Unattested++
		return
	}
	first := c.name(rec)
	if c.cut != nil {
		return
	}
	c.update(int(rec.PCR), after)
	if first {
		c.dropTwin()
	}
	c.try(*at)
}

// name notes the first record that names a register, and reports whether this
// is it.
func (c *cutter) name(rec *Record) bool {
	pcr := int(rec.PCR)
	if c.named[pcr] {
		return false
	}
	c.named[pcr] = true
	for _, b := range c.quoted.Selection {
		if c.unquoted == nil && !slices.Contains(b.PCRs, pcr) {
			c.unquoted = &UnquotedError{Slot: Slot{b.Bank, pcr}, Record: rec.Index}
		}
	}
	return true
}

// dropTwin leaves one candidate where the two have become the same.
func (c *cutter) dropTwin() {
	if len(c.candidates) == 2 && bytes.Equal(c.candidates[0].values, c.candidates[1].values) {
		c.candidates = c.candidates[:1]
	}
}

// try ends the prefix at the record read last if the quote fits.
func (c *cutter) try(at Cut) {
	i := slices.IndexFunc(c.candidates, (*candidate).matches)
	switch {
	case i < 0:
	case i < len(c.candidates)-1:
		c.hinted = c.prefix(at, c.candidates[i])
		c.candidates = c.candidates[i+1:]
	default:
		c.cut = c.prefix(at, c.candidates[i])
	}
}

// prefix is the cut at the record read last.
func (c *cutter) prefix(at Cut, found *candidate) *Cut {
	cut := &Cut{Prefix: at.Prefix, PrefixBytes: at.PrefixBytes, Unattested: at.Unattested, End: make(Values), Others: make(Values)}
	cut.Named = c.registers()
	for i, slot := range found.slots {
		values := cut.Others
		if slot.PCR == DefaultPCR || c.named[slot.PCR] || c.based[slot.PCR] {
			values = cut.End
		}
		values[slot] = bytes.Clone(found.value(i))
	}
	return cut
}

// registers returns those that the records read so far name.
func (c *cutter) registers() []int {
	var list []int
	for pcr, named := range c.named {
		if named {
			list = append(list, pcr)
		}
	}
	return list
}

func (c *cutter) result(records uint64, size int64, order Order) (*Cut, error) {
	if c.cut == nil {
		c.cut = c.hinted
	}
	switch {
	case c.cut == nil:
		return nil, c.noCut(records)
	case c.unquoted != nil && c.unquoted.Record < c.cut.Prefix:
		return nil, c.unquoted
	case len(c.cut.End) == 0 && c.unquoted != nil:
		// Not even the first record's register is quoted: that nothing is under
		// the quote does not follow.
		return nil, c.unquoted
	case len(c.cut.End) == 0:
		return nil, &UnquotedError{Slot: Slot{c.quoted.Selection[0].Bank, DefaultPCR}, Base: true}
	}
	c.cut.Records, c.cut.Bytes, c.cut.Order = records, size, order
	c.cut.Listed = c.registers()
	return c.cut, nil
}

func (c *cutter) noCut(records uint64) error {
	e := &NoCutError{Records: records}
	for pcr, named := range c.named {
		if named && slices.ContainsFunc(c.quoted.Selection, func(b SelectedBank) bool { return !slices.Contains(b.PCRs, pcr) }) {
			e.Unquoted = append(e.Unquoted, pcr)
		}
	}
	for _, slot := range c.candidates[0].slots {
		if slot.PCR != DefaultPCR && !c.named[slot.PCR] && !c.based[slot.PCR] && c.quoted.Known[slot] == nil {
			e.Unknown = append(e.Unknown, slot)
		}
	}
	return e
}
