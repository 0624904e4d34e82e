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
	Origin string   // first line of its checkpoints, which identifies it
	Keys   []LogKey // a checkpoint needs the signature of one of them
	// QPD is how many requests it may make a day, 0 for any number. Contact is how
	// to reach those who run it, for people.
	QPD     int
	Contact string
}

// LogKey is a key of a log.
type LogKey struct {
	note.Verifier
	VKey string
}

// signsExtensions reports whether what the key signs has a checkpoint's extension
// lines in it.
func (k LogKey) signsExtensions() bool {
	_, mldsa := k.Verifier.(*f_note.SubtreeVerifier)
	return !mldsa
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
	return Log{Origin: name, Keys: []LogKey{{verifier, vkey}}}, nil
}

// SetLogs replaces the logs that the witness cosigns for. What it knows of those
// that are no longer among them it keeps: if one comes back, its history goes on
// from there. After an error nothing has changed.
func (w *Witness) SetLogs(logs []Log) error {
	merged, err := mergeLogs(logs)
	if err != nil {
		return err
	}
	for _, l := range merged {
		if err := CheckLog(w.keys, l); err != nil {
			return err
		}
	}
	for origin, l := range merged {
		state := w.logState(origin)
		if old := state.limits.Load(); old == nil || old.qpd != l.QPD {
			state.limits.Store(newLimits(l.QPD))
		}
		state.log.Store(l)
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	for origin, state := range w.logs {
		if merged[origin] == nil {
			state.log.Store(nil)
		}
	}
	return nil
}

// logState gives the state of a log, which is made if there is none.
func (w *Witness) logState(origin string) *logState {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.logs[origin]
	if s == nil {
		s = &logState{origin: origin, hash: originHash(origin), latest: latestCheckpoint{root: emptyRoot()}}
		w.logs[origin], w.byHash[s.hash] = s, s
	}
	return s
}

// known gives a log that is cosigned for.
func (w *Witness) known(origin string) (*logState, *Log, error) {
	w.mu.RLock()
	s := w.logs[origin]
	w.mu.RUnlock()
	if s != nil {
		if l := s.log.Load(); l != nil {
			return s, l, nil
		}
	}
	return nil, nil, fmt.Errorf("%w: %s", errUnknownLog, origin)
}

// mergeLogs joins the keys of logs with one origin, and refuses two keys that
// one signature line could mean.
func mergeLogs(logs []Log) (map[string]*Log, error) {
	merged := make(map[string]*Log, len(logs))
	for _, l := range logs {
		if l.Origin == "" || strings.ContainsFunc(l.Origin, func(r rune) bool { return r < 0x20 }) {
			return nil, fmt.Errorf("log origin %q: must not be empty or contain control characters", l.Origin)
		}
		if len(l.Keys) == 0 {
			return nil, fmt.Errorf("log %s: no key", l.Origin)
		}
		m := merged[l.Origin]
		if m == nil {
			m = &Log{Origin: l.Origin, QPD: l.QPD, Contact: l.Contact}
			merged[l.Origin] = m
		}
		for _, key := range l.Keys {
			for _, other := range m.Keys {
				if key.Name() == other.Name() && key.KeyHash() == other.KeyHash() {
					return nil, fmt.Errorf("log %s: key %s+%08x is given twice", l.Origin, key.Name(), key.KeyHash())
				}
			}
			if len(m.Keys) == maxKeys {
				return nil, fmt.Errorf("log %s: more than %d keys", l.Origin, maxKeys)
			}
			m.Keys = append(m.Keys, key)
		}
	}
	return merged, nil
}
