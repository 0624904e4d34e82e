package server

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// kmsTimeout bounds one signature by a KMS. While a log's key store is silent the
// log publishes nothing, and it asks again at the next checkpoint.
const kmsTimeout = 30 * time.Second

// ErrNoKMS is a URI of a key that no provider of this program is for, and no
// program sigstore-kms-SCHEME either.
var ErrNoKMS = errors.New("nothing here speaks to that KMS")

// IsKMS reports whether a key is named by the URI of a KMS, and not by a file.
func IsKMS(key string) bool {
	scheme, rest, found := strings.Cut(key, "://")
	return found && scheme != "" && rest != "" && !strings.ContainsAny(scheme, "/=")
}

// OpenKMS makes a signer of notes of a key that never leaves its KMS. The URI is
// sigstore's (https://docs.sigstore.dev/cosign/key_management/overview/). Who
// answers is a provider that the program links, or else the program
// sigstore-kms-SCHEME, by sigstore's plugin protocol. Errors wrap ErrNoKMS where
// there is neither.
//
// Only the public key is asked for now. Each signature is a call of its own.
func OpenKMS(ctx context.Context, name, uri string) (Signer, error) {
	if name == "" {
		return nil, fmt.Errorf("key %s: a key in a KMS has no name: give one, NAME=%s, for a log its origin", uri, uri)
	}
	// SHA-256 lets a provider open a key of any kind, so that one of the wrong
	// kind is told by its name.
	s, err := getKMS(ctx, uri, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	public, err := s.PublicKey(options.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("key %s: public key: %w", uri, err)
	}
	if _, ok := public.(ed25519.PublicKey); !ok {
		return nil, fmt.Errorf("key %s: %w", uri, &KeyTypeError{Name: name, Key: public})
	}
	// Ed25519 signs the text itself.
	if s, err = getKMS(ctx, uri, crypto.Hash(0)); err != nil {
		return nil, err
	}
	return NewNoteSigner(name, &kmsSigner{s, public, kmsTimeout})
}

func getKMS(ctx context.Context, uri string, hash crypto.Hash) (signature.Signer, error) {
	s, err := kms.Get(ctx, uri, hash)
	var none *kms.ProviderNotFoundError
	if errors.As(err, &none) {
		return nil, fmt.Errorf("key %s: %w: %w", uri, ErrNoKMS, err)
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", uri, err)
	}
	return s, nil
}

// A kmsSigner holds a KMS to the public key that it had when the key was opened,
// and to a time for each answer.
type kmsSigner struct {
	signature.Signer
	public  crypto.PublicKey
	timeout time.Duration
}

// PublicKey implements signature.Signer.
func (s *kmsSigner) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return s.public, nil
}

// SignMessage implements signature.Signer. Some providers ignore the context;
// their call is then left behind.
func (s *kmsSigner) SignMessage(message io.Reader, opts ...signature.SignOption) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	type result struct {
		sig []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		sig, err := s.Signer.SignMessage(message, append(opts, options.WithContext(ctx))...)
		done <- result{sig, err}
	}()
	select {
	case r := <-done:
		return r.sig, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer in %v", s.timeout)
	}
}
