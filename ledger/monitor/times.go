package monitor

import (
	"slices"
	"sort"
	"sync"
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
