package quote

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The recordings are real quotes by swtpm; the list's package keeps them.
const recordings = "../ima/testdata/recordings/"

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type recorded struct {
	name              string
	attest, signature []byte
	ak                []byte
	nonce             []byte
}

func recordedQuotes(t testing.TB) []recorded {
	t.Helper()
	files, err := filepath.Glob(recordings + "*/*/quote.tpms_attest")
	if err != nil {
		t.Fatal(err)
	}
	deeper, _ := filepath.Glob(recordings + "*/*/*/quote.tpms_attest")
	var list []recorded
	for _, f := range append(files, deeper...) {
		dir := filepath.Dir(f)
		var pcrs struct{ ExtraData string }
		if err := json.Unmarshal(readFile(t, dir+"/pcrs.json"), &pcrs); err != nil {
			t.Fatal(err)
		}
		nonce, err := hex.DecodeString(pcrs.ExtraData)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, recorded{dir, readFile(t, f), readFile(t, dir+"/quote.tpmt_signature"), readFile(t, dir+"/../identity/ak.tpmt_public"), nonce})
	}
	if len(list) < 20 {
		t.Fatalf("only %d recorded quotes", len(list))
	}
	return list
}

func TestRecordedQuotes(t *testing.T) {
	for _, r := range recordedQuotes(t) {
		ak, err := ParseAK(r.ak)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		if want := readFile(t, r.name+"/../identity/ak.name"); !bytes.Equal(ak.Name, want) {
			t.Errorf("%s: AK name %x, the TPM says %x", r.name, ak.Name, want)
		}
		q, err := ak.Verify(r.attest, r.signature)
		if err != nil {
			t.Errorf("%s: %v", r.name, err)
			continue
		}
		if err := q.CheckNonce(r.nonce); err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
		if err := q.CheckNonce(append(bytes.Clone(r.nonce), 0)); !errors.Is(err, ErrNonce) {
			t.Errorf("%s: longer nonce: %v", r.name, err)
		}
		if err := q.CheckSigner(ak); err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
		for _, h := range []Hierarchy{Owner, Platform, Null} {
			if bytes.Equal(q.QualifiedSigner, ak.QualifiedName(h)) {
				t.Errorf("%s: signer is also the AK under %08x", r.name, h)
			}
		}
		if len(q.Selection) != 2 || q.Selection[0].Bank != 4 || q.Selection[1].Bank != 11 || len(q.Selection[0].PCRs) < 11 {
			t.Errorf("%s: selection %v", r.name, q.Selection)
		}
	}
}

// TestEachBit alters every bit of a quote, its signature and its key.
func TestEachBit(t *testing.T) {
	r := recordedQuotes(t)[0]
	check := func(what string, b []byte, verify func() error) {
		for i := range b {
			for bit := range 8 {
				b[i] ^= 1 << bit
				if verify() == nil {
					t.Errorf("%s: bit %d of byte %d altered, and it verifies", what, bit, i)
				}
				b[i] ^= 1 << bit
			}
		}
	}
	verify := func() error {
		ak, err := ParseAK(r.ak)
		if err != nil {
			return err
		}
		q, err := ak.Verify(r.attest, r.signature)
		if err != nil {
			return err
		}
		return q.CheckSigner(ak)
	}
	if err := verify(); err != nil {
		t.Fatal(err)
	}
	check("attest", r.attest, verify)
	check("signature", r.signature, verify)
	// A bit of the public area that the signature does not need, such as an
	// attribute, changes the name, which the quote states.
	check("ak", r.ak, verify)
}

func mustAK(t testing.TB, raw []byte) *AK {
	t.Helper()
	ak, err := ParseAK(raw)
	if err != nil {
		t.Fatal(err)
	}
	return ak
}

