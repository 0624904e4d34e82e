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
	Extra      []byte // opaque, authenticated by nothing; nil for none
	Index      uint64 // of the entry
	Hashes     []Hash // from the leaf's sibling up
	Checkpoint []byte // signed, verbatim
}

// ParseProof reads a proof. Errors are ErrProof or ErrCheckpoint.
func ParseProof(b []byte) (*Proof, error) {
	bad := func(what string, args ...any) (*Proof, error) {
		return nil, fmt.Errorf("%s: %w", fmt.Sprintf(what, args...), ErrProof)
	}
	if len(b) > MaxProof {
		return bad("%d bytes, at most %d", len(b), MaxProof)
	}
	// SPEC: After the inclusion proof lines and an empty line, the checkpoint
	// is included verbatim.
	head, checkpoint, ok := bytes.Cut(b, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !ok || lines[0] != ProofFormat {
		return bad("want %s, an index, hashes, an empty line and a checkpoint", ProofFormat)
	}
	p := &Proof{Checkpoint: checkpoint}
	lines = lines[1:]
	if len(lines) == 0 {
		return bad("no index line")
	}
	if extra, found := strings.CutPrefix(lines[0], "extra "); found {
		if p.Extra, ok = canonicalBase64(extra, maxProofExtra); !ok || len(p.Extra) == 0 {
			return bad("extra: want canonical base64 of 1 to %d bytes", maxProofExtra)
		}
		lines = lines[1:]
	}
	return p.parse(lines, bad)
}

func (p *Proof) parse(lines []string, bad func(string, ...any) (*Proof, error)) (*Proof, error) {
	if len(lines) == 0 {
		return bad("no index line")
	}
	index, found := strings.CutPrefix(lines[0], "index ")
	var err error
	if p.Index, err = ParseNumber(index); !found || err != nil {
		return bad("index: want a canonical decimal, have %.32q", lines[0])
	}
	for i, line := range lines[1:] {
		h, ok := canonicalBase64(line, len(Hash{}))
		if !ok || len(h) != len(Hash{}) || i == maxProofHashes {
			return bad("hash %d: want canonical base64 of 32 bytes, at most %d of them", i, maxProofHashes)
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
	enc := base64.StdEncoding.EncodeToString
	b := []byte(ProofFormat + "\n")
	if p.Extra != nil {
		b = fmt.Appendf(b, "extra %s\n", enc(p.Extra))
	}
	b = fmt.Appendf(b, "index %d\n", p.Index)
	for _, h := range p.Hashes {
		b = fmt.Appendf(b, "%s\n", enc(h[:]))
	}
	return append(append(b, '\n'), p.Checkpoint...)
}

// Verify checks the proof of a leaf hash: the checkpoint against the policy,
// then the path from the leaf to its root. Besides the errors of Policy.Verify
// it gives ErrInclusion.
func (p *Proof) Verify(policy *Policy, leaf Hash) (*Checkpoint, error) {
	c, err := policy.Verify(p.Checkpoint)
	if err != nil {
		return nil, err
	}
	nodes := make([][]byte, len(p.Hashes))
	for i := range p.Hashes {
		nodes[i] = p.Hashes[i][:]
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, c.Size, leaf[:], nodes, c.Root[:]); err != nil {
		return nil, fmt.Errorf("index %d in the tree of size %d: %v: %w", p.Index, c.Size, err, ErrInclusion)
	}
	return c, nil
}
