//go:build web

package audit_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// authorities are keys that sign certificates, of each kind that a vendor may have.
func authorities(t testing.TB) []crypto.Signer {
	random := rand.NewChaCha8([32]byte(seed("authorities")))
	var keys []crypto.Signer
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(c, random)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	k, err := rsa.GenerateKey(random, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return append(keys, k, ed25519.NewKeyFromSeed(seed("authority")))
}

// endorsement makes an EK's public area of one of the keys.
func (m *mutator) endorsement(k *fuzzKey) []byte {
	public := []byte{0, 1, 0, 0x0b, 0, 3, 0, 0xb2, 0, 0, 0, 6, 0, 128, 0, 0x43, 0, 0x10}
	switch key := k.key.Public().(type) {
	case *rsa.PublicKey:
		public = append(public, 8, 0, 0, 0, 0, 0, 1, 0)
		return append(public, key.N.FillBytes(make([]byte, 256))...)
	case *ecdsa.PublicKey:
		size := (key.Params().BitSize + 7) / 8
		public[1] = 0x23
		public = append(public, 0, byte(2+size/16-1), 0, 0x10)
		point, err := key.Bytes()
		if err != nil {
			m.t.Fatal(err)
		}
		for _, v := range [][]byte{point[1 : 1+size], point[1+size:]} {
			public = append(append(public, 0, byte(size)), v...)
		}
	}
	return public
}

// template draws a certificate: mostly what a CA or an EK should have, and
// sometimes what it should not.
func (m *mutator) template(name, issuer string, ca bool) *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(int64(m.rand.IntN(1 << 30))), Subject: pkix.Name{CommonName: name}, Issuer: pkix.Name{CommonName: issuer},
		NotBefore: time.Unix(1_700_000_000+int64(m.rand.IntN(3))*86400, 0), NotAfter: time.Unix(1_900_000_000, 0),
		BasicConstraintsValid: !m.oneIn(12), IsCA: ca != m.oneIn(12), MaxPathLen: -1,
	}
	if !t.BasicConstraintsValid {
		t.IsCA = false
	}
	if ca {
		t.KeyUsage = x509.KeyUsageCertSign
		t.NotBefore = time.Unix(1_600_000_000, 0)
		if m.oneIn(4) {
			t.MaxPathLen, t.MaxPathLenZero = m.rand.IntN(2), true
		}
	} else if !m.oneIn(3) {
		t.KeyUsage = pick(m, []x509.KeyUsage{x509.KeyUsageKeyEncipherment, x509.KeyUsageKeyAgreement, x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement, x509.KeyUsageDigitalSignature})
	}
	if m.oneIn(10) {
		t.KeyUsage = 0
	}
	if m.oneIn(10) {
		t.NotAfter = time.Unix(1_700_000_000+int64(m.rand.IntN(3)-1), 0)
	}
	if m.oneIn(3) {
		t.UnknownExtKeyUsage = []asn1.ObjectIdentifier{pick(m, []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}, {2, 23, 133, 8, 3}})}
	}
	if m.oneIn(8) {
		id := pick(m, []asn1.ObjectIdentifier{{1, 2, 3, 4}, {2, 5, 29, 9}})
		t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: id, Critical: m.oneIn(2), Value: []byte{0x30, 0}})
	}
	if m.oneIn(6) {
		t.ExtraExtensions = append(t.ExtraExtensions, m.alternativeName())
	}
	return t
}

// alternativeName is a TPM's, or nearly.
func (m *mutator) alternativeName() pkix.Extension {
	var set pkix.RelativeDistinguishedNameSET
	for i := 1; i <= 3; i++ {
		if !m.oneIn(8) {
			set = append(set, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 23, 133, 2, i}, Value: "id:1"})
		}
	}
	name, err := asn1.Marshal(pkix.RDNSequence{set})
	if err != nil {
		m.t.Fatal(err)
	}
	names := []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: name}}
	if m.oneIn(6) {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("host.example")})
	}
	value, err := asn1.Marshal(names)
	if err != nil {
		m.t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: m.oneIn(2), Value: value}
}

// certified is a host whose enrolment rests on a chain of certificates, drawn anew.
func (m *mutator) certified() question {
	random := rand.NewChaCha8([32]byte(seed(time.Unix(int64(m.rand.Uint64()>>30), 0).String())))
	keys := []crypto.Signer{pick(m, m.authorities), pick(m, m.authorities), pick(m, m.authorities)}
	depth := 1 + m.rand.IntN(3)
	names := []string{"root", "first", "second"}
	ek := pick(m, m.keys)
	var ders [][]byte // root first
	for i := 0; i <= depth; i++ {
		name, key := "ek", ek.key
		if i < depth {
			name, key = names[i], keys[i]
		}
		issuer := max(i-1, 0)
		t := m.template(name, names[issuer], i < depth)
		parent := &x509.Certificate{Subject: pkix.Name{CommonName: names[issuer]}}
		if rsaKey, ok := keys[issuer].(*rsa.PrivateKey); ok && rsaKey != nil {
			t.SignatureAlgorithm = pick(m, []x509.SignatureAlgorithm{x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS})
		}
		signer := keys[issuer]
		if m.oneIn(20) {
			signer = keys[2]
			t.SignatureAlgorithm = 0
		}
		der, err := x509.CreateCertificate(random, t, parent, key.Public(), signer)
		if err != nil {
			return m.file()
		}
		ders = append(ders, der)
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ders[0]})
	chain := slices.Clone(ders[1:])
	slices.Reverse(chain)
	if m.oneIn(4) && len(chain) > 2 {
		chain[1], chain[2] = chain[2], chain[1]
	}
	// Bytes of a certificate that the path needs are altered, and its signature with
	// them. How strictly one is read that no path needs, nothing fixes.
	if m.oneIn(6) {
		i := m.rand.IntN(len(chain))
		chain[i] = m.bytes(chain[i])
	}
	if m.oneIn(3) {
		chain = append(chain, ders[0])
	}
	public := m.endorsement(ek)
	if m.oneIn(20) {
		public = m.endorsement(pick(m, m.keys))
	}
	return m.enrolledBy(public, chain, root)
}

// enrolledBy makes the bundle of such a host.
func (m *mutator) enrolledBy(public []byte, chain [][]byte, root []byte) question {
	w := newWorld(m.t)
	ak := m.keys[0]
	evidence := &ledger.EnrolmentEvidence{
		EKPublic: public, Certificates: chain,
		Activations: []ledger.Activation{{Credential: []byte("credential"), Secret: []byte("secret")}},
	}
	w.keep(ledger.FolderEvidence, evidence.Marshal())
	h := &host{w: w, name: "stock"}
	h.enrol(&ledger.Enrolment{
		AK: ledger.Name(ak.name), AKPublic: ak.public, Grade: ledger.GradeCertificate, EK: ekName(m.t, public), Evidence: evidence.Addendum(),
	})
	return question{"certificates of an EK", 'b', [][]byte{w.bundle(nil), []byte(w.policy), []byte(w.rules), bytes.Clone(root)}}
}