func TestTruncated(t *testing.T) {
	r := recordedQuotes(t)[0]
	for n := range r.attest {
		if _, err := Parse(r.attest[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("attest of %d bytes: %v", n, err)
		}
	}
	for n := range r.signature {
		if _, err := ParseSignature(r.signature[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("signature of %d bytes: %v", n, err)
		}
	}
	for n := range r.ak {
		if _, err := ParseAK(r.ak[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("ak of %d bytes: %v", n, err)
		}
	}
	for _, b := range [][]byte{r.attest, r.signature, r.ak} {
		longer := append(bytes.Clone(b), 0)
		_, e1 := Parse(longer)
		_, e2 := ParseSignature(longer)
		_, e3 := ParseAK(longer)
		if e1 == nil || e2 == nil || e3 == nil {
			t.Errorf("a byte after the end is accepted: %v, %v, %v", e1, e2, e3)
		}
	}
}

// TestAttestRefused has what go-tpm's own decoder lets pass, and what a TPM can
// sign that is no quote.
func TestAttestRefused(t *testing.T) {
	good := recordedQuotes(t)[0].attest
	nonce := 6 + 2 + 34
	selection := nonce + 2 + len(mustQuote(t, good).ExtraData) + 8 + 4 + 4 + 1 + 8
	for _, row := range []struct {
		name  string
		alter func(b []byte) []byte
		want  string
	}{
		{"magic", func(b []byte) []byte { b[0] = 0xfe; return b }, "magic"},
		{"type certify", func(b []byte) []byte { b[5] = 0x17; return b }, "type is 8017"},
		{"type NV", func(b []byte) []byte { b[5] = 0x14; return b }, "type is 8014"},
		{"type time", func(b []byte) []byte { b[5] = 0x19; return b }, "type is 8019"},
		{"safe 2", func(b []byte) []byte { b[selection-9] = 2; return b }, "safe is 2"},
		{"no bank", func(b []byte) []byte {
			return slices.Concat(b[:selection], []byte{0, 0, 0, 0}, b[selection+16:])
		}, "selects 0 banks"},
		{"17 banks", func(b []byte) []byte { b[selection+3] = 17; return b }, "selects 17 banks"},
		{"4 GiB of banks", func(b []byte) []byte { b[selection] = 0xff; return b }, "banks"},
		{"one bank twice", func(b []byte) []byte { b[selection+11] = 4; return b }, "twice"},
		{"empty mask", func(b []byte) []byte { copy(b[selection+7:], []byte{0, 0, 0}); return b }, "selects nothing"},
		{"sizeofSelect 4", func(b []byte) []byte { b[selection+6] = 4; return b }, "sizeofSelect"},
	} {
		_, err := Parse(row.alter(bytes.Clone(good)))
		if !errors.Is(err, ErrMalformed) || !bytes.Contains([]byte(err.Error()), []byte(row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	for _, n := range []int{0, 8, 32, 66, 67, 1000} {
		b := slices.Concat(good[:nonce], binary.BigEndian.AppendUint16(nil, uint16(n)), make([]byte, n), good[nonce+2+len(mustQuote(t, good).ExtraData):])
		q, err := Parse(b)
		if n > MaxNonce && !errors.Is(err, ErrMalformed) || n <= MaxNonce && (err != nil || len(q.ExtraData) != n) {
			t.Errorf("nonce of %d bytes: %v", n, err)
		}
	}
}

func mustQuote(t testing.TB, b []byte) *Quote {
	t.Helper()
	q, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestSignatureRefused: a signature's scheme and numbers must be the key's own.
func TestSignatureRefused(t *testing.T) {
	r := recordedQuotes(t)[0]
	ak := mustAK(t, r.ak)
	s, err := ParseSignature(r.signature)
	if err != nil {
		t.Fatal(err)
	}
	ecdsaOf := func(hash uint16, rr, ss []byte) []byte {
		b := binary.BigEndian.AppendUint16([]byte{0, 0x18}, hash)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(rr))), rr...)
		return append(binary.BigEndian.AppendUint16(b, uint16(len(ss))), ss...)
	}
	order := elliptic.P256().Params().N
	highS := new(big.Int).Sub(order, new(big.Int).SetBytes(s.S)).Bytes()
	if _, err := ak.Verify(r.attest, ecdsaOf(algSHA256, s.R, highS)); err != nil {
		t.Errorf("the other s of the same signature, which a TPM may give: %v", err)
	}
	for _, row := range []struct {
		name string
		sig  []byte
		want error
	}{
		{"r zero", ecdsaOf(algSHA256, nil, s.S), ErrSignature},
		{"s zero", ecdsaOf(algSHA256, s.R, make([]byte, 32)), ErrSignature},
		{"s over the order", ecdsaOf(algSHA256, s.R, order.Bytes()), ErrSignature},
		{"SHA-384", ecdsaOf(algSHA384, s.R, s.S), ErrScheme},
		{"SHA-1", ecdsaOf(4, s.R, s.S), ErrScheme},
		{"RSASSA", append([]byte{0, 0x14, 0, 0x0b, 1, 0}, make([]byte, 256)...), ErrScheme},
		{"r longer than the curve's", ecdsaOf(algSHA256, append([]byte{0}, leftPad(s.R)...), s.S), ErrSignature},
		{"r longer than any curve's", ecdsaOf(algSHA256, make([]byte, 49), s.S), ErrMalformed},
		{"HMAC", []byte{0, 5, 0, 0x0b}, ErrMalformed},
		{"no signature", []byte{0, 0x10}, ErrMalformed},
		{"ECDAA", be(nil, 0x1a, algSHA256, s.R, s.S), ErrMalformed},
		{"SM2", be(nil, 0x1b), ErrMalformed},
		{"algorithm 0", be(nil, 0), ErrMalformed},
	} {
		if _, err := ak.Verify(r.attest, row.sig); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(r.attest)
	rr, ss, err := ecdsa.Sign(rand.Reader, other, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ak.Verify(r.attest, ecdsaOf(algSHA256, rr.Bytes(), ss.Bytes())); !errors.Is(err, ErrSignature) {
		t.Errorf("another key's signature: %v", err)
	}
}

// leftPad brings a number of P-256 to its full size.
func leftPad(b []byte) []byte { return append(make([]byte, 32-len(b)), b...) }

// TestSignerOfAnotherKey: a quote that states another key's name is not the
// AK's, even where the AK signed it.
func TestSignerOfAnotherKey(t *testing.T) {
	list := recordedQuotes(t)
	ak := mustAK(t, list[0].ak)
	tried := 0
	for _, r := range list {
		if bytes.Equal(r.ak, list[0].ak) {
			continue
		}
		tried++
		if err := mustQuote(t, r.attest).CheckSigner(ak); !errors.Is(err, ErrSigner) {
			t.Errorf("%s: %v", r.name, err)
		}
		if _, err := ak.Verify(r.attest, r.signature); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", r.name, err)
		}
	}
	if tried == 0 {
		t.Fatal("the recordings have one key")
	}
}

// TestAKRefused clears or sets each attribute that makes a key an AK.
func TestAKRefused(t *testing.T) {
	good := recordedQuotes(t)[0].ak
	for name, bit := range map[string]uint32{"fixedTPM": 1, "fixedParent": 4, "sensitiveDataOrigin": 5, "restricted": 16, "decrypt": 17, "sign": 18} {
		b := bytes.Clone(good)
		binary.BigEndian.PutUint32(b[4:], binary.BigEndian.Uint32(b[4:])^1<<bit)
		if _, err := ParseAK(b); !errors.Is(err, ErrAttributes) {
			t.Errorf("%s the other way: %v", name, err)
		}
	}
	ek := readFile(t, recordings+"big-7.3/identity/ek.tpmt_public")
	if _, err := ParseAK(ek); !errors.Is(err, ErrAttributes) {
		t.Errorf("an EK as AK: %v", err)
	}
	if _, err := ParseEK(good); !errors.Is(err, ErrEK) {
		t.Errorf("an AK as EK: %v", err)
	}
}

func BenchmarkVerify(b *testing.B) {
	r := recordedQuotes(b)[0]
	ak := mustAK(b, r.ak)
	for b.Loop() {
		if _, err := ak.Verify(r.attest, r.signature); err != nil {
			b.Fatal(err)
		}
	}
}
