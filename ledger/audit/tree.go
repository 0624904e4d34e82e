package audit

import (
	"cmp"
	"crypto/sha256"
	"maps"
	"math/bits"
	"slices"

	"github.com/imaledger/imaledger/ledger"
)

// A nodeID names a node of a log's tree over which the tree is complete: level 0
// are the leaves. Such a node never changes while the log grows, so two hashes of
// one are two histories.
type nodeID struct {
	origin string
	level  int
	index  uint64
}

// climb notes the complete nodes that a verified proof states or leads through. Of
// those that contradict others the lowest is found, which says the most.
func (c *bundleCheck) climb(it item) {
	tree, split := it.receipt.Checkpoint, false
	note := func(level int, index uint64, hash ledger.Hash) {
		if index < tree.Size>>level && !split { // else it has leaves that are yet to come
			split = c.node(it.subject, nodeID{tree.Origin, level, index}, hash)
		}
	}
	level, at, last, hash := 0, it.receipt.Index, tree.Size-1, it.leaf
	note(level, at, hash)
	for _, sibling := range it.receipt.path {
		for at&1 == 0 && at == last { // a node without a sibling stands for itself one level up
			level, at, last = level+1, at>>1, last>>1
		}
		note(level, at^1, sibling)
		if at&1 == 1 {
			hash = parent(sibling, hash)
		} else {
			hash = parent(hash, sibling)
		}
		level, at, last = level+1, at>>1, last>>1
		note(level, at, hash)
	}
}

// node holds a node's hash to the one that it had before, and reports whether it
// was another.
func (c *bundleCheck) node(subject string, id nodeID, hash ledger.Hash) (split bool) {
	before, found := c.nodes[id]
	switch {
	case !found:
		c.nodes[id] = hash
		return false
	case before == hash:
		return false
	case id.level == 0:
		c.find(ledger.LogSplit, subject, "log %s has two entries at index %d: %x and %x", id.origin, id.index, before, hash)
	default:
		c.find(ledger.LogSplit, subject, "log %s has two trees: entries %d to %d have the root %x in one and %x in the other",
			id.origin, id.index<<id.level, (id.index+1)<<id.level-1, before, hash)
	}
	return true
}

// oneTree holds each checkpoint's root to the nodes that proofs gave, where they
// make up the whole of its tree.
func (c *bundleCheck) oneTree() {
	order := slices.SortedFunc(maps.Keys(c.roots), func(a, b treeID) int {
		return cmp.Or(cmp.Compare(a.origin, b.origin), cmp.Compare(a.size, b.size))
	})
	for _, tree := range order {
		if root, known := c.root(tree); known && root != c.roots[tree] {
			c.find(ledger.LogSplit, "log "+tree.origin, "it signed a tree of size %d with the root %x; its first %d entries have the root %x by its proofs",
				tree.size, c.roots[tree], tree.size, root)
		}
	}
}

// root computes a tree's root from its complete subtrees, the smallest first.
func (c *bundleCheck) root(tree treeID) (root ledger.Hash, known bool) {
	if tree.size == 0 {
		return sha256.Sum256(nil), true
	}
	for left := tree.size; left > 0; left &= left - 1 {
		level := bits.TrailingZeros64(left)
		hash, found := c.nodes[nodeID{tree.origin, level, left>>level - 1}]
		if !found {
			return root, false
		}
		if root = parent(hash, root); left == tree.size {
			root = hash
		}
	}
	return root, true
}

// parent is RFC 6962's.
func parent(left, right ledger.Hash) ledger.Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}
