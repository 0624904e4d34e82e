package ledger

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"math/bits"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// A RecordTree is the RFC 6962 tree over a segment's records, each a leaf of
// its raw bytes. It holds the roots of complete subtrees only: memory grows
// with the logarithm of the number of records, and a record takes none.
type RecordTree struct {
	n     uint64
	roots []Hash // of the complete subtrees, the largest first: one for each bit of n
	hash  hash.Hash
}

// NewRecordTree returns a tree of no records.
func NewRecordTree() *RecordTree { return &RecordTree{hash: sha256.New()} }

// Reset makes it a tree of no records.
func (t *RecordTree) Reset() { t.n, t.roots = 0, t.roots[:0] }

var leafPrefix = []byte{0}

// Add appends a record's raw bytes.
func (t *RecordTree) Add(raw []byte) {
	t.roots = append(t.roots, Hash{})
	leaf := &t.roots[len(t.roots)-1]
	t.hash.Reset()
	t.hash.Write(leafPrefix)
	t.hash.Write(raw)
	t.hash.Sum(leaf[:0])
	// Two subtrees of one size are one of the next.
	for t.n++; len(t.roots) > bits.OnesCount64(t.n); {
		last := len(t.roots) - 1
		t.roots[last-1] = nodeHash(&t.roots[last-1], &t.roots[last])
		t.roots = t.roots[:last]
	}
}

// Root returns the tree's root; that of no records is the SHA-256 of nothing.
func (t *RecordTree) Root() Hash {
	if t.n == 0 {
		return sha256.Sum256(nil)
	}
	last := len(t.roots) - 1
	root := t.roots[last]
	for i := last - 1; i >= 0; i-- {
		root = nodeHash(&t.roots[i], &root)
	}
	return root
}

// nodeHash is the hash of a tree that has two subtrees: RFC 6962, section 2.1.
func nodeHash(left, right *Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// RecordPath returns the path from record i to the root of the tree over
// leaves, which are the records' leaf hashes.
func RecordPath(leaves []Hash, i uint64) ([]Hash, error) {
	if i >= uint64(len(leaves)) {
		return nil, fmt.Errorf("record %d of %d", i, len(leaves))
	}
	return recordPath(leaves, i), nil
}

// recordPath is PATH(m, D[n]) of RFC 6962, section 2.1.1.
func recordPath(leaves []Hash, i uint64) []Hash {
	n := uint64(len(leaves))
	if n == 1 {
		return nil
	}
	k := uint64(1)
	for k*2 < n {
		k *= 2
	}
	if i < k {
		return append(recordPath(leaves[:k], i), recordRoot(leaves[k:]))
	}
	return append(recordPath(leaves[k:], i-k), recordRoot(leaves[:k]))
}

func recordRoot(leaves []Hash) Hash {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	l, r := recordRoot(leaves[:k]), recordRoot(leaves[k:])
	return nodeHash(&l, &r)
}

// VerifyRecord checks that raw is record i of count under root.
func VerifyRecord(raw []byte, i, count uint64, path []Hash, root Hash) error {
	nodes := make([][]byte, len(path))
	for n := range path {
		nodes[n] = path[n][:]
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, i, count, rfc6962.DefaultHasher.HashLeaf(raw), nodes, root[:]); err != nil {
		return fmt.Errorf("record %d of %d: %w", i, count, err)
	}
	return nil
}
