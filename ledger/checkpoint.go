package ledger

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// What can be wrong with a checkpoint or a proof; a caller branches on these
// with errors.Is, and with errors.As on *QuorumError.
var (
	ErrCheckpoint   = errors.New("malformed checkpoint")
	ErrLogUnknown   = errors.New("checkpoint of a log that the policy does not name")
	ErrLogSignature = errors.New("log signature missing or invalid")
	ErrCosignature  = errors.New("invalid cosignature by a witness of the policy")
	ErrInclusion    = errors.New("inclusion proof does not verify")
	ErrConsistency  = errors.New("consistency proof does not verify")
)

// A QuorumError is a checkpoint that too few witnesses have cosigned.
type QuorumError struct {
	Need string   // the policy's quorum in words
	Have []string // witnesses that did
}

func (e *QuorumError) Error() string {
	have := "none of them"
	if len(e.Have) > 0 {
		have = strings.Join(e.Have, ", ")
	}
	return fmt.Sprintf("witness quorum not met: it needs %s; cosigned by %s", e.Need, have)
}

// MaxCheckpoint bounds a signed checkpoint in bytes, maxNoteSignatures its
// signature lines: c2sp.org/signed-note wants at least 16 post-quantum ones.
const (
	MaxCheckpoint     = 1 << 20
	maxNoteSignatures = 100
)

// A Checkpoint is a signed tree head that a policy accepted.
type Checkpoint struct {
	Origin       string
	Size         uint64 // of the tree
	Root         Hash   // of the tree
	Raw          []byte // the whole note
	LogKey       string // vkey that signed it
	Cosignatures []Cosignature
	Unknown      int // signature lines by keys that the policy does not name
}

// A Cosignature is a valid one by a witness of the policy.
type Cosignature struct {
	Name string // of the key
	VKey string
	Time uint64 // Unix seconds; 0 for none

	witness int // index in the policy
}

// Verify checks a signed checkpoint against the policy: a log's signature, every
// line by a known key, and the quorum.
func (p *Policy) Verify(raw []byte) (*Checkpoint, error) {
	c, text, lines, err := parseCheckpointNote(raw)
	if err != nil {
		return nil, err
	}
	known := false
	for _, l := range p.logs {
		if l.Name != c.Origin {
			continue
		}
		known = true
		ok, err := l.key.check(text, lines)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Origin, ErrLogSignature)
		}
		if ok != nil && c.LogKey == "" {
			c.LogKey = l.VKey
		}
	}
	if !known {
		return nil, fmt.Errorf("log %q: %w", c.Origin, ErrLogUnknown)
	}
	if c.LogKey == "" {
		return nil, fmt.Errorf("%s: no signature by a key of the policy: %w", c.Origin, ErrLogSignature)
	}
	have := make([]bool, len(p.witnesses))
	var names []string
	for i, w := range p.witnesses {
		sig, err := w.key.check(text, lines)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.Name, ErrCosignature)
		}
		if sig == nil {
			continue
		}
		have[i] = true
		names = append(names, w.Name)
		c.Cosignatures = append(c.Cosignatures, Cosignature{w.Name, w.VKey, binary.BigEndian.Uint64(sig), i})
	}
	if !p.satisfied(have) {
		return nil, &QuorumError{p.describe(), names}
	}
	for _, l := range lines {
		if !p.knows(l) {
			c.Unknown++
		}
	}
	return c, nil
}

// knows reports whether a line is by a key that Verify looked for.
func (p *Policy) knows(l noteLine) bool {
	is := func(k PolicyKey) bool { return k.key.name == l.name && k.key.id == l.id }
	return slices.ContainsFunc(p.logs, is) || slices.ContainsFunc(p.witnesses, is)
}

// check returns the key's signature, nil where there is no line by it. Every
// line by the key is verified: one that fails is an error, also beside one that
// does not.
func (v verifier) check(text []byte, lines []noteLine) (sig []byte, err error) {
	for _, l := range lines {
		if l.name != v.name || l.id != v.id {
			continue
		}
		if !v.verify(text, l.sig) || v.typ != typeEd25519 && (len(l.sig) < 8 || binary.BigEndian.Uint64(l.sig) > math.MaxInt64) {
			return nil, errors.New("signature does not verify")
		}
		if sig == nil {
			sig = l.sig
		}
	}
	return sig, nil
}

