package witness

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"filippo.io/mldsa"
)

// Types of a witness's keys (c2sp.org/signed-note, "Signature types").
const (
	algCosignature = 0x04 // timestamped Ed25519 cosignature of a checkpoint
	algMLDSA44     = 0x06 // timestamped ML-DSA-44 cosignature of a subtree or a checkpoint
)

// Key is a witness's name and one of its private keys, Ed25519 or ML-DSA-44.
type Key struct {
	name     string
	alg      byte
	signer   crypto.Signer
	public   []byte // 32 bytes of Ed25519, 1312 of ML-DSA-44
	post     *mldsa.PublicKey
	seed     []byte // of the private key; nil for one that is held elsewhere
	keyID    uint32
	external bool // whether the signer is not ours, and what it makes is checked
}

// GenerateKey makes an Ed25519 key for a witness of the name, which should be a
// URL without scheme, with neither spaces nor plus. rand is crypto/rand.Reader
// wherever the key is to be kept.
//
// The specification demands a key of its own for each cosigner, because an
// Ed25519 cosignature does not sign the name: never rename a key.
func GenerateKey(rand io.Reader, name string) (*Key, error) {
	return generateKey(rand, algCosignature, name)
}

// GenerateMLDSAKey makes an ML-DSA-44 key, as GenerateKey does. Its cosignatures
// hold against a quantum computer, and it signs subtrees.
func GenerateMLDSAKey(rand io.Reader, name string) (*Key, error) {
	return generateKey(rand, algMLDSA44, name)
}

func generateKey(rand io.Reader, alg byte, name string) (*Key, error) {
	seed := make([]byte, seedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return nil, fmt.Errorf("generate witness key: %w", err)
	}
	return keyOfSeed(name, alg, seed)
}

// seedSize is what a private key of either type is made of.
const seedSize = 32

func keyOfSeed(name string, alg byte, seed []byte) (*Key, error) {
	var signer crypto.Signer
	switch alg {
	case algCosignature:
		signer = ed25519.NewKeyFromSeed(seed)
	case algMLDSA44:
		private, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed)
		if err != nil {
			return nil, fmt.Errorf("witness key %s: %w", name, err)
		}
		signer = private
	}
	k, err := NewKey(name, signer)
	if err != nil {
		return nil, err
	}
	k.seed, k.external = seed, false
	return k, nil
}

// NewKey makes a key of a signer, which may be held by an agent or a piece of
// hardware. Its public key is an ed25519.PublicKey or an ML-DSA-44
// *mldsa.PublicKey, and it signs messages, not digests. What it makes is verified
// before it is used: a fault in a key store must not become a witness's word.
func NewKey(name string, signer crypto.Signer) (*Key, error) {
	if !validName(name) || len(name) > maxName {
		return nil, fmt.Errorf("witness name %q: must be UTF-8, not empty, at most %d bytes, and without spaces, plus or control characters", name, maxName)
	}
	k := &Key{name: name, signer: signer, external: true}
	switch public := signer.Public().(type) {
	case ed25519.PublicKey:
		k.alg, k.public = algCosignature, public
	case *mldsa.PublicKey:
		if public.Parameters() != mldsa.MLDSA44() {
			return nil, fmt.Errorf("witness key %s: %s, want ML-DSA-44", name, public.Parameters())
		}
		k.alg, k.public, k.post = algMLDSA44, public.Bytes(), public
	default:
		return nil, fmt.Errorf("witness key %s: of type %T, want Ed25519 or ML-DSA-44", name, public)
	}
	// SPEC: The key ID for Ed25519 cosignatures MUST be computed as
	// SPEC: SHA-256(<name> || "\n" || 0x04 || 32-byte Ed25519 cosigner public key)[:4]
	// SPEC: The key ID for ML-DSA-44 cosignatures MUST be computed as
	// SPEC: SHA-256(<name> || "\n" || 0x06 || 1312-byte ML-DSA-44 cosigner public key)[:4]
	sum := sha256.Sum256(append([]byte(name+"\n"), k.typed()...))
	k.keyID = binary.BigEndian.Uint32(sum[:])
	return k, nil
}

