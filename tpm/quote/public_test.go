package quote

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

const (
	akAttributes uint32 = attrFixedTPM | attrFixedParent | attrSensitiveDataOrigin | attrUserWithAuth | attrNoDA | attrRestricted | attrSign
	ekAttributes uint32 = attrFixedTPM | attrFixedParent | attrSensitiveDataOrigin | attrAdminWithPolicy | attrRestricted | attrDecrypt
)

// TestDigestOfAnotherHash: a TPM digests the registers with the hash of the
// scheme, so a quote by a SHA-384 key with a digest of 32 bytes is no TPM's,
// whoever signed it.
func TestDigestOfAnotherHash(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	ak := mustAK(t, be(nil, algECC, algSHA384, akAttributes, []byte{}, algNull, algECDSA, algSHA384, curveP384, algNull, pub[1:49], pub[49:]))
	for _, size := range []int{32, 47, 48, 64} {
		q := *mustQuote(t, recordedQuotes(t)[0].attest)
		q.PCRDigest = make([]byte, size)
		attest := encode(&q)
		digest := sha512.Sum384(attest)
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		_, err = ak.Verify(attest, be(nil, algECDSA, algSHA384, r.Bytes(), s.Bytes()))
		if size == 48 && err != nil || size != 48 && !errors.Is(err, ErrMalformed) {
			t.Errorf("pcrDigest of %d bytes: %v", size, err)
		}
	}
}

// modulus is an odd number of the given bits; no test needs its factors.
func modulus(bits int) []byte {
	return bytes.Repeat([]byte{0xa5}, bits/8)
}

func softRSA(scheme, bits int, exponent uint32) []byte {
	return be(nil, algRSA, algSHA256, akAttributes, []byte{}, algNull, scheme, algSHA256, bits, exponent, modulus(bits))
}

func softECC(nameAlg, hash, curve int, c elliptic.Curve) []byte {
	x, y := point(c)
	return be(nil, algECC, nameAlg, akAttributes, []byte{}, algNull, algECDSA, hash, curve, algNull, x, y)
}

func softEK(t testing.TB) []byte {
	x, y := point(elliptic.P384())
	return be(nil, algECC, algSHA384, ekAttributes, make([]byte, 48), algAES, 256, algCFB, algNull, curveP384, algNull, x, y)
}

// shortPoint is one whose x begins with a zero, left out.
func shortPoint(c elliptic.Curve) (x, y []byte) {
	for {
		if x, y := point(c); x[0] == 0 {
			return x[1:], y
		}
	}
}

func point(c elliptic.Curve) (x, y []byte) {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		panic(err)
	}
	b, err := k.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return b[1 : 1+len(b)/2], b[1+len(b)/2:]
}

func TestAKKinds(t *testing.T) {
	x, y := shortPoint(elliptic.P256())
	for name, area := range map[string][]byte{
		"an old TPM's":         be(nil, algECC, algSHA256, akAttributes, []byte{}, algNull, algECDSA, algSHA256, curveP256, algNull, x, y),
		"P-256":                softECC(algSHA256, algSHA256, curveP256, elliptic.P256()),
		"P-384":                softECC(algSHA384, algSHA384, curveP384, elliptic.P384()),
		"P-384 with SHA-512":   softECC(algSHA512, algSHA512, curveP384, elliptic.P384()),
		"RSASSA 2048":          softRSA(algRSASSA, 2048, 0),
		"RSASSA 3072":          softRSA(algRSASSA, 3072, 0),
		"RSAPSS 4096":          softRSA(algRSAPSS, 4096, 0),
		"exponent written out": softRSA(algRSAPSS, 2048, 65537),
	} {
		ak, err := ParseAK(area)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.HasPrefix(ak.Name, area[2:4]) || len(ak.Name) != 2+hashOf(ak.nameAlg).Size() {
			t.Errorf("%s: name %x", name, ak.Name)
		}
	}
	if _, err := ParseEK(softEK(t)); err != nil {
		t.Error(err)
	}
}

