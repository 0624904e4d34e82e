package ima

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// DefaultPCR is the register that the kernel extends unless a policy rule names
// another (CONFIG_IMA_MEASURE_PCR_IDX).
const DefaultPCR = 10

// MaxPCRs is the number of registers in a bank (PC Client Platform TPM
// Profile).
const MaxPCRs = 24

// Attestable reports whether the kernel, which sends its commands at locality
// 0, can extend a register: PCR 17 to 22 belong to higher localities, and there
// is none from 24 on. A record that names such a register is listed, but the
// extend failed: no quote covers it. PCR 16 and 23 can also be reset by root, so
// that a quote over them proves less.
func Attestable(pcr uint32) bool { return pcr <= 16 || pcr == 23 }

// A Slot is one register of one bank.
type Slot struct {
	Bank Bank
	PCR  int
}

// String returns the slot as in sha256:10.
func (s Slot) String() string { return s.Bank.String() + ":" + strconv.Itoa(s.PCR) }

// Compare orders slots by bank number, then by register.
func (s Slot) Compare(t Slot) int {
	return cmp.Or(cmp.Compare(s.Bank, t.Bank), cmp.Compare(s.PCR, t.PCR))
}

// ParseSlot reads what String writes.
func ParseSlot(s string) (Slot, error) {
	name, number, found := strings.Cut(s, ":")
	bank, err := ParseBank(name)
	if err != nil {
		return Slot{}, err
	}
	pcr, err := strconv.Atoi(number)
	if !found || err != nil || pcr < 0 || pcr >= MaxPCRs || strconv.Itoa(pcr) != number {
		return Slot{}, fmt.Errorf("%.64q is no register: want a bank, a colon and 0 to %d", s, MaxPCRs-1)
	}
	return Slot{bank, pcr}, nil
}

// Values are register values by slot.
type Values map[Slot][]byte

// Slots returns the slots in order.
func (v Values) Slots() []Slot {
	list := make([]Slot, 0, len(v))
	for s := range v {
		list = append(list, s)
	}
	slices.SortFunc(list, Slot.Compare)
	return list
}

// A Selection is what a quote covers: registers by bank, in the order of the
// quote.
type Selection []SelectedBank

// A SelectedBank is one bank of a Selection; PCRs ascend.
type SelectedBank struct {
	Bank Bank
	PCRs []int
}

// Has reports whether the selection covers a slot.
func (s Selection) Has(slot Slot) bool {
	for _, b := range s {
		if b.Bank == slot.Bank && slices.Contains(b.PCRs, slot.PCR) {
			return true
		}
	}
	return false
}

// Digest returns the pcrDigest of a quote over the selection by hash h: the
// values in the order of the selection, put together and hashed (TPM 2.0
// Library, Part 3, TPM2_Quote). h must be Available.
func (s Selection) Digest(h Bank, value func(Slot) []byte) []byte {
	d := h.New()
	for _, b := range s {
		for _, pcr := range b.PCRs {
			d.Write(value(Slot{b.Bank, pcr}))
		}
	}
	return d.Sum(nil)
}
