package quote

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Limits of an EK's certificates.
const (
	// MaxChain bounds the certificates; vendors have two or three below a root.
	MaxChain = 8
	// MaxCertificate bounds one in bytes; an NV index holds about 2 KiB.
	MaxCertificate = 16 << 10
)

// Object identifiers of X.509 and of the TCG EK Credential Profile, section 3.
var (
	oidSubjectDirAttrs    = asn1.ObjectIdentifier{2, 5, 29, 9}
	oidKeyUsage           = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSubjectAltName     = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidTCGKpEKCertificate = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	oidTPMManufacturer    = asn1.ObjectIdentifier{2, 23, 133, 2, 1}
	oidTPMModel           = asn1.ObjectIdentifier{2, 23, 133, 2, 2}
	oidTPMVersion         = asn1.ObjectIdentifier{2, 23, 133, 2, 3}
)

// TrimCertificate takes off the bytes that a TPM's NV index has after a
// certificate, which are all 00 or all ff. The error is ErrChain.
func TrimCertificate(der []byte) ([]byte, error) {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(der, &v)
	if err != nil {
		return nil, fmt.Errorf("EK certificate: %w: %w", ErrChain, err)
	}
	if len(bytes.Trim(rest, "\x00")) != 0 && len(bytes.Trim(rest, "\xff")) != 0 {
		return nil, fmt.Errorf("EK certificate: what follows it is not the padding of an NV index: %w", ErrChain)
	}
	return der[:len(der)-len(rest)], nil
}

// VerifyEKChain checks that the first of the certificates, in DER, is for the
// EK, and that the others lead from it to one of the roots, all of them valid at
// the given time. Nothing is fetched, and no revocation list is asked. Errors
// are ErrChain; crypto/x509's are wrapped beside it.
func VerifyEKChain(ek *EK, chain [][]byte, roots *x509.CertPool, at time.Time) error {
	certs, err := parseChain(chain)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrChain, err)
	}
	leaf := certs[0]
	if !ek.certifiedBy(leaf) {
		return fmt.Errorf("the certificate is for another key than the EK: %w", ErrChain)
	}
	if err := checkEKUsage(leaf); err != nil {
		return fmt.Errorf("%w: %w", ErrChain, err)
	}
	if err := handleExtensions(leaf); err != nil {
		return fmt.Errorf("%w: %w", ErrChain, err)
	}
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrChain, err)
	}
	return nil
}

func parseChain(chain [][]byte) ([]*x509.Certificate, error) {
	if len(chain) < 1 || len(chain) > MaxChain {
		return nil, fmt.Errorf("%d certificates, want 1 to %d", len(chain), MaxChain)
	}
	var certs []*x509.Certificate
	for i, der := range chain {
		if len(der) > MaxCertificate {
			return nil, fmt.Errorf("certificate %d: %d bytes, at most %d", i, len(der), MaxCertificate)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i, err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// checkEKUsage: where the certificate says what the key is for, it is an EK's
// use. Each part is optional in the profile.
func checkEKUsage(c *x509.Certificate) error {
	if c.IsCA {
		return errors.New("the certificate is a CA's, not an EK's")
	}
	usage, name := x509.KeyUsageKeyEncipherment, "keyEncipherment"
	if _, ecc := c.PublicKey.(*ecdsa.PublicKey); ecc {
		usage, name = x509.KeyUsageKeyAgreement, "keyAgreement"
	}
	stated := slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidKeyUsage) })
	if stated && c.KeyUsage&usage == 0 {
		return fmt.Errorf("the certificate's key usage lacks %s", name)
	}
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 && !slices.ContainsFunc(c.UnknownExtKeyUsage, oidTCGKpEKCertificate.Equal) {
		return errors.New("the certificate's extended key usage lacks tcg-kp-EKCertificate")
	}
	return nil
}

// handleExtensions strikes from the certificate's unhandled critical extensions
// those that the profile defines and crypto/x509 does not read. Subject
// directory attributes state which TPM specification the maker followed, and
// restrict nothing. The alternative name, critical where the subject is empty,
// is a directory name with the TPM's maker, model and version.
func handleExtensions(c *x509.Certificate) error {
	var left []asn1.ObjectIdentifier
	for _, id := range c.UnhandledCriticalExtensions {
		switch {
		case id.Equal(oidSubjectDirAttrs):
		case id.Equal(oidSubjectAltName):
			if !namesTPM(c) {
				return errors.New("the certificate's alternative name is not a TPM's")
			}
		default:
			left = append(left, id)
		}
	}
	c.UnhandledCriticalExtensions = left
	return nil
}

// namesTPM reports whether the alternative name is one directory name with a
// TPM's manufacturer, model and version, and nothing else.
func namesTPM(c *x509.Certificate) bool {
	i := slices.IndexFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidSubjectAltName) })
	var names []asn1.RawValue // GeneralNames (RFC 5280, section 4.2.1.6)
	rest, err := asn1.Unmarshal(c.Extensions[i].Value, &names)
	const directoryName = 4
	if err != nil || len(rest) > 0 || len(names) != 1 || names[0].Class != asn1.ClassContextSpecific || names[0].Tag != directoryName {
		return false
	}
	var name pkix.RDNSequence
	if rest, err = asn1.Unmarshal(names[0].Bytes, &name); err != nil || len(rest) > 0 {
		return false
	}
	for _, want := range []asn1.ObjectIdentifier{oidTPMManufacturer, oidTPMModel, oidTPMVersion} {
		if !slices.ContainsFunc(name, func(set pkix.RelativeDistinguishedNameSET) bool {
			return slices.ContainsFunc(set, func(a pkix.AttributeTypeAndValue) bool { return a.Type.Equal(want) })
		}) {
			return false
		}
	}
	return true
}
