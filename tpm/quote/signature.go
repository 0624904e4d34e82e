package quote

import "fmt"

// MaxSignature bounds a TPMT_SIGNATURE in bytes; RSA-4096 has 518.
const MaxSignature = 1 << 10

// TPM_ALG_ID of signature schemes and hashes.
const (
	algSHA256 = 0x000b
	algSHA384 = 0x000c
	algSHA512 = 0x000d
	algRSASSA = 0x0014
	algRSAPSS = 0x0016
	algECDSA  = 0x0018
)

// A Signature is a TPMT_SIGNATURE (TPM 2.0 Part 2, section 11.3.4).
type Signature struct {
	Scheme uint16 // TPM_ALG_ID
	Hash   uint16 // TPM_ALG_ID
	R, S   []byte // ECDSA, big-endian
	RSA    []byte // RSASSA, RSAPSS
}

// ParseSignature reads a TPMT_SIGNATURE. All errors are ErrMalformed.
func ParseSignature(b []byte) (*Signature, error) {
	if len(b) > MaxSignature {
		return nil, fmt.Errorf("TPMT_SIGNATURE: %d bytes, at most %d: %w", len(b), MaxSignature, ErrMalformed)
	}
	d := decoder{what: "TPMT_SIGNATURE", rest: b}
	s := &Signature{Scheme: d.uint16("scheme"), Hash: d.uint16("hash")}
	switch s.Scheme {
	case algECDSA:
		s.R, s.S = d.sized("r"), d.sized("s")
	case algRSASSA, algRSAPSS:
		s.RSA = d.sized("sig")
	default:
		d.fail("scheme %04x, want ECDSA, RSASSA or RSAPSS", s.Scheme)
	}
	return s, d.end()
}
