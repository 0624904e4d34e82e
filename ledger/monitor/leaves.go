package monitor

import (
	"encoding/binary"
	"iter"

	"github.com/imaledger/imaledger/ledger"
)

// leaves finds the index of an entry, by the first eight bytes of its leaf hash: all
// of it for each entry would be most of an audit's memory, and only statements ask.
type leaves struct{ prefixes []uint64 }

func (l *leaves) add(leaf ledger.Hash) { l.prefixes = append(l.prefixes, prefixOf(leaf)) }

func prefixOf(leaf ledger.Hash) uint64 { return binary.BigEndian.Uint64(leaf[:]) }

// is tells whether a leaf hash is the one at an index, as far as eight bytes tell.
func (l *leaves) is(index uint64, leaf ledger.Hash) bool {
	return l.prefixes[index] == prefixOf(leaf)
}

// find gives the indexes at which the leaf may stand.
func (l *leaves) find(leaf ledger.Hash) iter.Seq[uint64] {
	prefix := prefixOf(leaf)
	return func(yield func(uint64) bool) {
		for i, p := range l.prefixes {
			if p == prefix && !yield(uint64(i)) {
				return
			}
		}
	}
}
