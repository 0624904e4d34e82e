package ledger

import (
	"crypto/sha256"
	"fmt"
)

// A Hash is a SHA-256.
type Hash = [32]byte

// LeafHash returns the leaf hash of an entry: RFC 6962, section 2.1.
func LeafHash(entry []byte) Hash {
	d := sha256.New()
	d.Write([]byte{0})
	d.Write(entry)
	return Hash(d.Sum(nil))
}

// ParseHash reads a hash in the form that names files and stands in URLs: 64
// hex digits, lower case.
func ParseHash(s string) (h Hash, err error) {
	if len(s) == 2*len(h) {
		if _, ok := appendHex(h[:0], s); ok {
			return h, nil
		}
	}
	return Hash{}, fmt.Errorf("%.80q is no SHA-256: want 64 lower-case hex digits", s)
}
