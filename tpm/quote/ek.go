package quote

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// An EK is the public part of an endorsement key: a restricted decryption key
// that a TPM's vendor certifies (TCG EK Credential Profile).
type EK struct {
	Raw    []byte // TPMT_PUBLIC
	Public crypto.PublicKey
	Name   []byte // nameAlg and digest of Raw

	area *tpm2.TPMTPublic
}

// ParseEK reads an EK's TPMT_PUBLIC. The error is ErrMalformed or ErrEK.
func ParseEK(tpmtPublic []byte) (*EK, error) {
	p, err := parsePublic(tpmtPublic)
	if err != nil {
		return nil, err
	}
	a := p.ObjectAttributes
	if !a.FixedTPM || !a.FixedParent || !a.SensitiveDataOrigin || !a.Restricted || !a.Decrypt || a.SignEncrypt {
		return nil, fmt.Errorf("EK: want a restricted decryption key that was made in its TPM and cannot leave it: %w", ErrEK)
	}
	k := &EK{Raw: tpmtPublic, area: p}
	if k.Name, err = nameOf(uint16(p.NameAlg), tpmtPublic); err != nil {
		return nil, err
	}
	if k.Public, err = publicKey(p); err != nil {
		return nil, err
	}
	return k, nil
}

// TrimCertificate takes off the bytes that a TPM's NV index has after a
// certificate.
func TrimCertificate(der []byte) ([]byte, error) {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(der, &v)
	if err != nil {
		return nil, fmt.Errorf("EK certificate: %w", err)
	}
	return der[:len(der)-len(rest)], nil
}

// Object identifiers of the TCG EK Credential Profile.
var (
	oidSubjectAltName      = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidSubjectDirAttrs     = asn1.ObjectIdentifier{2, 5, 29, 9}
	oidTCGKpEKCertificate  = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	ekCriticalExtensionsOK = []asn1.ObjectIdentifier{oidSubjectAltName, oidSubjectDirAttrs}
)

// VerifyEKChain checks that the first of the certificates, in DER, is for the
// EK, and that the others lead from it to one of the roots, all of them valid at
// the given time. Errors are ErrChain.
func VerifyEKChain(ek *EK, chain [][]byte, roots *x509.CertPool, at time.Time) error {
	if len(chain) == 0 {
		return fmt.Errorf("no certificate: %w", ErrChain)
	}
	var certs []*x509.Certificate
	for i, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("certificate %d: %v: %w", i, err, ErrChain)
		}
		certs = append(certs, c)
	}
	leaf := certs[0]
	if !samePublic(leaf.PublicKey, ek.Public) {
		return fmt.Errorf("the certificate is for another key than the EK: %w", ErrChain)
	}
	if err := checkEKUsage(leaf); err != nil {
		return err
	}
	// The subject alternative name, critical since the subject is empty, is a
	// directory name with the TPM's maker and model, which crypto/x509 does not
	// read; it names no host that would have to be checked.
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), func(id asn1.ObjectIdentifier) bool {
		return slices.ContainsFunc(ekCriticalExtensionsOK, id.Equal)
	})
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("%v: %w", err, ErrChain)
	}
	return nil
}

// checkEKUsage: the key may be used as an EK (EK Credential Profile, section 3).
func checkEKUsage(c *x509.Certificate) error {
	if c.IsCA {
		return fmt.Errorf("the EK's certificate is a CA's: %w", ErrChain)
	}
	usage := x509.KeyUsageKeyEncipherment
	if _, ecc := c.PublicKey.(*ecdsa.PublicKey); ecc {
		usage = x509.KeyUsageKeyAgreement
	}
	if c.KeyUsage != 0 && c.KeyUsage&usage == 0 {
		return fmt.Errorf("the certificate's key usage is not an EK's: %w", ErrChain)
	}
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 && !slices.ContainsFunc(c.UnknownExtKeyUsage, oidTCGKpEKCertificate.Equal) {
		return fmt.Errorf("the certificate's extended key usage is not tcg-kp-EKCertificate: %w", ErrChain)
	}
	return nil
}

func samePublic(a, b crypto.PublicKey) bool {
	switch a := a.(type) {
	case *rsa.PublicKey:
		return a.Equal(b)
	case *ecdsa.PublicKey:
		return a.Equal(b)
	}
	return false
}

// MakeCredential does what TPM2_MakeCredential does, without a TPM: it wraps a
// secret so that only a TPM which holds both the EK and a key of the given name
// can open it (TPM 2.0 Part 1, section 24). It returns a TPM2B_ID_OBJECT and a
// TPM2B_ENCRYPTED_SECRET. The secret has at most the size of the EK's name hash.
func MakeCredential(rand io.Reader, ek *EK, akName, secret []byte) (idObject, encryptedSecret []byte, err error) {
	if len(secret) == 0 || len(secret) > hashOf(uint16(ek.area.NameAlg)).Size() {
		return nil, nil, fmt.Errorf("make credential: secret of %d bytes, want 1 to %d", len(secret), hashOf(uint16(ek.area.NameAlg)).Size())
	}
	to, err := tpm2.ImportEncapsulationKey(ek.area)
	if err != nil {
		return nil, nil, fmt.Errorf("make credential: %w", err)
	}
	id, enc, err := tpm2.CreateCredential(rand, to, bytes.Clone(akName), secret)
	if err != nil {
		return nil, nil, fmt.Errorf("make credential: %w", err)
	}
	return tpm2.Marshal(tpm2.TPM2BIDObject{Buffer: id}), tpm2.Marshal(tpm2.TPM2BEncryptedSecret{Buffer: enc}), nil
}