type noteLine struct {
	name string
	id   uint32
	sig  []byte
}

// parseCheckpointNote takes a signed checkpoint apart (c2sp.org/signed-note,
// c2sp.org/tlog-checkpoint).
func parseCheckpointNote(raw []byte) (*Checkpoint, []byte, []noteLine, error) {
	bad := func(what string, args ...any) (*Checkpoint, []byte, []noteLine, error) {
		return nil, nil, nil, fmt.Errorf("%s: %w", fmt.Sprintf(what, args...), ErrCheckpoint)
	}
	if len(raw) > MaxCheckpoint {
		return bad("%d bytes, at most %d", len(raw), MaxCheckpoint)
	}
	// SPEC: a note is UTF-8 without control characters below U+0020 but newline.
	if !utf8.Valid(raw) || bytes.ContainsFunc(raw, func(c rune) bool { return c < 0x20 && c != '\n' || c == 0x7f }) {
		return bad("not UTF-8, or control characters")
	}
	at := bytes.LastIndex(raw, []byte("\n\n"))
	if at < 0 {
		return bad("no empty line before the signatures")
	}
	text, sigs := raw[:at+1], string(raw[at+2:])
	c := &Checkpoint{Raw: raw}
	if err := c.parseText(string(text)); err != nil {
		return bad("%v", err)
	}
	var lines []noteLine
	for sigs != "" {
		line, rest, ok := strings.Cut(sigs, "\n")
		sigs = rest
		line, dash := strings.CutPrefix(line, "— ")
		name, enc, space := strings.Cut(line, " ")
		sig, canonical := canonicalBase64(enc, MaxCheckpoint)
		switch {
		case !ok || !dash || !space || !canonical || len(sig) < 5 || !ValidKeyName(name):
			return bad("signature line %d: want a dash, a key name, and base64 of a key ID and a signature", len(lines)+1)
		case len(lines) == maxNoteSignatures:
			return bad("more than %d signatures", maxNoteSignatures)
		}
		lines = append(lines, noteLine{name, binary.BigEndian.Uint32(sig), sig[4:]})
	}
	if len(lines) == 0 {
		return bad("no signature")
	}
	return c, text, lines, nil
}

// parseText reads the lines that are signed: origin, size, root, extensions.
func (c *Checkpoint) parseText(text string) error {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 3 || slices.Contains(lines, "") {
		return errors.New("want origin, size and root, and no empty line")
	}
	root, ok := canonicalBase64(lines[2], len(c.Root))
	if !ok || len(root) != len(c.Root) {
		return errors.New("root: want canonical base64 of 32 bytes")
	}
	var err error
	if c.Size, err = ParseNumber(lines[1]); err != nil {
		return fmt.Errorf("size: %w", err)
	}
	c.Origin, c.Root = lines[0], Hash(root)
	return nil
}

// ParseCheckpoint reads a signed checkpoint and verifies nothing but its form.
func ParseCheckpoint(raw []byte) (*Checkpoint, error) {
	c, _, _, err := parseCheckpointNote(raw)
	return c, err
}

// VerifyConsistency checks that the newer checkpoint's tree continues the
// older one's.
func VerifyConsistency(older, newer *Checkpoint, path []Hash) error {
	nodes := make([][]byte, len(path))
	for i := range path {
		nodes[i] = path[i][:]
	}
	if older.Origin != newer.Origin {
		return fmt.Errorf("logs %q and %q: %w", older.Origin, newer.Origin, ErrConsistency)
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, older.Size, newer.Size, nodes, older.Root[:], newer.Root[:]); err != nil {
		return fmt.Errorf("%s, size %d to %d: %v: %w", older.Origin, older.Size, newer.Size, err, ErrConsistency)
	}
	return nil
}

// appendCheckpoint writes the text that a log signs.
func appendCheckpoint(b []byte, origin string, size uint64, root Hash) []byte {
	return fmt.Appendf(b, "%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
}
