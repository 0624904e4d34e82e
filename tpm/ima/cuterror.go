package ima

import (
	"fmt"
	"strconv"
	"strings"
)

// A NoCutError says that no prefix of the list gives the quoted digest: the
// quote is older than the base or newer than the list, the base or a known
// value is not the quoted one, a record was removed, altered or put elsewhere,
// or something that is not in the list extended a register.
type NoCutError struct {
	Records  uint64 // in the list
	Unquoted []int  // registers that records name and the quote does not cover in every bank
	Unknown  []Slot // quoted registers of whose value nothing was said: zero was taken
}

func (e *NoCutError) Error() string {
	text := fmt.Sprintf("no prefix of the %d records gives the quoted register values", e.Records)
	switch {
	case len(e.Unquoted) > 0:
		return text + fmt.Sprintf("; records extend PCR %v, which the quote does not cover in every bank: quote them too", e.Unquoted)
	case len(e.Unknown) > 0:
		return text + fmt.Sprintf("; the values of %s were not given, and zero was taken: give them", ranges(e.Unknown))
	}
	return text + ": a record is missing, altered or out of order, something else extended a register, or the base or the quote is of another time or machine"
}

// An UnquotedError is a register that a record before the cut extends, or that
// base gives, and that the quote does not cover. Nothing would bind the record,
// nor its place, nor the value.
type UnquotedError struct {
	Slot   Slot
	Record uint64 // index in the list
	Base   bool   // the list begins at a value of the register; Record is of no meaning
}

func (e *UnquotedError) Error() string {
	if e.Base {
		return fmt.Sprintf("the list begins at a value of %s, which the quote does not cover: quote it too", e.Slot)
	}
	return fmt.Sprintf("record %d extends %s, which the quote does not cover: quote it too", e.Record, e.Slot)
}

// ranges writes slots, which are in order, as in sha1:0-9 sha256:0-9.
func ranges(slots []Slot) string {
	var words []string
	for i := 0; i < len(slots); i++ {
		first := slots[i]
		for i+1 < len(slots) && slots[i+1] == (Slot{first.Bank, slots[i].PCR + 1}) {
			i++
		}
		word := first.String()
		if slots[i] != first {
			word += "-" + strconv.Itoa(slots[i].PCR)
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}