// TestPublicRefused: sizes, curves and hashes that are not used here, and areas
// that no TPM writes.
func TestPublicRefused(t *testing.T) {
	x, y := point(elliptic.P256())
	ecc := func(attributes uint32, policy []byte, fields ...any) []byte {
		return be(be(nil, algECC, algSHA256, attributes, policy), fields...)
	}
	rsa := func(fields ...any) []byte {
		return be(be(nil, algRSA, algSHA256, akAttributes, []byte{}, algNull), fields...)
	}
	off := bytes.Clone(y)
	off[31] ^= 1
	even := modulus(2048)
	even[255]--
	short := modulus(2048)
	short[0] = 0x7f
	for _, row := range []struct {
		name string
		area []byte
		want error
		says string
	}{
		{"keyed hash", be(nil, 8, algSHA256, akAttributes, []byte{}), ErrAttributes, "type"},
		{"name by SHA-1", softECC(4, algSHA256, curveP256, elliptic.P256()), ErrAttributes, "nameAlg"},
		{"signs with SHA-1", softECC(algSHA256, 4, curveP256, elliptic.P256()), ErrAttributes, "scheme"},
		{"P-224", ecc(akAttributes, nil, algNull, algECDSA, algSHA256, 2, algNull, x[:28], y[:28]), ErrAttributes, "curve"},
		{"P-521", softECC(algSHA256, algSHA512, 5, elliptic.P521()), ErrAttributes, "curve"},
		{"SM2", ecc(akAttributes, nil, algNull, 0x1b, 0x12, 0x20, algNull, x, y), ErrAttributes, "scheme"},
		{"ECDAA", ecc(akAttributes, nil, algNull, 0x1a, algSHA256, 0, 0x10, algNull, x, y), ErrAttributes, "scheme"},
		{"no scheme", ecc(akAttributes, nil, algNull, algNull, curveP256, algNull, x, y), ErrAttributes, "scheme"},
		{"a KDF", ecc(akAttributes, nil, algNull, algECDSA, algSHA256, curveP256, 7, algSHA256, x, y), ErrAttributes, "kdf"},
		{"a cipher", ecc(akAttributes, nil, algAES, 128, algCFB, algECDSA, algSHA256, curveP256, algNull, x, y), ErrAttributes, "symmetric"},
		{"x509sign", ecc(akAttributes|attrX509Sign, nil, algNull, algECDSA, algSHA256, curveP256, algNull, x, y), ErrAttributes, "x509sign"},
		{"encryptedDuplication", ecc(akAttributes|attrEncryptedDuplication, nil, algNull, algECDSA, algSHA256, curveP256, algNull, x, y), ErrAttributes, "encryptedDuplication"},
		{"reserved attribute", ecc(akAttributes|1<<31, nil, algNull, algECDSA, algSHA256, curveP256, algNull, x, y), ErrMalformed, "reserved"},
		{"policy of 20 bytes", ecc(akAttributes, make([]byte, 20), algNull, algECDSA, algSHA256, curveP256, algNull, x, y), ErrMalformed, "authPolicy"},
		{"policy of 65 bytes", ecc(akAttributes, make([]byte, 65), algNull, algECDSA, algSHA256, curveP256, algNull, x, y), ErrMalformed, "authPolicy"},
		{"RSA scheme on a curve", ecc(akAttributes, nil, algNull, algRSASSA, algSHA256, curveP256, algNull, x, y), ErrMalformed, "scheme"},
		{"off the curve", ecc(akAttributes, nil, algNull, algECDSA, algSHA256, curveP256, algNull, x, off), ErrMalformed, "curve"},
		{"point at infinity", ecc(akAttributes, nil, algNull, algECDSA, algSHA256, curveP256, algNull, []byte{}, []byte{}), ErrMalformed, "curve"},
		{"x over the field", ecc(akAttributes, nil, algNull, algECDSA, algSHA256, curveP256, algNull, bytes.Repeat([]byte{0xff}, 32), y), ErrMalformed, "curve"},
		{"x too long", ecc(akAttributes, nil, algNull, algECDSA, algSHA256, curveP256, algNull, append([]byte{0}, x...), y), ErrMalformed, "x has 33"},
		{"ECDSA with RSA", rsa(algECDSA, algSHA256, 2048, uint32(0), modulus(2048)), ErrMalformed, "scheme"},
		{"RSA-1024", softRSA(algRSASSA, 1024, 0), ErrAttributes, "1024 bits"},
		{"RSA-8192", softRSA(algRSASSA, 8192, 0), ErrMalformed, "at most"},
		{"exponent 3", softRSA(algRSASSA, 2048, 3), ErrAttributes, "exponent"},
		{"even modulus", rsa(algRSASSA, algSHA256, 2048, uint32(0), even), ErrMalformed, "modulus"},
		{"modulus of 2047 bits", rsa(algRSASSA, algSHA256, 2048, uint32(0), short), ErrMalformed, "modulus"},
		{"modulus with a zero before it", rsa(algRSASSA, algSHA256, 2048, uint32(0), append([]byte{0}, modulus(2048)...)), ErrMalformed, "modulus"},
		{"modulus of 3072 bits called 2048", rsa(algRSASSA, algSHA256, 2048, uint32(0), modulus(3072)), ErrMalformed, "modulus"},
		{"modulus called 64 kB", append(rsa(algRSASSA, algSHA256, 2048, uint32(0)), 0xff, 0xff), ErrMalformed, "modulus"},
		{"too long", make([]byte, MaxPublic+1), ErrMalformed, "1025 bytes"},
	} {
		_, err := ParseAK(row.area)
		if !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v, want %v and %q", row.name, err, row.want, row.says)
		}
	}
}

