package server

import (
	"context"
	"crypto/ed25519"
	"fmt"

	"github.com/imaledger/imaledger/ledger/kms"
)

// OpenKMS makes a signer of notes of a key that never leaves its KMS, named by
// sigstore's URI. Errors wrap kms.ErrNone where nobody answers for it.
//
// Only the public key is asked for now. Each signature is a call of its own.
func OpenKMS(ctx context.Context, name, uri string) (Signer, error) {
	if name == "" {
		return nil, fmt.Errorf("key %s: a key in a KMS has no name: give one, NAME=%s, for a log its origin", uri, uri)
	}
	key, err := kms.Open(ctx, uri)
	if err != nil {
		return nil, err
	}
	if _, ok := key.Public().(ed25519.PublicKey); !ok {
		return nil, fmt.Errorf("key %s: %w", uri, &KeyTypeError{Name: name, Key: key.Public()})
	}
	return NewNoteSigner(name, key)
}
