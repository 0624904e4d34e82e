package witness

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// algCosignature is the signature type of a timestamped Ed25519 checkpoint
// cosignature (c2sp.org/signed-note, "Signature types").
const algCosignature = 0x04

// Sizes in bytes of an Ed25519 cosignature: a big-endian timestamp, then the signature.
const (
	timestampSize   = 8
	cosignatureSize = timestampSize + ed25519.SignatureSize
)

// Key is a witness's name and Ed25519 key.
type Key struct {
	name    string
	private ed25519.PrivateKey
}

// GenerateKey makes a key for a witness of the name, which should be a URL
// without scheme, with neither spaces nor plus. rand is crypto/rand.Reader
// wherever the key is to be kept.
//
// The specification demands a key of its own for each cosigner, because an
// Ed25519 cosignature does not sign the name: never rename a key.
func GenerateKey(rand io.Reader, name string) (*Key, error) {
	if !validName(name) {
		return nil, fmt.Errorf("witness name %q: must be UTF-8, not empty, and without spaces, plus or control characters", name)
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return nil, fmt.Errorf("generate witness key: %w", err)
	}
	return &Key{name, ed25519.NewKeyFromSeed(seed)}, nil
}

// ParseKey parses a key in the note encoding,
// PRIVATE+KEY+<name>+<key ID in hex>+<base64 of the type 0x04 and the seed>.
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
	if key[0] != algCosignature {
		return nil, fmt.Errorf("witness key %s: type 0x%02x, and a witness signs with 0x%02x, Ed25519 cosignatures (imaledger keygen --kind witness)", name, key[0], algCosignature)
	}
	if len(key) != 1+ed25519.SeedSize {
		return nil, fmt.Errorf("witness key %s: %d bytes, and an Ed25519 key of this encoding has %d", name, len(key), 1+ed25519.SeedSize)
	}
	k := &Key{name, ed25519.NewKeyFromSeed(key[1:])}
	if want := fmt.Sprintf("%08x", k.id()); id != want {
		return nil, fmt.Errorf("witness key %s: key ID %q does not match the key, whose ID is %s: damaged or renamed", name, id, want)
	}
	return k, nil
}

// Name gives the name in the witness's signature lines.
func (k *Key) Name() string { return k.name }

// VKey gives the verifier key: <name>+<key ID in hex>+<base64 of the type 0x04 and the public key>.
func (k *Key) VKey() string {
	return fmt.Sprintf("%s+%08x+%s", k.name, k.id(), base64.StdEncoding.EncodeToString(k.typed()))
}

// Secret gives the private key as ParseKey reads it.
func (k *Key) Secret() string {
	typed := append([]byte{algCosignature}, k.private.Seed()...)
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", k.name, k.id(), base64.StdEncoding.EncodeToString(typed))
}

// String hides the private key from logs and error messages.
func (k *Key) String() string { return k.VKey() }

func (k *Key) public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

func (k *Key) typed() []byte { return append([]byte{algCosignature}, k.public()...) }

func (k *Key) id() uint32 {
	// SPEC: The key ID for Ed25519 cosignatures MUST be computed as
	// SPEC: SHA-256(<name> || "\n" || 0x04 || 32-byte Ed25519 cosigner public key)[:4]
	sum := sha256.Sum256(append([]byte(k.name+"\n"), k.typed()...))
	return binary.BigEndian.Uint32(sum[:])
}

var errClock = errors.New("clock before 1970")

// cosign gives the note signature line of a cosignature over a checkpoint's
// text, final newline included in both.
func (k *Key) cosign(text string, now time.Time) (string, error) {
	// SPEC: [timestamp] MUST NOT exceed 2^63 - 1
	// SPEC: The cosignature MUST NOT omit the timestamp, i.e. the timestamp MUST NOT be zero. (tlog-witness)
	if now.Unix() <= 0 {
		return "", errClock
	}
	timestamp := uint64(now.Unix())
	// SPEC: The signature MUST be a `timestamped_signature` structure.
	blob := binary.BigEndian.AppendUint32(nil, k.id())
	blob = binary.BigEndian.AppendUint64(blob, timestamp)
	blob = append(blob, ed25519.Sign(k.private, cosignedMessage(timestamp, text))...)
	return fmt.Sprintf("— %s %s\n", k.name, base64.StdEncoding.EncodeToString(blob)), nil
}

// cosigned gives the time in seconds since 1970 of the witness's own
// cosignature on a checkpoint, which must have exactly one that verifies.
func (k *Key) cosigned(c *checkpoint) (uint64, error) {
	var timestamp uint64
	found := 0
	for _, s := range c.signatures {
		if s.name != k.name || s.keyID != k.id() {
			continue
		}
		if len(s.signature) != cosignatureSize {
			return 0, errors.New("our cosignature has a wrong size")
		}
		timestamp = binary.BigEndian.Uint64(s.signature)
		if timestamp == 0 || timestamp > math.MaxInt64 || !ed25519.Verify(k.public(), cosignedMessage(timestamp, c.text), s.signature[timestampSize:]) {
			return 0, errors.New("our cosignature does not verify")
		}
		found++
	}
	if found != 1 {
		return 0, fmt.Errorf("%d cosignatures of ours, want one", found)
	}
	return timestamp, nil
}

// SPEC: The signed message MUST be two newline (U+000A) terminated lines (one
// SPEC: header line and one timestamp line) followed by the whole note body of
// SPEC: the cosigned checkpoint (including the final newline, but not including
// SPEC: any signature lines).
// SPEC: The header line MUST be the fixed string `cosignature/v1`
// SPEC: The timestamp line MUST consist of the string `time`, a single space
// SPEC: (0x20), and `timestamped_signature.timestamp` encoded as an ASCII decimal
// SPEC: with no leading zeroes.
// SPEC: Extension lines [...] if present MUST be included in the cosigned message.
func cosignedMessage(timestamp uint64, text string) []byte {
	return []byte("cosignature/v1\ntime " + strconv.FormatUint(timestamp, 10) + "\n" + text)
}

// SPEC: Key names MUST be non-empty and MUST NOT contain any Unicode spaces or
// SPEC: plus (U+002B) characters. (signed-note)
// Nor may they contain what no note may contain.
func validName(name string) bool {
	return name != "" && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == '+' || r < 0x20 || unicode.IsSpace(r) })
}
