package witness

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"filippo.io/mldsa"
)

// timestampSize is the bytes of the big-endian timestamp before each signature.
const timestampSize = 8

var errClock = errors.New("clock before 1970")

// A statement is what a cosignature says: that the leaves from start to before
// end have the root, and, where the timestamp is not zero, that no larger tree of
// the log was known then.
type statement struct {
	timestamp  uint64 // seconds since 1970
	origin     string
	start, end uint64
	root       hash
	text       string // of the checkpoint, for Ed25519; final newline included
}

// cosign gives the note signature line of a cosignature over a checkpoint, final
// newline included.
func (k *Key) cosign(c *checkpoint, now time.Time) (string, error) {
	// SPEC: [timestamp] MUST NOT exceed 2^63 - 1
	// SPEC: The cosignature MUST NOT omit the timestamp, i.e. the timestamp MUST NOT be zero. (tlog-witness)
	if now.Unix() <= 0 {
		return "", errClock
	}
	// SPEC: the cosignature returned by the witness MUST be for the entire tree in
	// SPEC: the submitted checkpoint, i.e. start MUST be zero and end MUST be the
	// SPEC: checkpoint size. (tlog-witness)
	return k.line(c.statement(uint64(now.Unix())))
}

// line signs a statement.
func (k *Key) line(s statement) (string, error) {
	message := k.message(s)
	sig, err := k.signer.Sign(nil, message, crypto.Hash(0))
	if err != nil {
		return "", fmt.Errorf("sign as %s: %w", k.name, err)
	}
	if k.external && !k.verify(message, sig) {
		return "", fmt.Errorf("sign as %s: the signature does not verify", k.name)
	}
	// SPEC: The signature MUST be a `timestamped_signature` structure.
	blob := make([]byte, 0, keyIDSize+timestampSize+len(sig))
	blob = binary.BigEndian.AppendUint32(blob, k.keyID)
	blob = binary.BigEndian.AppendUint64(blob, s.timestamp)
	blob = append(blob, sig...)
	return "— " + k.name + " " + base64.StdEncoding.EncodeToString(blob) + "\n", nil
}

// message gives what the key signs.
func (k *Key) message(s statement) []byte {
	if k.alg == algMLDSA44 {
		return subtreeMessage(k.name, s)
	}
	return checkpointMessage(s)
}

func (k *Key) verify(message, sig []byte) bool {
	if k.alg == algMLDSA44 {
		return mldsa.Verify(k.post, message, sig, nil) == nil
	}
	return ed25519.Verify(k.public, message, sig)
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
func checkpointMessage(s statement) []byte {
	return []byte("cosignature/v1\ntime " + strconv.FormatUint(s.timestamp, 10) + "\n" + s.text)
}

// SPEC: The signed message MUST be a `cosigned_message` structure.
// SPEC: If signing a checkpoint, [start] MUST be zero. If `start` is not zero,
// SPEC: `timestamp` MUST be zero.
// The names' lengths fit into their bytes: maxName, maxSignedOrigin.
func subtreeMessage(cosigner string, s statement) []byte {
	if len(cosigner) > maxName || len(s.origin) > maxSignedOrigin || s.start != 0 && s.timestamp != 0 {
		panic("witness: a statement that has no message")
	}
	m := []byte("subtree/v1\n\x00")
	m = append(append(m, byte(len(cosigner))), cosigner...)
	m = binary.BigEndian.AppendUint64(m, s.timestamp)
	m = append(append(m, byte(len(s.origin))), s.origin...)
	m = binary.BigEndian.AppendUint64(m, s.start)
	m = binary.BigEndian.AppendUint64(m, s.end)
	return append(m, s.root[:]...)
}

// cosigned gives the time in seconds since 1970 of the key's own cosignature on
// a checkpoint, and whether there is one. A line of the key that does not verify
// is an error.
func (k *Key) cosigned(c *checkpoint) (timestamp uint64, found bool, err error) {
	for _, s := range c.signatures {
		if s.name != k.name || s.keyID != k.keyID {
			continue
		}
		if !s.canonical || len(s.signature) <= timestampSize || k.alg == algMLDSA44 && len(c.origin) > maxSignedOrigin {
			return 0, false, fmt.Errorf("the cosignature of %s+%08x cannot be one", k.name, k.keyID)
		}
		t := binary.BigEndian.Uint64(s.signature)
		if t > math.MaxInt64 || !k.verify(k.message(c.statement(t)), s.signature[timestampSize:]) {
			return 0, false, fmt.Errorf("the cosignature of %s+%08x does not verify", k.name, k.keyID)
		}
		timestamp, found = max(timestamp, t), true
	}
	return timestamp, found, nil
}

// cosignedAt gives the latest time that a cosignature by one of the vkeys, one a
// line, states on the checkpoint, 0 for none. Nothing is verified.
func (c *checkpoint) cosignedAt(vkeys string) (t uint64) {
	for _, s := range c.signatures {
		if strings.Contains("\n"+vkeys, fmt.Sprintf("\n%s+%08x+", s.name, s.keyID)) && len(s.signature) > timestampSize {
			t = max(t, binary.BigEndian.Uint64(s.signature))
		}
	}
	return t
}

// statement gives what a cosignature of the checkpoint says.
func (c *checkpoint) statement(timestamp uint64) statement {
	return statement{timestamp: timestamp, origin: c.origin, end: c.size, root: c.root, text: c.text}
}
