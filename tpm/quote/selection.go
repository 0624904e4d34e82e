package quote

import "math/bits"

// Limits of a selection.
const (
	// MaxBanks bounds the banks of a quote (TPM 2.0 Part 2, HASH_COUNT).
	MaxBanks = 16
	// pcrSelectSize is the bytes of a selection's mask for 24 PCRs; every PC
	// client TPM answers with 3.
	pcrSelectSize = 3
)

// A SelectedBank is a bank's TPM_ALG_ID and the registers selected in it,
// ascending.
type SelectedBank struct {
	Bank uint16
	PCRs []int
}

// selection reads a TPML_PCR_SELECTION. An empty one, an empty mask and a bank
// that stands twice are each well-formed to a TPM and a way to say less than it
// seems.
func (d *decoder) selection() []SelectedBank {
	n := d.uint32("selection count")
	if d.err == nil && (n < 1 || n > MaxBanks) {
		d.fail("selects %d banks, want 1 to %d", n, MaxBanks)
	}
	var list []SelectedBank
	for d.err == nil && len(list) < int(n) {
		s := SelectedBank{Bank: d.uint16("bank")}
		if size := d.byte("sizeofSelect"); d.err == nil && size != pcrSelectSize {
			d.fail("sizeofSelect is %d, want %d", size, pcrSelectSize)
		}
		selected := d.bytes("pcrSelect", pcrSelectSize)
		s.PCRs = make([]int, 0, 8*len(selected))
		for i, mask := range selected {
			for ; mask != 0; mask &= mask - 1 {
				s.PCRs = append(s.PCRs, 8*i+bits.TrailingZeros8(mask))
			}
		}
		for _, other := range list {
			if other.Bank == s.Bank {
				d.fail("bank %04x stands twice", s.Bank)
			}
		}
		if d.err == nil && len(s.PCRs) == 0 {
			d.fail("selects nothing in bank %04x", s.Bank)
		}
		list = append(list, s)
	}
	return list
}