// ParseKey parses a key in the note encoding,
// PRIVATE+KEY+<name>+<key ID in hex>+<base64 of the type, 0x04 or 0x06, and the seed>.
// White space around it is ignored, so that a file's content can be given as it is.
// No error repeats any part of the key but its name.
func ParseKey(skey string) (*Key, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(skey), "PRIVATE+KEY+")
	if !ok {
		return nil, errors.New("witness key: does not begin with PRIVATE+KEY+")
	}
	name, rest, _ := strings.Cut(rest, "+")
	id, encoded, _ := strings.Cut(rest, "+")
	if !validName(name) {
		return nil, errors.New("witness key: no valid name after PRIVATE+KEY+")
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("witness key %s: the part after the key ID is not base64", name)
	}
	if key[0] != algCosignature && key[0] != algMLDSA44 {
		return nil, fmt.Errorf("witness key %s: type 0x%02x, and a witness signs with 0x%02x or 0x%02x (imaledger keygen --kind witness)", name, key[0], algCosignature, algMLDSA44)
	}
	if len(key) != 1+seedSize {
		return nil, fmt.Errorf("witness key %s: %d bytes, and a key of this encoding has %d", name, len(key), 1+seedSize)
	}
	k, err := keyOfSeed(name, key[0], key[1:])
	if err != nil {
		return nil, err
	}
	if want := fmt.Sprintf("%08x", k.keyID); id != want {
		return nil, fmt.Errorf("witness key %s: key ID %q does not match the key, whose ID is %s: damaged or renamed", name, id, want)
	}
	return k, nil
}

// Name gives the name in the witness's signature lines.
func (k *Key) Name() string { return k.name }

// VKey gives the verifier key: <name>+<key ID in hex>+<base64 of the type and the public key>.
func (k *Key) VKey() string {
	return fmt.Sprintf("%s+%08x+%s", k.name, k.keyID, base64.StdEncoding.EncodeToString(k.typed()))
}

// Secret gives the private key as ParseKey reads it, and nothing for one that is
// held elsewhere.
func (k *Key) Secret() string {
	if k.seed == nil {
		return ""
	}
	typed := append([]byte{k.alg}, k.seed...)
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", k.name, k.keyID, base64.StdEncoding.EncodeToString(typed))
}

// String hides the private key from logs and error messages.
func (k *Key) String() string { return k.VKey() }

// vkeys gives the verifier keys, one a line.
func vkeys(keys []*Key) string {
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(k.VKey() + "\n")
	}
	return b.String()
}

// checkKeys refuses keys that a signature line could confuse.
//
// SPEC: A cosigner operator that operates multiple Ed25519 cosigners [...] MUST use
// SPEC: distinct public keys for each cosigner. (tlog-cosignature)
func checkKeys(keys []*Key) error {
	for i, k := range keys {
		for _, other := range keys[:i] {
			if string(k.public) == string(other.public) || k.name == other.name && k.keyID == other.keyID {
				return fmt.Errorf("keys %s and %s are the same: each needs one of its own", other.name, k.name)
			}
		}
	}
	return nil
}

// CheckLog refuses a log that a witness with the keys could not cosign for.
func CheckLog(keys []*Key, log *Log) error {
	for _, k := range keys {
		if k.alg == algMLDSA44 && len(log.Origin) > maxSignedOrigin {
			return fmt.Errorf("log %.40s…: an ML-DSA-44 cosignature has room for an origin of %d bytes, and this has %d", log.Origin, maxSignedOrigin, len(log.Origin))
		}
		for _, verifier := range log.Keys {
			if k.name == verifier.Name() && k.keyID == verifier.KeyHash() {
				return fmt.Errorf("log %s: its key is the witness's own", log.Origin)
			}
		}
	}
	return nil
}

func (k *Key) typed() []byte { return append([]byte{k.alg}, k.public...) }

// maxName bounds a witness's name in bytes, and maxSignedOrigin a log's origin
// that an ML-DSA-44 key is to sign: each has one byte for its length.
const (
	maxName         = 255
	maxSignedOrigin = 255
)

// SPEC: Key names MUST be non-empty and MUST NOT contain any Unicode spaces or
// SPEC: plus (U+002B) characters. (signed-note)
// Nor may they contain what no note may contain.
func validName(name string) bool {
	return name != "" && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == '+' || r < 0x20 || unicode.IsSpace(r) })
}
