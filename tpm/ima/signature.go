package ima

import (
	"encoding/binary"
	"fmt"
)

// A Signature is the head of a security.ima signature (struct
// signature_v2_hdr, security/integrity/integrity.h). Its integers are
// big-endian on every host.
type Signature struct {
	Type    byte   // 3: a file's digest is signed; 6: fs-verity's
	Version byte   // 2 or 3
	Hash    byte   // enum hash_algo
	KeyID   uint32 // last four bytes of the key's subject identifier
	Sig     []byte
}

// xattr types of signatures (enum evm_ima_xattr_type).
const (
	xattrDigsig       = 0x03
	xattrVerityDigsig = 0x06
)

const signatureHeader = 9

// ParseSignature reads the field sig or evmsig.
func ParseSignature(b []byte) (*Signature, error) {
	if len(b) < signatureHeader {
		return nil, fmt.Errorf("signature of %d bytes, want at least %d", len(b), signatureHeader)
	}
	s := &Signature{b[0], b[1], b[2], binary.BigEndian.Uint32(b[3:]), b[signatureHeader:]}
	if n := int(binary.BigEndian.Uint16(b[7:])); n != len(s.Sig) {
		return nil, fmt.Errorf("signature: %d bytes stated, %d there", n, len(s.Sig))
	}
	// The EVM portable signature has type 5 and the same head.
	if s.Type != xattrDigsig && s.Type != xattrVerityDigsig && s.Type != 0x05 || s.Version < 2 || s.Version > 3 {
		return nil, fmt.Errorf("signature of type %d version %d, want type 3, 5 or 6 and version 2 or 3", s.Type, s.Version)
	}
	return s, nil
}
