package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
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
	Have []string // witnesses that did, by their names in the policy
}

func (e *QuorumError) Error() string {
	have := "none of them"
	if len(e.Have) > 0 {
		have = strings.Join(e.Have, ", ")
	}
	return fmt.Sprintf("witness quorum not met: it needs %s; cosigned by %s", e.Need, have)
}

// MaxCheckpoint bounds a signed checkpoint in bytes: c2sp.org/signed-note wants
// at least 16 signatures, and a post-quantum one has up to 5 kB.
const MaxCheckpoint = 1 << 20

// A Checkpoint is a signed tree head: c2sp.org/tlog-checkpoint. From
// Policy.Verify it is one that the policy accepted; from ParseCheckpoint it is
// what somebody wrote, and has no LogKey and no Cosignatures.
type Checkpoint struct {
	Origin       string
	Size         uint64 // of the tree
	Root         Hash   // of the tree
	Raw          []byte // the whole note
	LogKey       string // vkey that signed it: the first, if several of the policy's did
	Cosignatures []Cosignature
	Unknown      int // signature lines by keys that the policy does not name
}

// Verify checks a signed checkpoint against the policy: a log's signature, every
// line by a known key, and the quorum. Errors are ErrCheckpoint, ErrLogUnknown,
// ErrLogSignature, ErrCosignature and *QuorumError, in this order. It keeps raw.
func (p *Policy) Verify(raw []byte) (*Checkpoint, error) {
	n, err := parseCheckpointNote(raw)
	if err != nil {
		return nil, err
	}
	// SPEC: This name MUST correspond to the log's origin line.
	if !slices.ContainsFunc(p.logs, func(l PolicyKey) bool { return l.Name == n.Origin }) {
		return nil, fmt.Errorf("log %.64q: %w", n.Origin, ErrLogUnknown)
	}
	// The log comes first: nobody else can make a verifier check a hundred
	// cosignatures.
	if err := p.verifyLog(n); err != nil {
		return nil, err
	}
	if err := p.verifyCosignatures(n); err != nil {
		return nil, err
	}
	// SPEC: Verifiers MUST ignore signatures from unknown keys. They are
	// counted, because nothing vouches for those bytes.
	for _, l := range n.lines {
		if _, known := p.keys[l.key]; !known {
			n.Unknown++
		}
	}
	return &n.Checkpoint, nil
}

// VerifyUnwitnessed is Verify without the quorum: the log has signed the checkpoint, and
// is held to it, whatever witnesses the policy demands by now. Who has seen it is not
// known. Errors are those of Verify but *QuorumError.
func (p *Policy) VerifyUnwitnessed(raw []byte) (*Checkpoint, error) {
	c, err := p.Verify(raw)
	if quorum := (*QuorumError)(nil); errors.As(err, &quorum) {
		return ParseCheckpoint(raw)
	}
	return c, err
}

// ParseCheckpoint reads a signed checkpoint and verifies nothing but its form.
// Errors are ErrCheckpoint.
func ParseCheckpoint(raw []byte) (*Checkpoint, error) {
	n, err := parseCheckpointNote(raw)
	if err != nil {
		return nil, err
	}
	return &n.Checkpoint, nil
}

// A checkpointNote is a signed checkpoint taken apart.
type checkpointNote struct {
	Checkpoint
	text     []byte // what the signatures are over
	extended bool   // whether extension lines follow the root
	lines    []noteLine
}

// parseCheckpointNote takes a signed checkpoint apart (c2sp.org/signed-note,
// c2sp.org/tlog-checkpoint).
func parseCheckpointNote(raw []byte) (*checkpointNote, error) {
	bad := func(format string, args ...any) (*checkpointNote, error) {
		return nil, fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrCheckpoint)
	}
	if len(raw) > MaxCheckpoint {
		return bad("%d bytes, at most %d", len(raw), MaxCheckpoint)
	}
	// SPEC: Signed notes MUST be valid UTF-8 and MUST NOT contain any ASCII
	// control characters (those below U+0020) other than newline. DEL has no
	// business here either.
	if !utf8.Valid(raw) {
		return bad("not UTF-8")
	}
	if i := bytes.IndexFunc(raw, func(c rune) bool { return c < 0x20 && c != '\n' || c == 0x7f }); i >= 0 {
		return bad("byte %d is the control character 0x%02x", i, raw[i])
	}
	// SPEC: the text is separated from the signatures by the last empty line.
	at := bytes.LastIndex(raw, []byte("\n\n"))
	if at < 0 {
		return bad("no empty line before the signatures")
	}
	n := &checkpointNote{Checkpoint: Checkpoint{Raw: raw}, text: raw[:at+1]}
	if err := n.parseText(string(n.text)); err != nil {
		return bad("%v", err)
	}
	var err error
	if n.lines, err = parseNoteLines(string(raw[at+2:])); err != nil {
		return bad("%v", err)
	}
	return n, nil
}

// parseText reads the lines that are signed: origin, size, root, extensions.
func (n *checkpointNote) parseText(text string) error {
	// SPEC: a sequence of at least three non-empty lines.
	f := strings.SplitN(text, "\n", 4)
	if len(f) < 4 || f[0] == "" || strings.Contains(text, "\n\n") {
		return errors.New("want origin, size and root, and no empty line")
	}
	n.Origin, n.extended = f[0], f[3] != ""
	var err error
	if n.Size, err = ParseNumber(f[1]); err != nil {
		return fmt.Errorf("size: %w", err)
	}
	root, ok := canonicalBase64(f[2], len(n.Root))
	if !ok || len(root) != len(n.Root) {
		return errors.New("root: want canonical base64 of 32 bytes")
	}
	n.Root = Hash(root)
	// RFC 6962, section 2.1: the hash of an empty list is that of no bytes.
	if n.Size == 0 && n.Root != sha256.Sum256(nil) {
		return errors.New("root: not that of the empty tree, which size 0 says it is")
	}
	return nil
}

// VerifyConsistency checks that the newer checkpoint's tree continues the
// older one's: RFC 6962, section 2.1.2. Errors are ErrConsistency.
func VerifyConsistency(older, newer *Checkpoint, path []Hash) error {
	if older.Origin != newer.Origin {
		return fmt.Errorf("logs %.64q and %.64q: %w", older.Origin, newer.Origin, ErrConsistency)
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, older.Size, newer.Size, proofNodes(path), older.Root[:], newer.Root[:]); err != nil {
		// The library's text has the roots as lists of numbers.
		return fmt.Errorf("%s: the path does not lead from root %x of size %d to root %x of size %d: %w", older.Origin, older.Root, older.Size, newer.Root, newer.Size, ErrConsistency)
	}
	return nil
}
