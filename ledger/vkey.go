package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// Types of keys, c2sp.org/signed-note.
const (
	typeEd25519  = 0x01
	typeCosigner = 0x04 // Ed25519 cosignature
	typeMLDSA44  = 0x06 // ML-DSA-44 (sub)tree cosignature, for logs too
)

// keyTypes has the size of a public key in bytes for each type that may be used.
type keyTypes map[byte]int

// A witness must state a time, which type 0x01 has no room for.
var (
	logTypes     = keyTypes{typeEd25519: 32, typeMLDSA44: maxPublicKey}
	witnessTypes = keyTypes{typeCosigner: 32, typeMLDSA44: maxPublicKey}
)

const maxPublicKey = 1312 // bytes of an ML-DSA-44 one

// A noteKey is what a signature line has of a key. By c2sp.org/signed-note it
// names one key; ParsePolicy refuses two keys that share it.
type noteKey struct {
	name string
	id   uint32
}

// A verifier is a key of a note, from its vkey.
type verifier struct {
	noteKey
	typ    byte
	public string // raw public key, which two vkeys can wrap
	verify func(text, sig []byte) bool
}

// parseVKey reads a verifier key (c2sp.org/signed-note) and holds its key ID to
// the rest, which not all readers do.
func parseVKey(s string, types keyTypes) (verifier, error) {
	bad := func(format string, args ...any) (verifier, error) {
		return verifier{}, fmt.Errorf("%.64q is no verifier key for it: %s", s, fmt.Sprintf(format, args...))
	}
	name, rest, _ := strings.Cut(s, "+")
	id, key, found := strings.Cut(rest, "+")
	if !found || !ValidKeyName(name) {
		return bad("want name+id+base64")
	}
	raw, ok := canonicalBase64(key, 1+maxPublicKey)
	if !ok || len(raw) == 0 {
		return bad("want canonical base64 of a type and a key")
	}
	size, found := types[raw[0]]
	switch {
	case !found && raw[0] == typeEd25519:
		return bad("type 0x01 states no time; want the cosigner key, of type 0x04 or 0x06, that the witness gives out")
	case !found && raw[0] == typeCosigner:
		return bad("type 0x04 is for witnesses; want the log's key, of type 0x01 or 0x06")
	case !found:
		return bad("unknown type 0x%02x", raw[0])
	case len(raw) != 1+size:
		return bad("the key has %d bytes, want %d", len(raw)-1, size)
	}
	sum := sha256.Sum256(append([]byte(name+"\n"), raw...))
	v := verifier{noteKey: noteKey{name, binary.BigEndian.Uint32(sum[:])}, typ: raw[0], public: string(raw[1:])}
	if want := fmt.Sprintf("%08x", v.id); id != want {
		return bad("its key ID is %s", want)
	}
	var err error
	if v.verify, err = verifyFunc(v.typ, s); err != nil {
		return bad("%v", err)
	}
	return v, nil
}

func verifyFunc(typ byte, vkey string) (func(text, sig []byte) bool, error) {
	open := fnote.NewVerifierForCosignatureV1
	if typ == typeEd25519 {
		open = note.NewVerifier
	}
	v, err := open(vkey)
	if err != nil {
		return nil, err
	}
	return v.Verify, nil
}

// open verifies a signature without its key ID, and returns the time that it
// states: Unix seconds, 0 for none.
func (v verifier) open(text, sig []byte) (time uint64, ok bool) {
	if !v.verify(text, sig) {
		return 0, false
	}
	if v.typ == typeEd25519 {
		return 0, true
	}
	// The timestamp is the first 8 bytes, big-endian; verify has seen to the
	// size. SPEC: It MUST NOT exceed 2^63 - 1.
	time = binary.BigEndian.Uint64(sig)
	return time, time <= math.MaxInt64
}
