package witness

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// Signature types of the keys a log may sign its checkpoints with
// (c2sp.org/signed-note, "Signature types").
// ML-DSA-44 is among a witness's own types.
const algEd25519 = 0x01

// maxKeys bounds the keys of one log. A change of key needs two; the checkpoint
// that is kept, with a signature of each and ours, must have fewer than maxSignatures.
const maxKeys = 16

// Log is a log that the witness cosigns for.
type Log struct {
	Origin string          // first line of its checkpoints, which identifies it
	Keys   []note.Verifier // a checkpoint needs the signature of one of them
}

// ParseLog parses the verifier key of a log whose origin is the key's name:
// Ed25519 (type 0x01) or ML-DSA-44 (type 0x06).
func ParseLog(vkey string) (Log, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	_, encoded, _ := strings.Cut(rest, "+")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !validName(name) || err != nil || len(key) == 0 {
		return Log{}, fmt.Errorf("log key %q: not of the form <name>+<key ID in hex>+<base64 key>", vkey)
	}
	var verifier note.Verifier
	switch key[0] {
	case algEd25519:
		verifier, err = note.NewVerifier(vkey)
	case algMLDSA44:
		var v *f_note.SubtreeVerifier
		if v, err = f_note.NewMLDSAVerifier(vkey); err == nil {
			verifier = v
		}
	case algCosignature:
		err = errors.New("this is a witness's key (type 0x04), not a log's")
	default:
		err = fmt.Errorf("type 0x%02x is not one that logs sign checkpoints with (0x01 Ed25519, 0x06 ML-DSA-44)", key[0])
	}
	if err != nil {
		return Log{}, fmt.Errorf("log key %s: %w", name, err)
	}
	// The ML-DSA parser takes any key ID; one that does not match names another key.
	if id := fmt.Sprintf("%08x", verifier.KeyHash()); !strings.HasPrefix(rest, id+"+") {
		return Log{}, fmt.Errorf("log key %s: the key ID does not match the key, whose ID is %s", name, id)
	}
	return Log{Origin: name, Keys: []note.Verifier{verifier}}, nil
}

// mergeLogs joins the keys of logs with one origin, and refuses two keys that
// one signature line could mean.
func mergeLogs(logs []Log) (map[string]*logState, error) {
	states := make(map[string]*logState, len(logs))
	type line struct {
		origin, name string
		id           uint32
	}
	seen := make(map[line]bool)
	for _, l := range logs {
		if l.Origin == "" || strings.ContainsFunc(l.Origin, func(r rune) bool { return r < 0x20 }) {
			return nil, fmt.Errorf("log origin %q: must not be empty or contain control characters", l.Origin)
		}
		if len(l.Keys) == 0 {
			return nil, fmt.Errorf("log %s: no key", l.Origin)
		}
		state := states[l.Origin]
		if state == nil {
			state = &logState{origin: l.Origin}
			states[l.Origin] = state
		}
		for _, key := range l.Keys {
			id := line{l.Origin, key.Name(), key.KeyHash()}
			if seen[id] {
				return nil, fmt.Errorf("log %s: key %s+%08x is given twice", l.Origin, id.name, id.id)
			}
			seen[id] = true
			state.keys = append(state.keys, key)
		}
		if len(state.keys) > maxKeys {
			return nil, fmt.Errorf("log %s: more than %d keys", l.Origin, maxKeys)
		}
	}
	return states, nil
}
