package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// A verifier is a key of a note, from its vkey.
type verifier struct {
	name   string
	id     uint32
	typ    byte
	public string // raw public key, which two vkeys can wrap
	verify func(msg, sig []byte) bool
}

// parseVKey reads a verifier key (c2sp.org/signed-note) and holds its key ID to
// the rest, which not all readers do.
func parseVKey(s string) (verifier, error) {
	bad := func(what string) (verifier, error) {
		return verifier{}, fmt.Errorf("%.64q is no verifier key: %s", s, what)
	}
	name, rest, _ := strings.Cut(s, "+")
	id, key, found := strings.Cut(rest, "+")
	if !found || !ValidKeyName(name) {
		return bad("want name+id+base64")
	}
	raw, ok := canonicalBase64(key, 1+keyTypes[typeMLDSA44])
	if !ok || len(raw) == 0 || keyTypes[raw[0]] == 0 || keyTypes[raw[0]] != len(raw)-1 {
		return bad("want canonical base64 of a key of type " + knownKeyTypes())
	}
	sum := sha256.Sum256(append([]byte(name+"\n"), raw...))
	v := verifier{name: name, id: binary.BigEndian.Uint32(sum[:]), typ: raw[0], public: string(raw[1:])}
	if fmt.Sprintf("%08x", v.id) != id {
		return bad(fmt.Sprintf("its key ID is %08x", v.id))
	}
	var err error
	v.verify, err = verifyFunc(v.typ, s)
	if err != nil {
		return bad(err.Error())
	}
	return v, nil
}

func verifyFunc(typ byte, vkey string) (func(msg, sig []byte) bool, error) {
	if typ == typeEd25519 {
		v, err := note.NewVerifier(vkey)
		if err != nil {
			return nil, err
		}
		return v.Verify, nil
	}
	v, err := fnote.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		return nil, err
	}
	return v.Verify, nil
}
