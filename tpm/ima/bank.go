package ima

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
)

// A Bank is a PCR bank: its number is the TPM_ALG_ID of its hash (TPM 2.0
// Library, Part 2, section 6.3).
type Bank uint16

// The banks.
const (
	SHA1     Bank = 0x0004
	SHA256   Bank = 0x000b
	SHA384   Bank = 0x000c
	SHA512   Bank = 0x000d
	SM3_256  Bank = 0x0012
	SHA3_256 Bank = 0x0027
	SHA3_384 Bank = 0x0028
	SHA3_512 Bank = 0x0029
)

// MaxDigest is the size in bytes of the largest digest of a bank.
const MaxDigest = 64

// ErrUnavailable says that a bank is real, and its hash not in this program:
// what depends on it stays undecided.
var ErrUnavailable = errors.New("its hash cannot be computed here")

// bankTable is short, so a search through it is as fast as a map's.
var bankTable = []struct {
	bank   Bank
	name   string // as TPM tools write it
	kernel string // as the kernel writes it, in records and file names (crypto/hash_info.c)
	size   int
	start  func() hash.Hash // nil where the standard library has none
}{
	{SHA1, "sha1", "sha1", 20, sha1.New},
	{SHA256, "sha256", "sha256", 32, sha256.New},
	{SHA384, "sha384", "sha384", 48, sha512.New384},
	{SHA512, "sha512", "sha512", 64, sha512.New},
	{SM3_256, "sm3_256", "sm3", 32, nil}, // formerly sm3-256
	{SHA3_256, "sha3_256", "sha3-256", 32, func() hash.Hash { return sha3.New256() }},
	{SHA3_384, "sha3_384", "sha3-384", 48, func() hash.Hash { return sha3.New384() }},
	{SHA3_512, "sha3_512", "sha3-512", 64, func() hash.Hash { return sha3.New512() }},
}

// Size returns the size of the bank's digests in bytes, 0 for an unknown bank.
func (b Bank) Size() int {
	for _, t := range bankTable {
		if t.bank == b {
			return t.size
		}
	}
	return 0
}

// Available reports whether this package can compute the bank's hash.
func (b Bank) Available() bool { return b.start() != nil }

func (b Bank) start() func() hash.Hash {
	for _, t := range bankTable {
		if t.bank == b {
			return t.start
		}
	}
	return nil
}

// New returns the bank's hash. The bank must be Available.
func (b Bank) New() hash.Hash { return b.start()() }

// String returns the bank's name, or its TPM_ALG_ID in hex.
func (b Bank) String() string {
	for _, t := range bankTable {
		if t.bank == b {
			return t.name
		}
	}
	return fmt.Sprintf("tpm_alg_%x", uint16(b))
}

// ParseBank returns the bank of a name.
func ParseBank(name string) (Bank, error) {
	for _, t := range bankTable {
		if t.name == name {
			return t.bank, nil
		}
	}
	return 0, fmt.Errorf("unknown bank %.32q: want sha1, sha256, sha384, sha512, sm3_256, sha3_256, sha3_384 or sha3_512", name)
}

// bankOfAlgorithm returns the bank of a hash algorithm by the kernel's name.
func bankOfAlgorithm(name string) (Bank, bool) {
	for _, t := range bankTable {
		if t.kernel == name {
			return t.bank, true
		}
	}
	return 0, false
}

// appendSum appends the bank's digest of data. The banks that every host has
// are hashed without an allocation.
func (b Bank) appendSum(dst, data []byte) []byte {
	switch b {
	case SHA1:
		d := sha1.Sum(data)
		return append(dst, d[:]...)
	case SHA256:
		d := sha256.Sum256(data)
		return append(dst, d[:]...)
	case SHA384:
		d := sha512.Sum384(data)
		return append(dst, d[:]...)
	case SHA512:
		d := sha512.Sum512(data)
		return append(dst, d[:]...)
	}
	h := b.New()
	h.Write(data)
	return h.Sum(dst)
}
