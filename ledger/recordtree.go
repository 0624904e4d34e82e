package ledger

import (
	"crypto/sha256"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// A RecordTree is the RFC 6962 tree over a segment's records, each a leaf of
// its raw bytes. It holds the roots of complete subtrees only: memory grows
// with the logarithm of the number of records.
type RecordTree struct {
	r *compact.Range
}

// NewRecordTree returns a tree of no records.
func NewRecordTree() *RecordTree {
	f := &compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	return &RecordTree{f.NewEmptyRange(0)}
}

// Add appends a record's raw bytes.
func (t *RecordTree) Add(raw []byte) error {
	return t.r.Append(rfc6962.DefaultHasher.HashLeaf(raw), nil)
}

// Root returns the tree's root; that of no records is the SHA-256 of nothing.
func (t *RecordTree) Root() (Hash, error) {
	if t.r.End() == 0 {
		return sha256.Sum256(nil), nil
	}
	root, err := t.r.GetRootHash(nil)
	if err != nil {
		return Hash{}, err
	}
	return Hash(root), nil
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
	return Hash(rfc6962.DefaultHasher.HashChildren(l[:], r[:]))
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
