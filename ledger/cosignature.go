package ledger

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// A Cosignature is a valid one by a witness of the policy.
type Cosignature struct {
	Label string // the witness's name in the policy
	Name  string // of its key
	VKey  string
	Time  uint64 // Unix seconds at which the witness made it; 0 if it states none

	key noteKey
}

// maxNoteSignatures bounds the signature lines of a note. The specification
// wants at least 16.
const maxNoteSignatures = 100

// A noteLine is a signature line.
type noteLine struct {
	key noteKey
	sig []byte // without the key ID
}

// parseNoteLines reads signature lines (c2sp.org/signed-note).
func parseNoteLines(s string) ([]noteLine, error) {
	var lines []noteLine
	for s != "" {
		line, rest, ok := strings.Cut(s, "\n")
		s = rest
		if len(lines) == maxNoteSignatures {
			return nil, fmt.Errorf("more than %d signatures", maxNoteSignatures)
		}
		line, dash := strings.CutPrefix(line, "— ")
		name, enc, space := strings.Cut(line, " ")
		sig, canonical := canonicalBase64(enc, MaxCheckpoint)
		if !ok || !dash || !space || !canonical || len(sig) < 5 || !ValidKeyName(name) {
			return nil, fmt.Errorf("signature line %d: want a dash, a key name, and base64 of a key ID and a signature", len(lines)+1)
		}
		lines = append(lines, noteLine{noteKey{name, binary.BigEndian.Uint32(sig)}, sig[4:]})
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("no signature")
	}
	return lines, nil
}

// verifyLog checks every line by a log of the policy.
//
// SPEC: If the key name and ID match a known key, verifiers MUST verify the
// signature. If a signature from a known key fails to verify, clients SHOULD
// reject the whole note. This holds for a second line by a key, too.
func (p *Policy) verifyLog(n *checkpointNote) error {
	whole := false
	for _, l := range n.lines {
		k, known := p.keys[l.key]
		if !known || k.node >= 0 {
			continue
		}
		if _, ok := k.key.open(n.text, l.sig); !ok {
			return fmt.Errorf("%s: the line by %s does not verify: %w", n.Origin, k.Name, ErrLogSignature)
		}
		// What one log says of another is true, and counts for nothing.
		if k.Name != n.Origin {
			continue
		}
		if n.LogKey == "" {
			n.LogKey = k.VKey
		}
		whole = whole || k.key.typ == typeEd25519
	}
	switch {
	case n.LogKey == "":
		return fmt.Errorf("%s: no signature by a key of the policy: %w", n.Origin, ErrLogSignature)
	case n.extended && !whole:
		// An ML-DSA-44 signature is over origin, size and root alone.
		return fmt.Errorf("%s: has extension lines, and its ML-DSA-44 signature does not cover them: %w", n.Origin, ErrLogSignature)
	}
	return nil
}

// verifyCosignatures checks every line by a witness of the policy, and the
// quorum. A witness may have several lines, made at several times.
func (p *Policy) verifyCosignatures(n *checkpointNote) error {
	t := p.tally()
	have := make(map[string]bool)
	var labels []string
	for _, l := range n.lines {
		k, known := p.keys[l.key]
		if !known || k.node < 0 {
			continue
		}
		time, ok := k.key.open(n.text, l.sig)
		if !ok {
			return fmt.Errorf("%s: the line by witness %s (%s) does not verify: %w", n.Origin, k.Label, k.Name, ErrCosignature)
		}
		n.Cosignatures = append(n.Cosignatures, Cosignature{k.Label, k.Name, k.VKey, time, l.key})
		t.add(k.node)
		if !have[k.Label] {
			have[k.Label] = true
			labels = append(labels, k.Label)
		}
	}
	if !t.met {
		return &QuorumError{p.describe(), labels}
	}
	return nil
}
