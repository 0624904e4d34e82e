package witness

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/rfc6962"
)

// subtreeRequest is the body of sign-subtree.
type subtreeRequest struct {
	start, end uint64 // leaves, the last one not included
	root       hash   // of the subtree
	proof      [][]byte
	checkpoint *checkpoint
}

// parseSubtreeRequest parses the body of sign-subtree, strictly. Nothing in what
// it returns has been verified.
func parseSubtreeRequest(body []byte) (*subtreeRequest, error) {
	// SPEC: The request body MUST be a sequence of a subtree range line, a subtree
	// SPEC: hash line, zero or more consistency proof lines, and an empty line,
	// SPEC: followed by a reference checkpoint.
	lines, note, err := splitBody(body)
	if err != nil {
		return nil, err
	}
	if len(lines) < 2 {
		return nil, errors.New("no subtree hash line")
	}
	r := new(subtreeRequest)
	// SPEC: The subtree range line MUST consist of the string `subtree`, a single
	// SPEC: space (0x20), the subtree start encoded as an ASCII decimal with no leading
	// SPEC: zeroes (unless start is zero, in which case the encoding MUST be `0`), a
	// SPEC: single space (0x20), and the subtree end encoded as an ASCII decimal with no
	// SPEC: leading zeroes.
	decimals, ok := strings.CutPrefix(lines[0], "subtree ")
	start, end, ok2 := strings.Cut(decimals, " ")
	if !ok || !ok2 {
		return nil, errors.New(`first line is not "subtree ", a start, a space and an end`)
	}
	if r.start, err = parseSize(start); err != nil {
		return nil, fmt.Errorf("subtree range line: start: %w", err)
	}
	if r.end, err = parseSize(end); err != nil {
		return nil, fmt.Errorf("subtree range line: end: %w", err)
	}
	// SPEC: The subtree hash line MUST be the Merkle Tree hash of the subtree encoded
	// SPEC: in base64.
	if r.root, err = parseHash(lines[1]); err != nil {
		return nil, fmt.Errorf("subtree hash line: %w", err)
	}
	if r.proof, err = parseProof(lines[2:]); err != nil {
		return nil, err
	}
	if r.checkpoint, err = parseCheckpoint(note); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	// SPEC: The half-open interval `[start, end)` MUST be a valid subtree [...] and
	// SPEC: end MUST be less than or equal to the checkpoint size.
	// SPEC: If the request is invalid according to the rules above, the witness MUST
	// SPEC: respond with a "400 Bad Request" HTTP status code.
	if !validSubtree(r.start, r.end) {
		return nil, fmt.Errorf("leaves %d to %d are no subtree: the start is not a multiple of the power of two that holds them", r.start, r.end)
	}
	if r.end > r.checkpoint.size {
		return nil, fmt.Errorf("the subtree ends at %d, after the checkpoint's size %d", r.end, r.checkpoint.size)
	}
	return r, nil
}

// validSubtree: draft-ietf-plants-merkle-tree-certs-03, section 4.1. The start is
// a multiple of the smallest power of two that is not below the subtree's size.
func validSubtree(start, end uint64) bool {
	if start >= end {
		return false
	}
	level := bits.Len64(end - start - 1)
	return level < 64 && start&(1<<level-1) == 0 || start == 0
}

// errSubtreeProof is a proof that does not lead from the subtree to the tree.
var errSubtreeProof = errors.New("the subtree is not proven to be in the tree")

// verifySubtree checks a subtree consistency proof:
// draft-ietf-plants-merkle-tree-certs-03, section 4.4.
func verifySubtree(start, end, size uint64, proof [][]byte, subtree, root hash) error {
	if !validSubtree(start, end) || end > size {
		return errSubtreeProof
	}
	fr, sr, ok := proofRoots(start, end, size, proof, subtree)
	if !ok || fr != subtree || sr != root {
		return errSubtreeProof
	}
	return nil
}

