package quote

import "errors"

// What is wrong with evidence; a caller branches on these with errors.Is.
var (
	ErrMalformed  = errors.New("not what a TPM writes")
	ErrAttributes = errors.New("not an attestation key")
	ErrScheme     = errors.New("signature scheme is not the key's")
	ErrSignature  = errors.New("signature does not verify")
	ErrEK         = errors.New("not an endorsement key")
	ErrChain      = errors.New("endorsement key certificate does not verify")
)
