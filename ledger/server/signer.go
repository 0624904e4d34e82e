package server

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/mod/sumdb/note"
)

// noteKeyPrefix begins a private key in the encoding of c2sp.org/signed-note.
const noteKeyPrefix = "PRIVATE+KEY+"

// noteSigner signs notes with a key that sigstore holds: in a file or in a KMS.
type noteSigner struct {
	note.Verifier // of the same key
	signer        signature.Signer
}

// NewNoteSigner makes a signer of notes of any sigstore signer with an Ed25519
// key. c2sp.org/tlog-checkpoint wants one such signature of every log.
func NewNoteSigner(name string, s signature.Signer) (note.Signer, error) {
	public, err := s.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("signer %s: public key: %w", name, err)
	}
	key, ok := public.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("signer %s: key of type %T, want Ed25519", name, public)
	}
	vkey, err := note.NewEd25519VerifierKey(name, key)
	if err != nil {
		return nil, fmt.Errorf("signer %s: %w", name, err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("signer %s: %w", name, err)
	}
	return &noteSigner{v, s}, nil
}

// Sign implements note.Signer. The signature is verified before it is used: a
// fault in a key store must not become a log's word.
func (s *noteSigner) Sign(msg []byte) ([]byte, error) {
	sig, err := s.signer.SignMessage(bytes.NewReader(msg))
	if err != nil {
		return nil, fmt.Errorf("sign as %s: %w", s.Name(), err)
	}
	if !s.Verify(msg, sig) {
		return nil, fmt.Errorf("sign as %s: the signature does not verify", s.Name())
	}
	return sig, nil
}

// ParseSigner reads a private key: in the note encoding, which has a name of its
// own, or as PEM (PKCS #8, encrypted PKCS #8, or encrypted by sigstore), which
// has none. password is asked for an encrypted key. Where both the key and the
// caller have a name they must be the same.
func ParseSigner(name string, key []byte, password func() ([]byte, error)) (note.Signer, error) {
	if text := strings.TrimSpace(string(key)); strings.HasPrefix(text, noteKeyPrefix) {
		s, err := note.NewSigner(text)
		if err != nil {
			// The library's error does not hold the key, and neither may ours.
			return nil, fmt.Errorf("private key in the note encoding: %w", err)
		}
		if name != "" && s.Name() != name {
			return nil, fmt.Errorf("the key is %s's, want %s's", s.Name(), name)
		}
		return s, nil
	}
	if name == "" {
		return nil, errors.New("a PEM key has no name: give one, for a log its origin")
	}
	private, err := unmarshalPEM(key, password)
	if err != nil {
		return nil, fmt.Errorf("private key of %s: %w", name, err)
	}
	s, err := signature.LoadSigner(private, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("private key of %s: %w", name, err)
	}
	return NewNoteSigner(name, s)
}

func unmarshalPEM(key []byte, password func() ([]byte, error)) (crypto.PrivateKey, error) {
	if password == nil {
		return cryptoutils.UnmarshalPEMToPrivateKey(key, nil)
	}
	return cryptoutils.UnmarshalPEMToPrivateKey(key, func(bool) ([]byte, error) { return password() })
}
