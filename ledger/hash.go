package ledger

import "crypto/sha256"

// A Hash is a SHA-256.
type Hash = [32]byte

// LeafHash returns the leaf hash of an entry: RFC 6962, section 2.1.
func LeafHash(entry []byte) Hash {
	d := sha256.New()
	d.Write([]byte{0})
	d.Write(entry)
	return Hash(d.Sum(nil))
}
