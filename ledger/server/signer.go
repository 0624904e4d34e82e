package server

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"filippo.io/mldsa"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// noteKeyPrefix begins a private key in the encoding of c2sp.org/signed-note.
const noteKeyPrefix = "PRIVATE+KEY+"

// Types of keys, c2sp.org/signed-note.
const (
	typeEd25519 = 0x01
	typeMLDSA44 = 0x06
)

// A Signer signs notes, and knows its verifier key, which others are given.
type Signer interface {
	note.Signer
	VerifierKey() string // name+id+base64
}

// noteSigner signs notes with a key in memory, or one that sigstore holds: in a
// file or in a KMS.
type noteSigner struct {
	note.Verifier // of the same key
	vkey          string
	sign          func(msg []byte) ([]byte, error)
}

// A KeyTypeError is a key that no line of a note here can be made with.
type KeyTypeError struct {
	Name string
	Key  crypto.PublicKey
}

func (e *KeyTypeError) Error() string {
	kind := fmt.Sprintf("%T", e.Key)
	switch e.Key.(type) {
	case *ecdsa.PublicKey:
		kind = "ECDSA"
	case *rsa.PublicKey:
		kind = "RSA"
	}
	return fmt.Sprintf("%s: the key is of type %s, want Ed25519: the formats have no other for logs, registrars and operators", e.Name, kind)
}

// NewNoteSigner makes a signer of notes of any sigstore signer with an Ed25519
// key. c2sp.org/tlog-checkpoint wants one such signature of every log.
func NewNoteSigner(name string, s signature.Signer) (Signer, error) {
	public, err := s.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("signer %s: public key: %w", name, err)
	}
	key, ok := public.(ed25519.PublicKey)
	if !ok {
		return nil, &KeyTypeError{Name: name, Key: public}
	}
	vkey, err := note.NewEd25519VerifierKey(name, key)
	if err != nil {
		return nil, fmt.Errorf("signer %s: %w", name, err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("signer %s: %w", name, err)
	}
	return &noteSigner{v, vkey, func(msg []byte) ([]byte, error) { return s.SignMessage(bytes.NewReader(msg)) }}, nil
}

// VerifierKey implements Signer.
func (s *noteSigner) VerifierKey() string { return s.vkey }

// Sign implements note.Signer. The signature is verified before it is used: a
// fault in a key store must not become a log's word.
func (s *noteSigner) Sign(msg []byte) ([]byte, error) {
	sig, err := s.sign(msg)
	if err != nil {
		return nil, fmt.Errorf("sign as %s: %w", s.Name(), err)
	}
	if !s.Verify(msg, sig) {
		return nil, fmt.Errorf("sign as %s: the signature does not verify: is the key that signs another one than at the start?", s.Name())
	}
	return sig, nil
}

// ParseSigner reads a private key: in the note encoding, which has a name of its
// own, or as PEM (PKCS #8, encrypted PKCS #8, or encrypted by sigstore), which
// has none. password is asked for an encrypted key. Where both the key and the
// caller have a name they must be the same. One of type 0x06 (ML-DSA-44) signs
// checkpoints and nothing else.
func ParseSigner(name string, key []byte, password func() ([]byte, error)) (Signer, error) {
	if text := strings.TrimSpace(string(key)); strings.HasPrefix(text, noteKeyPrefix) {
		s, err := parseNoteKey(text)
		if err != nil {
			// No error here holds the key, and none may.
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

// parseNoteKey reads PRIVATE+KEY+name+id+base64(type||seed).
func parseNoteKey(text string) (Signer, error) {
	f := strings.SplitN(strings.TrimPrefix(text, noteKeyPrefix), "+", 3)
	if len(f) != 3 {
		return nil, errors.New("malformed")
	}
	raw, err := base64.StdEncoding.DecodeString(f[2])
	if err != nil || len(raw) != 1+ed25519.SeedSize { // ML-DSA's seed has the same 32 bytes
		return nil, errors.New("malformed")
	}
	typ, seed := raw[0], raw[1:]
	var s Signer
	switch typ {
	case typeEd25519:
		signer, err := signature.LoadED25519Signer(ed25519.NewKeyFromSeed(seed))
		if err != nil {
			return nil, err
		}
		if s, err = NewNoteSigner(f[0], signer); err != nil {
			return nil, err
		}
	case typeMLDSA44:
		if s, err = newMLDSASigner(text, f[0], seed); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("key type 0x%02x: want 0x01 (Ed25519), or for a log 0x06 (ML-DSA-44)", typ)
	}
	if want := fmt.Sprintf("%08x", s.KeyHash()); f[1] != want {
		return nil, fmt.Errorf("its key ID is %s, not %.16s", want, f[1])
	}
	return s, nil
}

// newMLDSASigner makes a signer of checkpoints (c2sp.org/tlog-cosignature).
func newMLDSASigner(text, name string, seed []byte) (Signer, error) {
	signer, err := fnote.NewMLDSASigner(text)
	if err != nil {
		return nil, err
	}
	private, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed)
	if err != nil {
		return nil, err
	}
	public := append([]byte{typeMLDSA44}, private.PublicKey().Bytes()...)
	vkey := fmt.Sprintf("%s+%08x+%s", name, signer.KeyHash(), base64.StdEncoding.EncodeToString(public))
	v, err := fnote.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		return nil, err
	}
	return &noteSigner{v, vkey, signer.Sign}, nil
}

func unmarshalPEM(key []byte, password func() ([]byte, error)) (crypto.PrivateKey, error) {
	if password == nil {
		return cryptoutils.UnmarshalPEMToPrivateKey(key, nil)
	}
	return cryptoutils.UnmarshalPEMToPrivateKey(key, func(bool) ([]byte, error) { return password() })
}
