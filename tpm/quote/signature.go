package quote

// MaxSignature bounds a TPMT_SIGNATURE in bytes; RSA-4096 has 518.
const MaxSignature = 1 << 10

const (
	maxRSA        = 4096 / 8 // bytes of a modulus or a signature
	maxCoordinate = 384 / 8  // bytes of a point's coordinate, and of an ECDSA r or s
)

// A Signature is a TPMT_SIGNATURE (TPM 2.0 Part 2, section 11.3.4). Its slices
// are parts of what was parsed.
type Signature struct {
	Scheme uint16 // TPM_ALG_ID: ECDSA, RSASSA, RSAPSS
	Hash   uint16 // TPM_ALG_ID
	R, S   []byte // ECDSA, big-endian, at most 48 bytes each
	RSA    []byte // RSASSA, RSAPSS; as long as the modulus
}

// ParseSignature reads a TPMT_SIGNATURE. The error is a *SyntaxError.
func ParseSignature(b []byte) (*Signature, error) {
	d := decode("TPMT_SIGNATURE", b, MaxSignature)
	s := &Signature{Scheme: d.uint16("scheme")}
	switch s.Scheme {
	case algECDSA:
		s.Hash = d.uint16("hash")
		s.R, s.S = d.sized("r", maxCoordinate), d.sized("s", maxCoordinate)
	case algRSASSA, algRSAPSS:
		s.Hash = d.uint16("hash")
		s.RSA = d.sized("sig", maxRSA)
	default:
		d.fail("scheme is %04x, want ECDSA, RSASSA or RSAPSS", s.Scheme)
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	return s, nil
}