// proofRoots gives the roots that a subtree consistency proof leads to, of the
// subtree and of the tree, and whether it has as many hashes as one has. The
// range is a valid subtree of the tree.
//
// It walks from the subtree's last leaf up to the root of both, in the order of
// the draft's steps; fn, sn and tn are the indices of the subtree's first node,
// its last, and the tree's last at the level reached. Where the subtree is whole,
// or ends with the tree, the proof does not have its root, and it is taken as given.
func proofRoots(start, end, size uint64, proof [][]byte, subtree hash) (fr, sr hash, ok bool) {
	fn, sn, tn := start, end-1, size-1
	for fn != sn && (end == size || sn&1 == 1) {
		fn, sn, tn = fn>>1, sn>>1, tn>>1
	}
	fr = subtree
	if fn != sn {
		if len(proof) == 0 {
			return fr, sr, false
		}
		fr, proof = hash(proof[0]), proof[1:]
	}
	sr = fr
	for _, c := range proof {
		if tn == 0 {
			return fr, sr, false
		}
		if sn&1 == 1 || sn == tn {
			if fn < sn {
				fr = hash(rfc6962.DefaultHasher.HashChildren(c, fr[:]))
			}
			sr = hash(rfc6962.DefaultHasher.HashChildren(c, sr[:]))
			for sn&1 == 0 {
				fn, sn, tn = fn>>1, sn>>1, tn>>1
			}
		} else {
			sr = hash(rfc6962.DefaultHasher.HashChildren(sr[:], c))
		}
		fn, sn, tn = fn>>1, sn>>1, tn>>1
	}
	return fr, sr, tn == 0
}

// signSubtree does what sign-subtree asks for and gives the cosignatures' lines.
func (w *Witness) signSubtree(body []byte) (string, error) {
	r, err := parseSubtreeRequest(body)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errMalformed, err)
	}
	c := r.checkpoint
	// SPEC: If the checkpoint origin is unknown, the witness MUST respond with a "404
	// SPEC: Not Found" HTTP status code.
	log, _, err := w.known(c.origin)
	if err != nil {
		return "", err
	}
	// SPEC: The witness MUST verify that the checkpoint includes a valid cosignature
	// SPEC: from one of its own keys. If the witness can't verify the checkpoint, it
	// SPEC: MUST respond with a "403 Forbidden" HTTP status code.
	own, err := w.ownKeys(c)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errSignature, err)
	}
	log.mu.Lock()
	err = w.rolledBack(log, c)
	log.mu.Unlock()
	if err != nil {
		return "", err
	}
	// SPEC: The consistency proof lines MUST encode a Subtree Consistency Proof from
	// SPEC: the subtree to the checkpoint [...]. If the Merkle Consistency Proof
	// SPEC: doesn't verify, the witness MUST respond with a "422 Unprocessable Entity"
	// SPEC: HTTP status code.
	if err := verifySubtree(r.start, r.end, c.size, r.proof, r.root, c.root); err != nil {
		return "", fmt.Errorf("%w: leaves %d to %d of %d: %w", errInconsistent, r.start, r.end, c.size, err)
	}
	var lines strings.Builder
	for _, k := range own {
		// SPEC: If the cosignature format supports timestamps, the timestamp MUST be zero.
		line, err := k.line(statement{origin: c.origin, start: r.start, end: r.end, root: r.root})
		if err != nil {
			return "", fmt.Errorf("%w: %w", errUnavailable, err)
		}
		lines.WriteString(line)
	}
	return lines.String(), nil
}

// ownKeys gives the keys that sign a subtree of a checkpoint: those that cosigned
// it and can, else all that can.
//
// SPEC: The signatures SHOULD be ML-DSA-44 cosignatures, and SHOULD be from one or
// SPEC: more of the same witness key(s) that signed the checkpoint. The cosignature
// SPEC: format MUST support subtree cosigning.
func (w *Witness) ownKeys(c *checkpoint) ([]*Key, error) {
	var signed, able []*Key
	cosigned := false
	for _, k := range w.keys {
		_, found, err := k.cosigned(c)
		if err != nil {
			return nil, err
		}
		cosigned = cosigned || found
		if k.alg != algMLDSA44 {
			continue
		}
		able = append(able, k)
		if found {
			signed = append(signed, k)
		}
	}
	if !cosigned {
		return nil, errors.New("no cosignature of this witness on the checkpoint of size " + strconv.FormatUint(c.size, 10))
	}
	if len(signed) > 0 {
		return signed, nil
	}
	return able, nil
}
