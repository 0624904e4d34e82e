package ledger

import (
	"encoding/hex"
	"errors"
)

// A Name is a TPM object's Name: the big-endian TPM_ALG_ID of its nameAlg and
// the digest of its TPMT_PUBLIC (TPM 2.0 Part 1, section 16), as raw bytes in a
// string so that it compares and can be a map key.
type Name string

// NameNone stands for the EK of a host that has none: grade software.
const NameNone Name = ""

var errName = errors.New("want a TPM name in lower-case hex: 000b, 000c or 000d and the digest")

// ParseName reads a TPM name from hex.
func ParseName(s string) (Name, error) {
	b, ok := canonicalHex(s)
	if !ok || len(b) < 2 {
		return "", errName
	}
	want := 0
	switch string(b[:2]) {
	case "\x00\x0b":
		want = 32
	case "\x00\x0c":
		want = 48
	case "\x00\x0d":
		want = 64
	}
	if want == 0 || len(b) != 2+want {
		return "", errName
	}
	return Name(b), nil
}

// String returns the name in hex, "none" for NameNone.
func (n Name) String() string {
	if n == NameNone {
		return "none"
	}
	return hex.EncodeToString([]byte(n))
}
