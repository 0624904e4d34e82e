package ima

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// A Signature is a security.ima or security.evm signature (struct
// signature_v2_hdr, security/integrity/integrity.h). Its integers are
// big-endian on every host.
type Signature struct {
	Type    byte   // 3: a file's digest is signed; 5: its inode's metadata (EVM); 6: fs-verity's digest
	Version byte   // 2 or 3
	Hash    byte   // enum hash_algo
	KeyID   uint32 // last four bytes of the key's subject identifier
	Sig     []byte
}

// xattr types of signatures (enum evm_ima_xattr_type).
const (
	xattrDigsig       = 0x03
	xattrPortable     = 0x05 // EVM's
	xattrVerityDigsig = 0x06
)

const signatureHeader = 9

// hashAlgorithms are the kernel's names by its own numbers (enum hash_algo,
// include/uapi/linux/hash_info.h; crypto/hash_info.c).
var hashAlgorithms = [...]string{
	"md4", "md5", "sha1", "rmd160", "sha256", "sha384", "sha512", "sha224", "rmd128", "rmd256", "rmd320", "wp256", "wp384",
	"wp512", "tgr128", "tgr160", "tgr192", "sm3", "streebog256", "streebog512", "sha3-256", "sha3-384", "sha3-512",
}

// Algorithm returns the kernel's name of the hash that was signed.
func (s *Signature) Algorithm() string {
	if int(s.Hash) < len(hashAlgorithms) {
		return hashAlgorithms[s.Hash]
	}
	return fmt.Sprintf("hash_algo %d", s.Hash)
}

// ParseSignature reads the field sig or evmsig.
func ParseSignature(b []byte) (*Signature, error) {
	if len(b) < signatureHeader {
		return nil, fmt.Errorf("signature of %d bytes, want at least %d", len(b), signatureHeader)
	}
	s := &Signature{b[0], b[1], b[2], binary.BigEndian.Uint32(b[3:]), b[signatureHeader:]}
	if n := int(binary.BigEndian.Uint16(b[7:])); n != len(s.Sig) {
		return nil, fmt.Errorf("signature: %d bytes stated, %d there", n, len(s.Sig))
	}
	known := s.Type == xattrDigsig || s.Type == xattrPortable || s.Type == xattrVerityDigsig
	if !known || s.Version < 2 || s.Version > 3 {
		return nil, fmt.Errorf("signature of type %d version %d, want type 3, 5 or 6 and version 2 or 3", s.Type, s.Version)
	}
	return s, nil
}

// KeyIDs returns the IDs of the keys that the fields' signatures name, each once. A
// signature that cannot be read names none.
func (f *Fields) KeyIDs() (list []uint32) {
	for _, sig := range [][]byte{f.Sig, f.EVMSig} {
		if s, err := ParseSignature(sig); err == nil && !slices.Contains(list, s.KeyID) {
			list = append(list, s.KeyID)
		}
	}
	if len(f.Modsig) == 0 {
		return list
	}
	ids, err := ParseModsig(f.Modsig)
	if err != nil {
		return list
	}
	for _, id := range ids {
		if !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	return list
}
