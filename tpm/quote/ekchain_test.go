package quote

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func vendor(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(readFile(t, recordings+name))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEKChain(t *testing.T) {
	root, between := vendor(t, "tpm-vendor-root.pem"), vendor(t, "tpm-vendor-intermediate.pem")
	roots := x509.NewCertPool()
	roots.AddCert(root)
	dirs, err := filepath.Glob(recordings + "*/identity")
	deeper, _ := filepath.Glob(recordings + "*/*/identity")
	if dirs = append(dirs, deeper...); err != nil || len(dirs) < 5 {
		t.Fatalf("%d identities, %v", len(dirs), err)
	}
	var other *EK
	for _, dir := range dirs {
		der := readFile(t, dir+"/ek.crt.der")
		ek, err := ParseEK(readFile(t, dir+"/ek.tpmt_public"))
		if err != nil {
			t.Fatal(err)
		}
		padded := append(bytes.Clone(der), make([]byte, 40)...)
		if got, err := TrimCertificate(padded); err != nil || !bytes.Equal(got, der[:len(got)]) {
			t.Errorf("%s: trimmed to %d of %d bytes, %v", dir, len(got), len(der), err)
		}
		padded[len(padded)-7] = 1
		if _, err := TrimCertificate(padded); !errors.Is(err, ErrChain) {
			t.Errorf("%s: what is no padding is trimmed: %v", dir, err)
		}
		if der, err = TrimCertificate(der); err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		at := leaf.NotBefore
		chain := [][]byte{der, between.Raw}
		if err := VerifyEKChain(ek, chain, roots, at); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
		refused := func(what string, err error) {
			if !errors.Is(err, ErrChain) {
				t.Errorf("%s: %s: %v", dir, what, err)
			}
		}
		refused("no intermediate", VerifyEKChain(ek, chain[:1], roots, at))
		refused("no certificate", VerifyEKChain(ek, nil, roots, at))
		refused("no root", VerifyEKChain(ek, chain, x509.NewCertPool(), at))
		refused("before it holds", VerifyEKChain(ek, chain, roots, at.Add(-time.Hour)))
		refused("after it holds", VerifyEKChain(ek, chain, roots, between.NotAfter.AddDate(5000, 0, 0)))
		if other != nil && other.KeyDigest != ek.KeyDigest {
			refused("another TPM's EK", VerifyEKChain(other, chain, roots, at))
		}
		altered := bytes.Clone(der)
		altered[len(altered)-1] ^= 1
		refused("signature altered", VerifyEKChain(ek, [][]byte{altered, between.Raw}, roots, at))
		refused("a CA's certificate", VerifyEKChain(ek, [][]byte{between.Raw}, roots, at))
		other = ek
	}
}

// A vendorCA signs EK certificates of all sorts.
type vendorCA struct {
	cert  *x509.Certificate
	key   crypto.Signer
	roots *x509.CertPool
}

var made = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

func newVendorCA(t *testing.T) *vendorCA {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "maker"}, NotBefore: made, NotAfter: made.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca := &vendorCA{key: key, roots: x509.NewCertPool()}
	ca.cert = ca.issue(t, template, template, key.Public())
	ca.roots.AddCert(ca.cert)
	return ca
}

func (ca *vendorCA) issue(t *testing.T, template, parent *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// directoryNames is a critical subject alternative name with one directory name
// of the given attributes.
func directoryNames(t *testing.T, tag int, attributes ...asn1.ObjectIdentifier) pkix.Extension {
	t.Helper()
	var name pkix.RDNSequence
	for _, id := range attributes {
		name = append(name, pkix.RelativeDistinguishedNameSET{{Type: id, Value: "id:00001014"}})
	}
	inner, err := asn1.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	value, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: inner}})
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: oidSubjectAltName, Critical: true, Value: value}
}

// followed has bytes after the one name of an alternative name, in its place.
func followed(t *testing.T, e pkix.Extension) pkix.Extension {
	t.Helper()
	var names []asn1.RawValue
	if _, err := asn1.Unmarshal(e.Value, &names); err != nil {
		t.Fatal(err)
	}
	names[0].FullBytes, names[0].Bytes = nil, append(bytes.Clone(names[0].Bytes), 5, 0)
	value, err := asn1.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	e.Value = value
	return e
}

// twice has the one name of an alternative name two times.
func twice(t *testing.T, e pkix.Extension) pkix.Extension {
	t.Helper()
	var names []asn1.RawValue
	if _, err := asn1.Unmarshal(e.Value, &names); err != nil {
		t.Fatal(err)
	}
	value, err := asn1.Marshal(append(names, names[0]))
	if err != nil {
		t.Fatal(err)
	}
	e.Value = value
	return e
}

