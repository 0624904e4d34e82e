// Package kms opens keys that never leave their key management service, by
// sigstore's URIs (https://docs.sigstore.dev/cosign/key_management/overview/).
//
// Who answers is a provider that the program links, or else the program
// sigstore-kms-SCHEME, by sigstore's plugin protocol.
package kms

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	sigstore "github.com/sigstore/sigstore/pkg/signature/kms"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// signTimeout bounds one signature. While a key store is silent, who needs it
// answers nobody, and asks again.
const signTimeout = 30 * time.Second

// ErrNone is a URI that no provider of this program is for, and no program
// sigstore-kms-SCHEME either.
var ErrNone = errors.New("nothing here speaks to that KMS")

// Is reports whether a key is named by the URI of a KMS, and not by a file.
func Is(key string) bool {
	scheme, rest, found := strings.Cut(key, "://")
	return found && scheme != "" && rest != "" && !strings.ContainsAny(scheme, "/=")
}

// A Key is a key in a KMS. It is a crypto.Signer of messages that were not hashed,
// and a sigstore signer. Each signature is a call of its own, held to the public
// key that the KMS gave when the key was opened, and to a time.
type Key struct {
	signature.Signer
	public  crypto.PublicKey
	timeout time.Duration
}

// Open opens a key and asks for its public key. Errors wrap ErrNone where nobody
// answers for the URI.
func Open(ctx context.Context, uri string) (*Key, error) {
	// SHA-256 lets a provider open a key of any kind, so that one of the wrong
	// kind is told by its name.
	s, err := get(ctx, uri, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	public, err := s.PublicKey(options.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("key %s: public key: %w", uri, err)
	}
	if _, ok := public.(ed25519.PublicKey); ok {
		// Ed25519 signs the text itself.
		if s, err = get(ctx, uri, crypto.Hash(0)); err != nil {
			return nil, err
		}
	}
	return &Key{s, public, signTimeout}, nil
}

func get(ctx context.Context, uri string, hash crypto.Hash) (signature.Signer, error) {
	s, err := sigstore.Get(ctx, uri, hash)
	var none *sigstore.ProviderNotFoundError
	if errors.As(err, &none) {
		return nil, fmt.Errorf("key %s: %w: %w", uri, ErrNone, err)
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", uri, err)
	}
	return s, nil
}

// Public implements crypto.Signer.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Sign implements crypto.Signer.
func (k *Key) Sign(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	return k.SignMessage(bytes.NewReader(message))
}

// PublicKey implements signature.Signer.
func (k *Key) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return k.public, nil
}

// SignMessage implements signature.Signer. Some providers ignore the context;
// their call is then left behind.
func (k *Key) SignMessage(message io.Reader, opts ...signature.SignOption) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), k.timeout)
	defer cancel()
	type result struct {
		sig []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		sig, err := k.Signer.SignMessage(message, append(opts, options.WithContext(ctx))...)
		done <- result{sig, err}
	}()
	select {
	case r := <-done:
		return r.sig, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer in %v", k.timeout)
	}
}
