package quote

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"
	"math/big"
)

// An AK is the public part of an attestation key: a restricted signing key,
// which signs nothing that begins like a TPM's own statement unless the TPM
// made it.
type AK struct {
	Raw     []byte           // TPMT_PUBLIC
	Public  crypto.PublicKey // *ecdsa.PublicKey or *rsa.PublicKey
	Name    []byte           // nameAlg and digest of Raw
	Scheme  uint16           // TPM_ALG_ID: ECDSA, RSASSA, RSAPSS
	HashAlg uint16           // TPM_ALG_ID of the scheme's hash
	Hash    crypto.Hash      // the same

	nameAlg  uint16
	endorsed []byte // QualifiedName(Endorsement)
}

// ParseAK reads an AK's TPMT_PUBLIC. The error is a *SyntaxError, or
// ErrAttributes for a key that is well-formed and no attestation key that is
// used here: ECDSA on NIST P-256 or P-384, RSASSA or RSAPSS of 2048, 3072 or
// 4096 bits, with SHA-256, SHA-384 or SHA-512.
func ParseAK(tpmtPublic []byte) (*AK, error) {
	p, err := parsePublic(tpmtPublic, ErrAttributes)
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
		{attrRestricted, true, "restricted is clear: the key signs what its owner likes"},
		{attrSign, true, "sign is clear"},
		{attrDecrypt, false, "decrypt is set"},
		{attrX509Sign, false, "x509sign is set: the key signs certificates, not quotes"},
		{attrEncryptedDuplication, false, "encryptedDuplication is set, which a key that cannot leave its TPM cannot have"},
	} {
		if p.attributes&row.attribute != 0 != row.set {
			return nil, fmt.Errorf("AK: %s: %w", row.fault, ErrAttributes)
		}
	}
	// A restricted key has its scheme in itself (TPM 2.0 Part 2, section
	// 12.2.3.5), so a signature in another is not the TPM's.
	if hashOf(p.hash) == 0 { // 0 where there is no scheme
		return nil, fmt.Errorf("AK: scheme is %s with %s, want ECDSA, RSASSA or RSAPSS with SHA-256, SHA-384 or SHA-512: %w",
			algorithm(p.scheme), algorithm(p.hash), ErrAttributes)
	}
	if p.aesBits != 0 {
		return nil, fmt.Errorf("AK: has a symmetric cipher, as keys that protect others do: %w", ErrAttributes)
	}
	k := &AK{
		Raw: tpmtPublic, Public: p.key, Name: nameOf(p.nameAlg, tpmtPublic),
		Scheme: p.scheme, HashAlg: p.hash, Hash: hashOf(p.hash), nameAlg: p.nameAlg,
	}
	k.endorsed = k.QualifiedName(Endorsement)
	return k, nil
}

// Verify reads a TPMS_ATTEST and a TPMT_SIGNATURE and checks that the key made
// the signature, in its own scheme. Nonce, signer and registers are the
// caller's to judge. The error is a *SyntaxError, ErrScheme or ErrSignature.
func (k *AK) Verify(attest, signature []byte) (*Quote, error) {
	// SPEC: Each structure is of the one form that a TPM gives it.
	q, err := Parse(attest)
	if err != nil {
		return nil, err
	}
	s, err := ParseSignature(signature)
	if err != nil {
		return nil, err
	}
	// SPEC: The signature is in the scheme and hash that the AK's public area
	// fixes.
	if s.Scheme != k.Scheme || s.Hash != k.HashAlg {
		return nil, fmt.Errorf("quote: signed by %s with %s, the AK's own are %s with %s: %w",
			algorithm(s.Scheme), algorithm(s.Hash), algorithm(k.Scheme), algorithm(k.HashAlg), ErrScheme)
	}
	// SPEC: The AK made the signature, over the attest's bytes as received.
	d := k.Hash.New()
	d.Write(attest)
	if !k.signed(d.Sum(nil), s) {
		return nil, fmt.Errorf("quote: %w", ErrSignature)
	}
	// SPEC: pcrDigest is by the same hash.
	if len(q.PCRDigest) != k.Hash.Size() {
		return nil, &SyntaxError{"TPMS_ATTEST", fmt.Sprintf("pcrDigest has %d bytes, %s has %d", len(q.PCRDigest), k.Hash, k.Hash.Size())}
	}
	return q, nil
}

// signed checks a signature over a digest. Of the two s that an ECDSA signature
// can have, a TPM gives either.
func (k *AK) signed(digest []byte, s *Signature) bool {
	switch pub := k.Public.(type) {
	case *ecdsa.PublicKey:
		size := (pub.Params().BitSize + 7) / 8
		return len(s.R) <= size && len(s.S) <= size &&
			ecdsa.Verify(pub, digest, new(big.Int).SetBytes(s.R), new(big.Int).SetBytes(s.S))
	case *rsa.PublicKey:
		if len(s.RSA) != pub.Size() {
			return false
		}
		if s.Scheme == algRSAPSS {
			// The salt is as long as the hash or as the key allows, as the TPM likes.
			return rsa.VerifyPSS(pub, k.Hash, digest, s.RSA, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) == nil
		}
		return rsa.VerifyPKCS1v15(pub, k.Hash, digest, s.RSA) == nil
	}
	return false
}
