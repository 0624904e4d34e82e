package ledger

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Bank is a PCR bank's hash algorithm by the name the kernel uses for it.
type Bank string

// A bankRow is what is known of a bank: its TPM_ALG_ID, which gives the order of
// banks, and its digest size in bytes (TPM 2.0 Part 2, section 6.3).
type bankRow struct {
	bank Bank
	alg  uint16
	size int
}

// bankTable is short, so a search through it is faster than a map's.
var bankTable = []bankRow{
	{"sha1", 0x0004, 20}, {"sha256", 0x000b, 32}, {"sha384", 0x000c, 48}, {"sha512", 0x000d, 64},
	{"sm3_256", 0x0012, 32}, {"sha3_256", 0x0027, 32}, {"sha3_384", 0x0028, 48}, {"sha3_512", 0x0029, 64},
}

// row returns zeros for a bank that does not exist.
func (b Bank) row() bankRow {
	for i := range bankTable {
		if bankTable[i].bank == b {
			return bankTable[i]
		}
	}
	return bankRow{}
}

// Alg returns the bank's TPM_ALG_ID, 0 for a bank that does not exist.
func (b Bank) Alg() uint16 { return b.row().alg }

// Size returns the size of the bank's digests in bytes, 0 for a bank that does
// not exist.
func (b Bank) Size() int { return b.row().size }

// A PCR is one register of one bank and a value of it.
type PCR struct {
	Bank  Bank
	Index int // 0 to 23
	Value []byte
}

// Slot returns the register's name, such as "sha256:10".
func (p PCR) Slot() string { return string(p.Bank) + ":" + strconv.Itoa(p.Index) }

func comparePCR(a, b PCR) int {
	if a.Bank == b.Bank {
		return cmp.Compare(a.Index, b.Index)
	}
	if c := cmp.Compare(a.Bank.Alg(), b.Bank.Alg()); c != 0 {
		return c
	}
	return cmp.Compare(a.Index, b.Index)
}

// SortPCRs puts values into the order of the formats: by the bank's
// TPM_ALG_ID, then by index.
func SortPCRs(v []PCR) { slices.SortFunc(v, comparePCR) }

// pcrs reads the lines with the given key, which must be in order and name no
// register twice.
func (r *textReader) pcrs(key string) []PCR {
	n := r.lines(key)
	if n == 0 {
		return nil
	}
	list, values := make([]PCR, 0, n), make([]byte, 0, n*sha256.Size)
	for r.peek(key) {
		f := r.values(key, 2)
		if r.err != nil {
			return nil
		}
		bank, index, _ := strings.Cut(f[0], ":")
		// The table's own string: what is equal is then the same, and does not keep the text.
		known := Bank(bank).row()
		p := PCR{Bank: known.bank, Index: int(r.parseNumber(key, index))}
		begin, ok := len(values), false
		values, ok = appendHex(values, f[1])
		p.Value = slices.Clip(values[begin:])
		switch {
		case r.err != nil:
		case known.size == 0:
			r.fail("%s: unknown bank %.16q", key, bank)
		case p.Index >= MaxPCRs:
			r.fail("%s: PCR %d, the last is %d", key, p.Index, MaxPCRs-1)
		case !ok || len(p.Value) != known.size:
			r.fail("%s %s: want %d lower-case hex digits", key, f[0], 2*known.size)
		case len(list) > 0 && comparePCR(list[len(list)-1], p) >= 0:
			r.fail("%s %s: out of order, or twice", key, f[0])
		}
		list = append(list, p)
	}
	return list
}

func appendPCRs(b []byte, key string, list []PCR) []byte {
	for _, p := range list {
		b = fmt.Appendf(b, "%s %s:%d %s\n", key, p.Bank, p.Index, hex.EncodeToString(p.Value))
	}
	return b
}
