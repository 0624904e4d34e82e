package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/kms"
	"github.com/imaledger/imaledger/ledger/server"
)

// Message reads the key that is called FILE, NAME=FILE or URI for messages that are no
// notes: of any type that sigstore has, such as ECDSA.
func (r *Reader) Message(ctx context.Context, key string) (signature.Signer, error) {
	if name, where, named := strings.Cut(key, "="); named && name != "" && !strings.ContainsAny(name, "/:") {
		key = where // others know the key by itself
	}
	if kms.Is(key) {
		s, err := kms.Open(ctx, key)
		switch {
		case errors.Is(err, kms.ErrNone):
			scheme, _, _ := strings.Cut(key, "://")
			return nil, cli.WithHint(cli.Usagef("%w", err), "put the program sigstore-kms-%s into a folder of PATH: it is sigstore's plugin for that KMS", scheme)
		case err != nil:
			return nil, cli.Undecidedf("%w", err)
		}
		return s, nil
	}
	b, err := Secret(key)
	if err != nil {
		return nil, err
	}
	if !bytes.Contains(b, []byte("-----BEGIN")) {
		s, err := server.ParseSigner("", b, r.password)
		if err != nil {
			return nil, typed(cli.Usagef("%s: %w", key, err))
		}
		return newNoteKey(key, s)
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(b, func(bool) ([]byte, error) { return r.password() })
	if err != nil {
		return nil, cli.Usagef("%s: %w", key, err)
	}
	s, err := signature.LoadSigner(private, crypto.SHA256)
	if err != nil {
		return nil, cli.Usagef("%s: %w", key, err)
	}
	return s, nil
}

// typeEd25519 is a key's first byte (c2sp.org/signed-note).
const typeEd25519 = 0x01

// noteKey signs messages with a key in the note encoding: an Ed25519 signature is the
// same over either.
type noteKey struct {
	note.Signer
	public crypto.PublicKey
}

func newNoteKey(file string, s server.Signer) (signature.Signer, error) {
	parts := strings.SplitN(s.VerifierKey(), "+", 3) // name, ID, and base64 of the type and the key
	raw, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != typeEd25519 {
		return nil, cli.Usagef("%s: want an Ed25519 key, or any key in PEM: this one signs checkpoints and nothing else", file)
	}
	return &noteKey{s, ed25519.PublicKey(raw[1:])}, nil
}

// PublicKey implements signature.Signer.
func (k *noteKey) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return k.public, nil
}

// SignMessage implements signature.Signer.
func (k *noteKey) SignMessage(message io.Reader, _ ...signature.SignOption) ([]byte, error) {
	b, err := io.ReadAll(message)
	if err != nil {
		return nil, fmt.Errorf("sign as %s: %w", k.Name(), err)
	}
	return k.Sign(b)
}
