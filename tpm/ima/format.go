package ima

import (
	"fmt"
	"strings"
)

// A Format says how a list file is to be read.
type Format struct {
	// Bank is the bank whose digests the records store: SHA1 for
	// binary_runtime_measurements, the suffix's for its siblings.
	Bank Bank
	// Order is the byte order; DetectOrder takes it from the first record.
	Order Order
}

// BankOfFile returns the bank whose digests a list stores by the file's name in
// securityfs: binary_runtime_measurements_sha256, …_sm3, …_tpm_alg_27, each also
// with _staged after it. A name without such a suffix is that of a SHA-1 list.
func BankOfFile(name string) Bank {
	name = strings.TrimSuffix(name, "_staged")
	for _, t := range bankTable {
		if strings.HasSuffix(name, "_"+t.kernel) || strings.HasSuffix(name, "_"+t.name) || strings.HasSuffix(name, fmt.Sprintf("_tpm_alg_%x", uint16(t.bank))) {
			return t.bank
		}
	}
	return SHA1
}

// ParseOrder reads le or be.
func ParseOrder(s string) (Order, error) {
	switch s {
	case "le":
		return LittleEndian, nil
	case "be":
		return BigEndian, nil
	}
	return 0, fmt.Errorf("unknown byte order %.16q: want le or be", s)
}

// maxListPCR is the largest register a policy rule can name (pcr= takes 0 to
// 63). It tells the byte orders apart: no register is large in both.
const maxListPCR = 63

// detectOrder tells the byte order from a record's first word. PCR 0 reads the
// same in both; the host's order cannot be told from it, and little-endian is
// what nearly all have.
func detectOrder(word []byte) (Order, bool) {
	switch {
	case LittleEndian.uint32(word) <= maxListPCR:
		return LittleEndian, true
	case BigEndian.uint32(word) <= maxListPCR:
		return BigEndian, true
	}
	return 0, false
}

// A SyntaxError says where a list stops being one.
type SyntaxError struct {
	Record uint64 // index of the record, from 0
	Offset int64  // of the record, bytes from the list's begin
	What   string // what is wrong with it
	Mend   string // what to do or to look at
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("record %d at byte %d: %s; %s", e.Record, e.Offset, e.What, e.Mend)
}
