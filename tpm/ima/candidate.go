package ima

import (
	"bytes"
	"encoding"
	"hash"
)

// A candidate is what the quoted registers hold after a prefix of the list, put
// together in the order of the quote, to be compared with the quoted digest
// after each record. Most of it, PCR 0 to 9, never changes: the hash's state
// after what has not changed yet is kept.
type candidate struct {
	digest []byte // the quoted one
	slots  []Slot
	banks  []int  // index of each slot's bank in the quote's selection
	at     []int  // where each slot's value begins in values
	values []byte // of all slots
	hash   hash.Hash
	fixed  int // bytes of values that state has taken in
	state  []byte
	sum    []byte
	// What the values are expected to be before the digest is worth computing.
	expected []expectation
}

type expectation struct {
	at    int // in values
	value []byte
}

func newCandidate(q Quoted, value func(Slot) []byte) *candidate {
	c := &candidate{digest: q.Digest, hash: q.Hash.New()}
	for k, b := range q.Selection {
		for _, pcr := range b.PCRs {
			slot := Slot{b.Bank, pcr}
			if v, ok := q.Expected[slot]; ok {
				c.expected = append(c.expected, expectation{len(c.values), v})
			}
			c.slots, c.banks, c.at = append(c.slots, slot), append(c.banks, k), append(c.at, len(c.values))
			c.values = append(c.values, value(slot)...)
		}
	}
	c.fixed = len(c.values)
	return c
}

// update takes over a register's value in every bank of the selection.
func (c *candidate) update(pcr int, value func(bank int) []byte) {
	for i, slot := range c.slots {
		if slot.PCR != pcr {
			continue
		}
		copy(c.values[c.at[i]:], value(c.banks[i]))
		if c.at[i] < c.fixed {
			c.fixed, c.state = c.at[i], nil
		}
	}
}

// matches reports whether the values have the quoted digest.
func (c *candidate) matches() bool {
	for _, e := range c.expected {
		if !bytes.Equal(c.values[e.at:][:len(e.value)], e.value) {
			return false
		}
	}
	if c.state == nil || !c.restore() {
		c.hash.Reset()
		c.hash.Write(c.values[:c.fixed])
		if m, ok := c.hash.(encoding.BinaryMarshaler); ok {
			c.state, _ = m.MarshalBinary()
		}
	}
	c.hash.Write(c.values[c.fixed:])
	c.sum = c.hash.Sum(c.sum[:0])
	return bytes.Equal(c.sum, c.digest)
}

func (c *candidate) restore() bool {
	u, ok := c.hash.(encoding.BinaryUnmarshaler)
	return ok && u.UnmarshalBinary(c.state) == nil
}

// value returns a slot's value, which is good until the next update.
func (c *candidate) value(i int) []byte {
	return c.values[c.at[i]:][:c.slots[i].Bank.Size()]
}
