package quote

import "encoding/binary"

// A Hierarchy is a TPM_RH_ handle under which a primary key can stand.
type Hierarchy uint32

// The hierarchies (TPM 2.0 Part 2, section 7.4).
const (
	Owner       Hierarchy = 0x40000001
	Null        Hierarchy = 0x40000007
	Endorsement Hierarchy = 0x4000000b
	Platform    Hierarchy = 0x4000000c
)

func (h Hierarchy) String() string {
	switch h {
	case Owner:
		return "owner"
	case Null:
		return "null"
	case Endorsement:
		return "endorsement"
	case Platform:
		return "platform"
	}
	return "unknown"
}

// nameOf returns the Name of an object: the algorithm, two bytes, and the
// digest by it of what stands for the object (TPM 2.0 Part 1, section 16).
func nameOf(alg uint16, parts ...[]byte) []byte {
	d := hashOf(alg).New()
	for _, p := range parts {
		d.Write(p)
	}
	return d.Sum(binary.BigEndian.AppendUint16(nil, alg))
}

// isName reports whether b has a Name's form in an algorithm that is used here.
func isName(b []byte) bool {
	if len(b) < 2 {
		return false
	}
	h := hashOf(binary.BigEndian.Uint16(b))
	return h != 0 && len(b) == 2+h.Size()
}

// QualifiedName returns what qualifiedSigner is in quotes of the key if it is a
// primary key of the hierarchy: nameAlg, and the digest of the hierarchy's
// handle and the key's name (TPM 2.0 Part 1, section 16).
func (k *AK) QualifiedName(h Hierarchy) []byte {
	return nameOf(k.nameAlg, binary.BigEndian.AppendUint32(nil, uint32(h)), k.Name)
}
