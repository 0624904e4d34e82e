package quote

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of names and signatures
	_ "crypto/sha512"
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"
)

// MaxPublic bounds a TPMT_PUBLIC in bytes; RSA-4096 has about 570.
const MaxPublic = 1 << 10

// parsePublic reads a TPMT_PUBLIC. go-tpm's decoder is lax, so what it read is
// held to the bytes.
func parsePublic(raw []byte) (*tpm2.TPMTPublic, error) {
	if len(raw) > MaxPublic {
		return nil, fmt.Errorf("TPMT_PUBLIC: %d bytes, at most %d: %w", len(raw), MaxPublic, ErrMalformed)
	}
	p, err := tpm2.Unmarshal[tpm2.TPMTPublic](raw)
	if err != nil {
		return nil, fmt.Errorf("TPMT_PUBLIC: %v: %w", err, ErrMalformed)
	}
	if !bytes.Equal(tpm2.Marshal(p), raw) {
		return nil, fmt.Errorf("TPMT_PUBLIC: does not re-encode to the same bytes: %w", ErrMalformed)
	}
	return p, nil
}

// publicKey returns the key of a public area.
func publicKey(p *tpm2.TPMTPublic) (crypto.PublicKey, error) {
	switch p.Type {
	case tpm2.TPMAlgECC:
		return eccKey(p)
	case tpm2.TPMAlgRSA:
		return rsaKey(p)
	}
	return nil, fmt.Errorf("TPMT_PUBLIC: key type %04x, want RSA or ECC: %w", uint16(p.Type), ErrMalformed)
}

func eccKey(p *tpm2.TPMTPublic) (*ecdsa.PublicKey, error) {
	parms, err := p.Parameters.ECCDetail()
	if err != nil {
		return nil, fmt.Errorf("TPMT_PUBLIC: %v: %w", err, ErrMalformed)
	}
	point, err := p.Unique.ECC()
	if err != nil {
		return nil, fmt.Errorf("TPMT_PUBLIC: %v: %w", err, ErrMalformed)
	}
	var curve elliptic.Curve
	switch parms.CurveID {
	case tpm2.TPMECCNistP256:
		curve = elliptic.P256()
	case tpm2.TPMECCNistP384:
		curve = elliptic.P384()
	default:
		return nil, fmt.Errorf("TPMT_PUBLIC: curve %04x, want NIST P-256 or P-384: %w", uint16(parms.CurveID), ErrMalformed)
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(point.X.Buffer) > size || len(point.Y.Buffer) > size {
		return nil, fmt.Errorf("TPMT_PUBLIC: coordinate longer than the curve's %d bytes: %w", size, ErrMalformed)
	}
	// SEC 1, section 2.3.3: 04 and both coordinates in full length.
	uncompressed := make([]byte, 1+2*size)
	uncompressed[0] = 4
	copy(uncompressed[1+size-len(point.X.Buffer):], point.X.Buffer)
	copy(uncompressed[1+2*size-len(point.Y.Buffer):], point.Y.Buffer)
	k, err := ecdsa.ParseUncompressedPublicKey(curve, uncompressed)
	if err != nil {
		return nil, fmt.Errorf("TPMT_PUBLIC: point is not on the curve: %w", ErrMalformed)
	}
	return k, nil
}

func rsaKey(p *tpm2.TPMTPublic) (*rsa.PublicKey, error) {
	parms, err := p.Parameters.RSADetail()
	if err != nil {
		return nil, fmt.Errorf("TPMT_PUBLIC: %v: %w", err, ErrMalformed)
	}
	n, err := p.Unique.RSA()
	if err != nil {
		return nil, fmt.Errorf("TPMT_PUBLIC: %v: %w", err, ErrMalformed)
	}
	k := &rsa.PublicKey{N: new(big.Int).SetBytes(n.Buffer), E: int(parms.Exponent)}
	if k.E == 0 {
		k.E = 65537 // TPM 2.0 Part 2, section 12.2.3.5
	}
	if bits := int(parms.KeyBits); bits != 2048 && bits != 3072 && bits != 4096 || k.N.BitLen() != bits || len(n.Buffer) != bits/8 || k.E != 65537 {
		return nil, fmt.Errorf("TPMT_PUBLIC: RSA key of %d bits and exponent %d, want 2048, 3072 or 4096 and 65537: %w", k.N.BitLen(), k.E, ErrMalformed)
	}
	return k, nil
}

// hashOf returns the hash of a TPM_ALG_ID, 0 for one that is not used here.
func hashOf(alg uint16) crypto.Hash {
	switch alg {
	case algSHA256:
		return crypto.SHA256
	case algSHA384:
		return crypto.SHA384
	case algSHA512:
		return crypto.SHA512
	}
	return 0
}

// nameOf returns the Name of an object with the given public area: nameAlg and
// the digest of the area by it (TPM 2.0 Part 1, section 16).
func nameOf(alg uint16, raw []byte) ([]byte, error) {
	h := hashOf(alg)
	if h == 0 {
		return nil, fmt.Errorf("TPMT_PUBLIC: nameAlg %04x, want SHA-256, SHA-384 or SHA-512: %w", alg, ErrMalformed)
	}
	d := h.New()
	d.Write(raw)
	return d.Sum(binary.BigEndian.AppendUint16(nil, alg)), nil
}
