package quote

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"
)

// An AK is the public part of an attestation key: a restricted signing key,
// which signs nothing that begins like a TPM's own statement unless the TPM
// made it.
type AK struct {
	Raw     []byte // TPMT_PUBLIC
	Public  crypto.PublicKey
	Name    []byte // nameAlg and digest of Raw
	Scheme  uint16 // TPM_ALG_ID: ECDSA, RSASSA, RSAPSS
	HashAlg uint16 // TPM_ALG_ID of the scheme's hash

	nameAlg uint16
}

// A Hierarchy is a TPM_RH_ handle under which a primary key can stand.
type Hierarchy uint32

// The hierarchies (TPM 2.0 Part 2, section 7.4).
const (
	Owner       Hierarchy = 0x40000001
	Null        Hierarchy = 0x40000007
	Endorsement Hierarchy = 0x4000000b
	Platform    Hierarchy = 0x4000000c
)

// ParseAK reads an AK's TPMT_PUBLIC. The error is ErrMalformed, or
// ErrAttributes for a key that is well-formed and no attestation key.
func ParseAK(tpmtPublic []byte) (*AK, error) {
	p, err := parsePublic(tpmtPublic)
	if err != nil {
		return nil, err
	}
	a := p.ObjectAttributes
	for _, want := range []struct {
		ok   bool
		what string
	}{
		{a.FixedTPM, "fixedTPM is clear: the key can leave its TPM"},
		{a.FixedParent, "fixedParent is clear: the key can be given another parent"},
		{a.SensitiveDataOrigin, "sensitiveDataOrigin is clear: the key was made outside the TPM"},
		{a.Restricted, "restricted is clear: the key signs what its owner likes"},
		{a.SignEncrypt, "sign is clear"},
		{!a.Decrypt, "decrypt is set"},
	} {
		if !want.ok {
			return nil, fmt.Errorf("AK: %s: %w", want.what, ErrAttributes)
		}
	}
	k := &AK{Raw: tpmtPublic, nameAlg: uint16(p.NameAlg)}
	if k.Name, err = nameOf(k.nameAlg, tpmtPublic); err != nil {
		return nil, err
	}
	if k.Public, err = publicKey(p); err != nil {
		return nil, err
	}
	if k.Scheme, k.HashAlg, err = schemeOf(p); err != nil {
		return nil, err
	}
	if hashOf(k.HashAlg) == 0 {
		return nil, fmt.Errorf("AK: hash %04x of its scheme, want SHA-256, SHA-384 or SHA-512: %w", k.HashAlg, ErrAttributes)
	}
	return k, nil
}

// schemeOf returns the scheme that is fixed in the key, as it must be in a
// restricted one (TPM 2.0 Part 1, section 25).
func schemeOf(p *tpm2.TPMTPublic) (scheme, hash uint16, err error) {
	none := fmt.Errorf("AK: no signature scheme of its own: %w", ErrAttributes)
	if p.Type == tpm2.TPMAlgECC {
		parms, err := p.Parameters.ECCDetail()
		if err != nil || parms.Scheme.Scheme != tpm2.TPMAlgECDSA {
			return 0, 0, none
		}
		s, err := parms.Scheme.Details.ECDSA()
		if err != nil {
			return 0, 0, none
		}
		return algECDSA, uint16(s.HashAlg), nil
	}
	parms, err := p.Parameters.RSADetail()
	if err != nil {
		return 0, 0, none
	}
	switch parms.Scheme.Scheme {
	case tpm2.TPMAlgRSASSA:
		if s, err := parms.Scheme.Details.RSASSA(); err == nil {
			return algRSASSA, uint16(s.HashAlg), nil
		}
	case tpm2.TPMAlgRSAPSS:
		if s, err := parms.Scheme.Details.RSAPSS(); err == nil {
			return algRSAPSS, uint16(s.HashAlg), nil
		}
	}
	return 0, 0, none
}

// QualifiedName returns what qualifiedSigner is in quotes of the key if it is a
// primary key of the hierarchy (TPM 2.0 Part 1, section 16). Under Endorsement
// and Platform the TPM reports its counters as they are; under the others it
// adds an offset of the key's (Part 1, section 36.7).
func (k *AK) QualifiedName(h Hierarchy) []byte {
	d := hashOf(k.nameAlg).New()
	d.Write(binary.BigEndian.AppendUint32(nil, uint32(h)))
	d.Write(k.Name)
	return d.Sum(binary.BigEndian.AppendUint16(nil, k.nameAlg))
}

// Verify reads a TPMS_ATTEST and a TPMT_SIGNATURE and checks that the key made
// the signature, in its own scheme. Nonce, signer and registers are the
// caller's to judge. The error is ErrMalformed, ErrScheme or ErrSignature.
func (k *AK) Verify(attest, signature []byte) (*Quote, error) {
	q, err := Parse(attest)
	if err != nil {
		return nil, err
	}
	s, err := ParseSignature(signature)
	if err != nil {
		return nil, err
	}
	if s.Scheme != k.Scheme || s.Hash != k.HashAlg {
		return nil, fmt.Errorf("signed with scheme %04x and hash %04x, the AK has %04x and %04x: %w", s.Scheme, s.Hash, k.Scheme, k.HashAlg, ErrScheme)
	}
	h := hashOf(k.HashAlg)
	d := h.New()
	d.Write(attest)
	if !k.verify(h, d.Sum(nil), s) {
		return nil, fmt.Errorf("quote: %w", ErrSignature)
	}
	return q, nil
}

func (k *AK) verify(h crypto.Hash, digest []byte, s *Signature) bool {
	switch pub := k.Public.(type) {
	case *ecdsa.PublicKey:
		return len(s.R) <= MaxPublic && ecdsa.Verify(pub, digest, new(big.Int).SetBytes(s.R), new(big.Int).SetBytes(s.S))
	case *rsa.PublicKey:
		if s.Scheme == algRSAPSS {
			return rsa.VerifyPSS(pub, h, digest, s.RSA, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) == nil
		}
		return rsa.VerifyPKCS1v15(pub, h, digest, s.RSA) == nil
	}
	return false
}
