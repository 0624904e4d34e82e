package monitor

import (
	"encoding/binary"
	"iter"
	"slices"
	"sort"
	"sync"

	"github.com/imaledger/imaledger/ledger"
)

// maxTimes bounds the checkpoints whose times are kept, 16 bytes each. Over it every
// second one is let go of: an entry then seems to have come later, never earlier.
const maxTimes = 1 << 16

// times say by when the log had its entries: checkpoints that witnesses signed, by
// size, and none that says less than a larger one. It is safe for concurrent use.
type times struct {
	mu   sync.Mutex
	list []timePoint
}

type timePoint struct {
	Size     uint64 `json:"size"`
	NotAfter uint64 `json:"notAfter"` // Unix seconds
}

func (t *times) add(size, notAfter uint64) {
	if size == 0 || notAfter == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := sort.Search(len(t.list), func(i int) bool { return t.list[i].Size >= size })
	if i < len(t.list) && t.list[i].NotAfter <= notAfter {
		return
	}
	if i < len(t.list) && t.list[i].Size == size {
		t.list = slices.Delete(t.list, i, i+1)
	}
	from := i
	for from > 0 && t.list[from-1].NotAfter >= notAfter {
		from--
	}
	t.list = slices.Replace(t.list, from, i, timePoint{size, notAfter})
	if len(t.list) > maxTimes {
		kept := t.list[:0]
		for i, p := range t.list {
			if i%2 == 1 || i == len(t.list)-1 {
				kept = append(kept, p)
			}
		}
		t.list = kept
	}
}

// notAfter returns a time by which the log had the entry at an index, 0 if none is
// known.
func (t *times) notAfter(index uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := sort.Search(len(t.list), func(i int) bool { return t.list[i].Size > index })
	if i == len(t.list) {
		return 0
	}
	return t.list[i].NotAfter
}

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
