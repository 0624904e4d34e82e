package quote

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
)

// An EK is the public part of an endorsement key: a restricted decryption key
// that a TPM's vendor certifies (TCG EK Credential Profile, annex B).
type EK struct {
	Raw    []byte           // TPMT_PUBLIC
	Public crypto.PublicKey // *ecdsa.PublicKey or *rsa.PublicKey
	Name   []byte           // nameAlg and digest of Raw

	// KeyDigest is the SHA-256 of the key as a SubjectPublicKeyInfo. It tells
	// whether two EKs are one: what stands around the key in the public area,
	// and with it the name, the host can write as it likes, and still be vouched
	// for by the certificate and activate a credential.
	KeyDigest [sha256.Size]byte

	nameAlg uint16
}

// ParseEK reads an EK's TPMT_PUBLIC. The error is a *SyntaxError, or ErrEK for
// a key that is well-formed and no endorsement key that is used here: NIST
// P-256 or P-384, or RSA of 2048, 3072 or 4096 bits.
func ParseEK(tpmtPublic []byte) (*EK, error) {
	p, err := parsePublic(tpmtPublic, ErrEK)
	if err != nil {
		return nil, err
	}
	for _, row := range []struct {
		attribute uint32
		set       bool
		fault     string
	}{
		{attrFixedTPM, true, "fixedTPM is clear: the key can leave its TPM"},
		{attrFixedParent, true, "fixedParent is clear: the key can be given another parent"},
		{attrSensitiveDataOrigin, true, "sensitiveDataOrigin is clear: the key was made outside the TPM"},
		{attrRestricted, true, "restricted is clear: the key decrypts for anyone"},
		{attrDecrypt, true, "decrypt is clear"},
		{attrSign, false, "sign is set"},
		{attrX509Sign, false, "x509sign is set"},
		{attrEncryptedDuplication, false, "encryptedDuplication is set, which a key that cannot leave its TPM cannot have"},
	} {
		if p.attributes&row.attribute != 0 != row.set {
			return nil, fmt.Errorf("EK: %s: %w", row.fault, ErrEK)
		}
	}
	if p.scheme != algNull || p.aesBits == 0 {
		return nil, fmt.Errorf("EK: wants AES for what it protects and no scheme of its own: %w", ErrEK)
	}
	spki, err := x509.MarshalPKIXPublicKey(p.key)
	if err != nil {
		return nil, fmt.Errorf("EK: %w: %w", ErrEK, err)
	}
	return &EK{
		Raw: tpmtPublic, Public: p.key, Name: nameOf(p.nameAlg, tpmtPublic),
		KeyDigest: sha256.Sum256(spki), nameAlg: p.nameAlg,
	}, nil
}

// certifiedBy reports whether a certificate is for the EK's key.
func (k *EK) certifiedBy(c *x509.Certificate) bool {
	pub, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(c.PublicKey)
}