// TestEKProfile: what a vendor may write into an EK's certificate, and what a
// certificate that is not an EK's has.
func TestEKProfile(t *testing.T) {
	ca := newVendorCA(t)
	ek, err := ParseEK(softEK(t))
	if err != nil {
		t.Fatal(err)
	}
	tpm := directoryNames(t, 4, oidTPMManufacturer, oidTPMModel, oidTPMVersion)
	directory := pkix.Extension{Id: oidSubjectDirAttrs, Critical: true, Value: []byte{0x30, 0}}
	for _, row := range []struct {
		name       string
		usage      x509.KeyUsage
		extended   []asn1.ObjectIdentifier
		server     bool
		extensions []pkix.Extension
		ca         bool
		want       bool
	}{
		{name: "bare", want: true},
		{name: "as the profile has it", usage: x509.KeyUsageKeyAgreement, extended: []asn1.ObjectIdentifier{oidTCGKpEKCertificate}, extensions: []pkix.Extension{tpm, directory}, want: true},
		{name: "for encipherment, on a curve", usage: x509.KeyUsageKeyEncipherment},
		{name: "for signatures", usage: x509.KeyUsageDigitalSignature},
		{name: "a server's", server: true},
		{name: "a server's and an EK's", server: true, extended: []asn1.ObjectIdentifier{oidTCGKpEKCertificate}, want: true},
		{name: "another extended usage", extended: []asn1.ObjectIdentifier{{2, 23, 133, 8, 3}}},
		{name: "a CA's", ca: true},
		{name: "alternative name of two TPMs", extensions: []pkix.Extension{twice(t, tpm)}},
		{name: "alternative name with more behind it", extensions: []pkix.Extension{followed(t, tpm)}},
		{name: "alternative name without a version", extensions: []pkix.Extension{directoryNames(t, 4, oidTPMManufacturer, oidTPMModel)}},
		{name: "alternative name of another kind", extensions: []pkix.Extension{directoryNames(t, 5, oidTPMManufacturer, oidTPMModel, oidTPMVersion)}},
		{name: "alternative name that is no ASN.1", extensions: []pkix.Extension{{Id: oidSubjectAltName, Critical: true, Value: []byte{0x30, 2, 0xa4, 0}}}},
		{name: "unknown critical extension", extensions: []pkix.Extension{tpm, {Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}},
	} {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(2), NotBefore: made, NotAfter: made.AddDate(10, 0, 0),
			KeyUsage: row.usage, UnknownExtKeyUsage: row.extended, ExtraExtensions: row.extensions,
		}
		template.IsCA, template.BasicConstraintsValid = row.ca, row.ca
		if row.server {
			template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}
		c := ca.issue(t, template, ca.cert, ek.Public)
		err := VerifyEKChain(ek, [][]byte{c.Raw}, ca.roots, made)
		if row.want != (err == nil) || err != nil && !errors.Is(err, ErrChain) {
			t.Errorf("%s: %v, want it accepted: %v", row.name, err, row.want)
		}
		// crypto/x509's own word stays with the error.
		var unknown x509.UnknownAuthorityError
		if err := VerifyEKChain(ek, [][]byte{c.Raw}, x509.NewCertPool(), made); row.want && !errors.As(err, &unknown) {
			t.Errorf("%s: no root: %v", row.name, err)
		}
	}
}

func TestChainLimits(t *testing.T) {
	ca := newVendorCA(t)
	ek, err := ParseEK(softEK(t))
	if err != nil {
		t.Fatal(err)
	}
	c := ca.issue(t, &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: made, NotAfter: made.AddDate(1, 0, 0)}, ca.cert, ek.Public)
	chain := [][]byte{c.Raw}
	for len(chain) < MaxChain {
		chain = append(chain, ca.cert.Raw)
	}
	if err := VerifyEKChain(ek, chain, ca.roots, made); err != nil {
		t.Errorf("%d certificates: %v", len(chain), err)
	}
	if err := VerifyEKChain(ek, append(chain, ca.cert.Raw), ca.roots, made); !errors.Is(err, ErrChain) {
		t.Errorf("%d certificates: %v", len(chain)+1, err)
	}
	if err := VerifyEKChain(ek, [][]byte{c.Raw, make([]byte, MaxCertificate+1)}, ca.roots, made); !errors.Is(err, ErrChain) || !strings.Contains(err.Error(), "at most 16384") {
		t.Errorf("a certificate over the limit: %v", err)
	}
}
