package ledger

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// ProofFormat is the first line of a proof.
const ProofFormat = "c2sp.org/tlog-proof@v1"

// ErrProof is a proof that is not in the form of c2sp.org/tlog-proof.
var ErrProof = errors.New("malformed proof")

// maxProofHashes is what a tree of 2^63 leaves needs; maxProofExtra bounds what
// nobody authenticates.
const (
	maxProofHashes = 63
	maxProofExtra  = 64 << 10
)

// A Proof shows that a log includes an entry: c2sp.org/tlog-proof.
type Proof struct {
	Extra      []byte // opaque, authenticated by nothing; empty for none
	Index      uint64 // of the entry
	Hashes     []Hash // from the leaf's sibling up
	Checkpoint []byte // signed, verbatim
}

// ParseProof reads a proof. What parses re-encodes to the same bytes. Errors are
// ErrProof or ErrCheckpoint. It keeps b.
func ParseProof(b []byte) (*Proof, error) {
	line := 1
	bad := func(format string, args ...any) (*Proof, error) {
		return nil, fmt.Errorf("line %d: %s: %w", line, fmt.Sprintf(format, args...), ErrProof)
	}
	if len(b) > MaxProof {
		return nil, fmt.Errorf("%d bytes, at most %d: %w", len(b), MaxProof, ErrProof)
	}
	// SPEC: After the inclusion proof lines and an empty line, the checkpoint
	// issued by the log is included verbatim.
	text, checkpoint, ok := bytes.Cut(b, []byte("\n\n"))
	head, rest, _ := strings.Cut(string(text), "\n")
	if head != ProofFormat {
		return bad("%.64q, want %s", head, ProofFormat)
	}
	if !ok {
		return nil, fmt.Errorf("no empty line, which stands before the checkpoint: %w", ErrProof)
	}
	p := &Proof{Checkpoint: checkpoint}
	line++
	if extra, found := strings.CutPrefix(rest, "extra "); found {
		extra, rest, _ = strings.Cut(extra, "\n")
		// SPEC: If no extra data is present, this line is omitted.
		if p.Extra, ok = canonicalBase64(extra, maxProofExtra); !ok || len(p.Extra) == 0 {
			return bad("extra: want canonical base64 of 1 to %d bytes", maxProofExtra)
		}
		line++
	}
	index, rest, more := strings.Cut(rest, "\n")
	number, found := strings.CutPrefix(index, "index ")
	var err error
	if p.Index, err = ParseNumber(number); !found || err != nil {
		return bad("%.64q, want index and a canonical decimal", index)
	}
	for more {
		line++
		var hash string
		hash, rest, more = strings.Cut(rest, "\n")
		h, ok := canonicalBase64(hash, len(Hash{}))
		if !ok || len(h) != len(Hash{}) {
			return bad("hash: want canonical base64 of 32 bytes")
		}
		if len(p.Hashes) == maxProofHashes {
			return bad("more than %d hashes", maxProofHashes)
		}
		p.Hashes = append(p.Hashes, Hash(h))
	}
	if _, err := ParseCheckpoint(p.Checkpoint); err != nil {
		return nil, err
	}
	return p, nil
}

// Marshal returns the proof's one encoding.
func (p *Proof) Marshal() []byte {
	enc := base64.StdEncoding
	b := []byte(ProofFormat + "\n")
	if len(p.Extra) > 0 {
		b = append(enc.AppendEncode(append(b, "extra "...), p.Extra), '\n')
	}
	b = fmt.Appendf(b, "index %d\n", p.Index)
	for _, h := range p.Hashes {
		b = append(enc.AppendEncode(b, h[:]), '\n')
	}
	return append(append(b, '\n'), p.Checkpoint...)
}

// Verify checks the proof of a leaf hash: the checkpoint against the policy,
// then the path from the leaf to its root. Besides the errors of Policy.Verify
// it gives ErrInclusion. Extra is not looked at: nothing vouches for it.
func (p *Proof) Verify(policy *Policy, leaf Hash) (*Checkpoint, error) {
	c, err := policy.Verify(p.Checkpoint)
	if err != nil {
		return nil, err
	}
	// VerifyInclusion refuses an index that the tree does not have.
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, c.Size, leaf[:], proofNodes(p.Hashes), c.Root[:]); err != nil {
		// The library's text has the roots as lists of numbers.
		return nil, fmt.Errorf("the path from the leaf at index %d does not lead to the root of the tree of size %d: %w", p.Index, c.Size, ErrInclusion)
	}
	return c, nil
}

// proofNodes gives hashes to package merkle.
func proofNodes(path []Hash) [][]byte {
	nodes := make([][]byte, len(path))
	for i := range path {
		nodes[i] = path[i][:]
	}
	return nodes
}
