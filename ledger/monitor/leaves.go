package monitor

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"sync"

	"github.com/imaledger/imaledger/ledger"
)

// leaves finds the index of an entry, by the first eight bytes of its leaf hash: all
// of it for each entry would be most of an audit's memory, and only statements ask.
type leaves struct {
	prefixes []uint64

	mu sync.Mutex
	// sorted are the indexes of the first entries, in the order of their prefixes. It
	// is made when a statement asks, and anew when a quarter of the log is not in it.
	sorted []uint64
}

// unsorted is how many of the newest entries are looked through one by one.
const unsorted = 1 << 12

func (l *leaves) add(leaf ledger.Hash) { l.prefixes = append(l.prefixes, prefixOf(leaf)) }

func prefixOf(leaf ledger.Hash) uint64 { return binary.BigEndian.Uint64(leaf[:]) }

// is tells whether a leaf hash is the one at an index, as far as eight bytes tell.
func (l *leaves) is(index uint64, leaf ledger.Hash) bool {
	return l.prefixes[index] == prefixOf(leaf)
}

// find gives the indexes at which the leaf may stand.
func (l *leaves) find(leaf ledger.Hash) iter.Seq[uint64] {
	prefix, sorted := prefixOf(leaf), l.inOrder()
	return func(yield func(uint64) bool) {
		at, _ := slices.BinarySearchFunc(sorted, prefix, func(index, want uint64) int { return cmp.Compare(l.prefixes[index], want) })
		for ; at < len(sorted) && l.prefixes[sorted[at]] == prefix; at++ {
			if !yield(sorted[at]) {
				return
			}
		}
		for i := len(sorted); i < len(l.prefixes); i++ {
			if l.prefixes[i] == prefix && !yield(uint64(i)) {
				return
			}
		}
	}
}

// inOrder returns sorted, which is never changed, but made anew.
func (l *leaves) inOrder() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.prefixes)-len(l.sorted) > max(unsorted, len(l.sorted)/4) {
		sorted := make([]uint64, len(l.prefixes))
		for i := range sorted {
			sorted[i] = uint64(i)
		}
		slices.SortFunc(sorted, func(a, b uint64) int {
			return cmp.Or(cmp.Compare(l.prefixes[a], l.prefixes[b]), cmp.Compare(a, b))
		})
		l.sorted = sorted
	}
	return l.sorted
}
