package ima

import (
	"bytes"
	"encoding/binary"
)

// Limits of a record. The kernel has none for the data; the longest it makes
// are buffers of keys and critical data.
const (
	MaxName = 255      // bytes of a template's name; the longest custom format fits
	MaxData = 16 << 20 // bytes of template data
)

// legacyTemplate is the template whose data has no length before it and is
// hashed in a form of its own.
const legacyTemplate = "ima"

// Sizes of the legacy template's data (ima_template_lib.c).
const (
	legacyDigest = 20  // SHA-1
	legacyMD5    = 16  // of a host with ima_hash=md5, whose list is refused
	legacyName   = 255 // bytes of a file name
	legacyHashed = 20 + 256
)

// A Record is one measurement. Its slices are good until the reader goes on.
type Record struct {
	Index    uint64 // in the list, from 0
	Offset   int64  // in the list, bytes
	PCR      uint32 // as named; see Attestable
	Digest   []byte // as stored, of the list's bank
	Template []byte // the template's name; no register binds it
	Data     []byte // the template data, as in the list
	Raw      []byte // the whole record

	bank   Bank // of Digest
	order  Order
	hashed []byte // of a legacy record, see hashInput
}

// Violation reports whether the record stands for a file that was being written
// while it was measured (ToMToU, open writers): its stored digest is zero, and
// the registers are extended with ff. What the record says besides is bound by
// nothing.
func (r *Record) Violation() bool {
	for _, b := range r.Digest {
		if b != 0 {
			return false
		}
	}
	return true
}

// Bound reports whether the record's register binds its data: not a violation's,
// and not that of a record whose register the kernel cannot extend.
func (r *Record) Bound() bool { return !r.Violation() && Attestable(r.PCR) }

// legacy reports whether the record has the template "ima".
func (r *Record) legacy() bool { return string(r.Template) == legacyTemplate }

// hashInput returns what the record's digests are over: the data, or for the
// legacy template the digest and the file name padded to 256 bytes
// (ima_calc_field_array_hash_tfm).
func (r *Record) hashInput() []byte {
	if !r.legacy() {
		return r.Data
	}
	if r.hashed == nil {
		r.hashed = make([]byte, legacyHashed)
	}
	clear(r.hashed)
	copy(r.hashed, r.Data[:legacyDigest])
	copy(r.hashed[legacyDigest:], r.Data[legacyDigest+4:])
	return r.hashed
}

// Sum returns what the record extends its register with in a bank, in the given
// style. The bank must be Available.
func (r *Record) Sum(bank Bank, style Style) []byte {
	return r.appendSum(nil, bank, style, r.Violation(), r.hashInput())
}

func (r *Record) appendSum(dst []byte, bank Bank, style Style, violation bool, input []byte) []byte {
	size := bank.Size()
	padded := bank != SHA1 && style != StyleDigest
	switch {
	case violation && (!padded || style == StylePaddedFF):
		return append(dst, ffDigest[:size]...)
	case violation:
		dst = append(dst, ffDigest[:SHA1.Size()]...)
	case !padded:
		return bank.appendSum(dst, input)
	default:
		dst = SHA1.appendSum(dst, input)
	}
	return append(dst, zeroDigest[:size-SHA1.Size()]...)
}

var (
	zeroDigest [MaxDigest]byte
	ffDigest   = bytes.Repeat([]byte{0xff}, MaxDigest)
)

// An Order is a byte order of a list's integers.
type Order byte

// The byte orders.
const (
	DetectOrder Order = iota // by the first record
	LittleEndian
	BigEndian
)

// String returns le or be.
func (o Order) String() string {
	switch o {
	case LittleEndian:
		return "le"
	case BigEndian:
		return "be"
	}
	return "unknown"
}

func (o Order) uint32(b []byte) uint32 {
	if o == BigEndian {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (o Order) uint16(b []byte) uint16 {
	if o == BigEndian {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

// Order returns the byte order of the record's integers.
func (r *Record) Order() Order { return r.order }