// TestEKRefused clears or sets each attribute that makes a key an EK.
func TestEKRefused(t *testing.T) {
	good := readFile(t, recordings+"big-7.3/identity/ek.tpmt_public")
	for name, bit := range map[string]uint32{"fixedTPM": 1, "fixedParent": 4, "sensitiveDataOrigin": 5, "encryptedDuplication": 11, "restricted": 16, "decrypt": 17, "sign": 18, "x509sign": 19} {
		b := bytes.Clone(good)
		binary.BigEndian.PutUint32(b[4:], binary.BigEndian.Uint32(b[4:])^1<<bit)
		if _, err := ParseEK(b); !errors.Is(err, ErrEK) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s the other way: %v", name, err)
		}
	}
	for n := range good {
		if _, err := ParseEK(good[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	x, y := point(elliptic.P256())
	for name, area := range map[string][]byte{
		"no cipher": be(nil, algECC, algSHA256, ekAttributes, []byte{}, algNull, algNull, curveP256, algNull, x, y),
		"AES-192":   be(nil, algECC, algSHA256, ekAttributes, []byte{}, algAES, 192, algCFB, algNull, curveP256, algNull, x, y),
		"AES-CTR":   be(nil, algECC, algSHA256, ekAttributes, []byte{}, algAES, 128, 0x40, algNull, curveP256, algNull, x, y),
		"SM4":       be(nil, algECC, algSHA256, ekAttributes, []byte{}, 0x13, 128, algCFB, algNull, curveP256, algNull, x, y),
		"a scheme":  be(nil, algECC, algSHA256, ekAttributes, []byte{}, algAES, 128, algCFB, algECDSA, algSHA256, curveP256, algNull, x, y),
	} {
		if _, err := ParseEK(area); !errors.Is(err, ErrEK) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestKeyDigest: an area that is written otherwise around the same key has
// another name, and is the same EK.
func TestKeyDigest(t *testing.T) {
	good := readFile(t, recordings+"big-7.3/identity/ek.tpmt_public")
	ek, err := ParseEK(good)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(good)
	binary.BigEndian.PutUint32(other[4:], binary.BigEndian.Uint32(other[4:])|attrUserWithAuth)
	again, err := ParseEK(other)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(ek.Name, again.Name) || ek.KeyDigest != again.KeyDigest {
		t.Errorf("names %x and %x, keys %x and %x", ek.Name, again.Name, ek.KeyDigest, again.KeyDigest)
	}
}

// TestNamedErrors: a caller can tell which structure was malformed.
func TestNamedErrors(t *testing.T) {
	r := recordedQuotes(t)[0]
	ak := mustAK(t, r.ak)
	_, attest := ak.Verify(r.attest[1:], r.signature)
	_, signature := ak.Verify(r.attest, r.signature[1:])
	_, area := ParseAK(r.ak[:9])
	for want, err := range map[string]error{"TPMS_ATTEST": attest, "TPMT_SIGNATURE": signature, "TPMT_PUBLIC": area} {
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.Structure != want || !errors.Is(err, ErrMalformed) {
			t.Errorf("%v, want a SyntaxError of %s", err, want)
		}
	}
}
