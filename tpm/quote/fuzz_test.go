package quote

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, r := range recordedQuotes(f)[:3] {
		f.Add(r.attest)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := Parse(b)
		if err == nil && !bytes.Equal(encode(q), b) {
			t.Fatalf("re-encodes to %x", encode(q))
		}
	})
}

// encode writes a quote as a TPM does, from its fields.
func encode(q *Quote) []byte {
	be := binary.BigEndian
	sized := func(b, v []byte) []byte { return append(be.AppendUint16(b, uint16(len(v))), v...) }
	b := be.AppendUint16(be.AppendUint32(nil, generatedValue), attestQuote)
	b = be.AppendUint64(sized(sized(b, q.QualifiedSigner), q.ExtraData), q.Clock)
	b = be.AppendUint32(be.AppendUint32(b, q.ResetCount), q.RestartCount)
	safe := byte(0)
	if q.Safe {
		safe = 1
	}
	b = be.AppendUint64(append(b, safe), q.FirmwareVersion)
	b = be.AppendUint32(b, uint32(len(q.Selection)))
	for _, s := range q.Selection {
		var mask [3]byte
		for _, pcr := range s.PCRs {
			mask[pcr/8] |= 1 << (pcr % 8)
		}
		b = append(append(be.AppendUint16(b, s.Bank), 3), mask[:]...)
	}
	return sized(b, q.PCRDigest)
}

// be appends integers and TPM2Bs in the order and form of a TPM.
func be(b []byte, fields ...any) []byte {
	for _, f := range fields {
		switch f := f.(type) {
		case int:
			b = binary.BigEndian.AppendUint16(b, uint16(f))
		case uint16:
			b = binary.BigEndian.AppendUint16(b, f)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, f)
		case []byte:
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(f))), f...)
		}
	}
	return b
}

func encodeSignature(s *Signature) []byte {
	if s.Scheme == algECDSA {
		return be(nil, s.Scheme, s.Hash, s.R, s.S)
	}
	return be(nil, s.Scheme, s.Hash, s.RSA)
}

func FuzzSignature(f *testing.F) {
	for _, r := range recordedQuotes(f)[:3] {
		f.Add(r.signature)
	}
	f.Add(be(nil, algRSASSA, algSHA256, make([]byte, 256)))
	f.Add(be(nil, algRSAPSS, algSHA512, make([]byte, 512)))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSignature(b)
		if err == nil && !bytes.Equal(encodeSignature(s), b) {
			t.Fatalf("re-encodes to %x", encodeSignature(s))
		}
	})
}

// encodePublic writes a public area as a TPM does, from its fields.
func encodePublic(p *public) []byte {
	b := be(nil, p.typ, p.nameAlg, p.attributes, p.authPolicy)
	if p.aesBits == 0 {
		b = be(b, algNull)
	} else {
		b = be(b, algAES, p.aesBits, algCFB)
	}
	if b = be(b, p.scheme); p.scheme != algNull {
		b = be(b, p.hash)
	}
	if p.typ == algECC {
		return be(b, p.curve, algNull, p.x, p.y)
	}
	return be(b, p.keyBits, p.exponent, p.modulus)
}

func fuzzPublic(t *testing.T, b []byte) {
	p, err := parsePublic(b, ErrAttributes)
	if err == nil && !bytes.Equal(encodePublic(p), b) {
		t.Fatalf("re-encodes to %x", encodePublic(p))
	}
}

func FuzzAK(f *testing.F) {
	r := recordedQuotes(f)[0]
	f.Add(r.ak)
	f.Add(softRSA(algRSASSA, 2048, 0))
	f.Add(softRSA(algRSAPSS, 4096, 65537))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzPublic(t, b)
		ak, err := ParseAK(b)
		if err != nil {
			return
		}
		if !isName(ak.Name) || !isName(ak.QualifiedName(Endorsement)) {
			t.Fatal("an AK without a name")
		}
		if _, err := ak.Verify(r.attest, r.signature); err == nil && !bytes.Equal(b, r.ak) {
			if mustQuote(t, r.attest).CheckSigner(ak) == nil {
				t.Fatal("a quote of two AKs")
			}
		}
	})
}

func FuzzEK(f *testing.F) {
	f.Add(readFile(f, recordings+"big-7.3/identity/ek.tpmt_public"))
	f.Add(softEK(f))
	name := mustAK(f, recordedQuotes(f)[0].ak).Name
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzPublic(t, b)
		ek, err := ParseEK(b)
		if err != nil {
			return
		}
		// Every EK that parses can be given a credential.
		if _, _, err := MakeCredential(zeros{}, ek, name, make([]byte, 32)); err != nil {
			t.Fatal(err)
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
