package quote

import "errors"

// What is wrong with evidence; a caller branches on these with errors.Is.
var (
	ErrMalformed  = errors.New("not what a TPM writes")                              // every *SyntaxError
	ErrAttributes = errors.New("not an attestation key")                             // the AK
	ErrScheme     = errors.New("signature scheme is not the key's")                  // the signature
	ErrSignature  = errors.New("signature does not verify")                          // quote and signature
	ErrNonce      = errors.New("quote was made for another nonce")                   // the quote
	ErrSigner     = errors.New("signer is not the key in the endorsement hierarchy") // the quote
	ErrEK         = errors.New("not an endorsement key")                             // the EK
	ErrChain      = errors.New("endorsement key certificate does not verify")        // the EK's certificates
)

// ErrNoCertificate is a TPM whose vendor left no EK certificate in it.
var ErrNoCertificate = errors.New("no EK certificate in the TPM; some vendors serve it on the web instead")

// A SyntaxError says where a structure is not what a TPM writes. It is
// ErrMalformed to errors.Is.
type SyntaxError struct {
	Structure string // TPMS_ATTEST, TPMT_SIGNATURE or TPMT_PUBLIC
	Fault     string
}

func (e *SyntaxError) Error() string {
	return e.Structure + ": " + e.Fault + ": " + ErrMalformed.Error()
}

// Unwrap returns ErrMalformed.
func (e *SyntaxError) Unwrap() error { return ErrMalformed }
