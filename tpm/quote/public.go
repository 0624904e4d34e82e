package quote

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"math/big"
)

// MaxPublic bounds a TPMT_PUBLIC in bytes; RSA-4096 with a policy has 602.
const MaxPublic = 1 << 10

// TPMA_OBJECT (TPM 2.0 Part 2, section 8.3).
const (
	attrFixedTPM             = 1 << 1
	attrSTClear              = 1 << 2
	attrFixedParent          = 1 << 4
	attrSensitiveDataOrigin  = 1 << 5
	attrUserWithAuth         = 1 << 6
	attrAdminWithPolicy      = 1 << 7
	attrFirmwareLimited      = 1 << 8
	attrSVNLimited           = 1 << 9
	attrNoDA                 = 1 << 10
	attrEncryptedDuplication = 1 << 11
	attrRestricted           = 1 << 16
	attrDecrypt              = 1 << 17
	attrSign                 = 1 << 18
	attrX509Sign             = 1 << 19

	attrDefined = attrFixedTPM | attrSTClear | attrFixedParent | attrSensitiveDataOrigin | attrUserWithAuth |
		attrAdminWithPolicy | attrFirmwareLimited | attrSVNLimited | attrNoDA | attrEncryptedDuplication |
		attrRestricted | attrDecrypt | attrSign | attrX509Sign
)

const (
	curveP256 = 0x0003 // TPM_ECC_NIST_P256
	curveP384 = 0x0004 // TPM_ECC_NIST_P384

	defaultExponent = 65537
)

// A public is what a TPMT_PUBLIC says, of a kind that an AK or EK can have.
type public struct {
	typ        uint16
	nameAlg    uint16
	attributes uint32
	authPolicy []byte
	aesBits    uint16 // of the symmetric cipher for what the key protects, 0 if none
	scheme     uint16 // algNull if none
	hash       uint16 // of the scheme
	keyBits    uint16 // RSA
	exponent   uint32 // RSA; 0 stands for 65537
	modulus    []byte // RSA
	curve      uint16 // ECC
	x, y       []byte // ECC
	key        crypto.PublicKey
}

// parsePublic reads a TPMT_PUBLIC (TPM 2.0 Part 2, section 12.2.4). The error
// is a *SyntaxError, or wraps unfit for an area that is well-formed and of a
// kind that is not used here.
func parsePublic(raw []byte, unfit error) (*public, error) {
	d := decode("TPMT_PUBLIC", raw, MaxPublic)
	other := func(format string, args ...any) {
		d.failWith(fmt.Errorf("TPMT_PUBLIC: "+format+": %w", append(args, unfit)...))
	}
	p := &public{typ: d.uint16("type"), nameAlg: d.uint16("nameAlg"), attributes: d.uint32("objectAttributes")}
	if p.typ != algRSA && p.typ != algECC {
		other("type is %04x, want RSA or ECC", p.typ)
	}
	if hashOf(p.nameAlg) == 0 {
		other("nameAlg is %04x, want SHA-256, SHA-384 or SHA-512", p.nameAlg)
	}
	if p.attributes&^attrDefined != 0 {
		d.fail("reserved attributes %08x are set", p.attributes&^attrDefined)
	}
	p.authPolicy = d.sized("authPolicy", maxDigest)
	if n := len(p.authPolicy); d.err == nil && n != 0 && n != hashOf(p.nameAlg).Size() {
		d.fail("authPolicy has %d bytes, the nameAlg's digest %d", n, hashOf(p.nameAlg).Size())
	}
	switch alg := d.uint16("symmetric"); alg {
	case algNull:
	case algAES:
		p.aesBits = d.uint16("symmetric keyBits")
		if mode := d.uint16("symmetric mode"); p.aesBits != 128 && p.aesBits != 256 || mode != algCFB {
			other("symmetric is AES-%d in mode %04x, want AES-128 or AES-256 in CFB", p.aesBits, mode)
		}
	default:
		other("symmetric is %04x, want AES or none", alg)
	}
	switch p.scheme = d.uint16("scheme"); p.scheme {
	case algNull:
	case algECDSA, algRSASSA, algRSAPSS:
		p.hash = d.uint16("scheme hash")
		if (p.scheme == algECDSA) != (p.typ == algECC) {
			d.fail("scheme is %04x, which a key of type %04x cannot have", p.scheme, p.typ)
		}
	default:
		other("scheme is %04x, want ECDSA, RSASSA, RSAPSS or none", p.scheme)
	}
	if p.typ == algECC {
		p.ecc(d, other)
	} else {
		p.rsa(d, other)
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	return p, nil
}

// ecc reads the rest of TPMS_ECC_PARMS, and the point.
func (p *public) ecc(d *decoder, other func(string, ...any)) {
	curve := elliptic.P256()
	switch p.curve = d.uint16("curveID"); p.curve {
	case curveP256:
	case curveP384:
		curve = elliptic.P384()
	default:
		other("curve is %04x, want NIST P-256 or P-384", p.curve)
	}
	if kdf := d.uint16("kdf"); d.err == nil && kdf != algNull {
		other("kdf is %04x, want none", kdf)
	}
	size := (curve.Params().BitSize + 7) / 8
	p.x, p.y = d.sized("x", size), d.sized("y", size)
	if d.err != nil {
		return
	}
	// Old TPMs leave out leading zeros.
	point := make([]byte, 1+2*size)
	point[0] = 4 // uncompressed
	copy(point[1+size-len(p.x):], p.x)
	copy(point[1+2*size-len(p.y):], p.y)
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		d.fail("point is not on the curve")
		return
	}
	p.key = key
}

// rsa reads the rest of TPMS_RSA_PARMS, and the modulus.
func (p *public) rsa(d *decoder, other func(string, ...any)) {
	p.keyBits, p.exponent = d.uint16("keyBits"), d.uint32("exponent")
	if p.keyBits != 2048 && p.keyBits != 3072 && p.keyBits != 4096 {
		other("RSA key of %d bits, want 2048, 3072 or 4096", p.keyBits)
	}
	if p.exponent != 0 && p.exponent != defaultExponent {
		other("RSA exponent is %d, want %d", p.exponent, defaultExponent)
	}
	p.modulus = d.sized("modulus", maxRSA)
	n := new(big.Int).SetBytes(p.modulus)
	if d.err == nil && (len(p.modulus) != int(p.keyBits)/8 || n.BitLen() != int(p.keyBits) || n.Bit(0) == 0) {
		d.fail("modulus is not an odd number of %d bits", p.keyBits)
	}
	p.key = &rsa.PublicKey{N: n, E: defaultExponent}
}
