package server

import (
	"fmt"
	"iter"
	"maps"
	"math/bits"
	"slices"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// kept is which payloads segments still need, and which were erased. It is
// guarded by chains.mu.
type kept struct {
	live   []uint64                    // a bit for each index of the log: a segment that is not erased
	needed map[ledger.Hash]uint32      // by payload: how many segments need it that are not erased
	erased map[ledger.Hash]ledger.Hash // the erasure, by segment
	gone   map[ledger.Hash]ledger.Hash // the erasure, by payload
	left   map[ledger.Hash]bool        // payloads of gone that are not known to be removed
}

func newKept() kept {
	return kept{needed: make(map[ledger.Hash]uint32), erased: make(map[ledger.Hash]ledger.Hash), gone: make(map[ledger.Hash]ledger.Hash), left: make(map[ledger.Hash]bool)}
}

// commit takes an entry of the log in; at returns the index of a leaf.
func (k *kept) commit(leaf ledger.Hash, entry ledger.Entry, index uint64, at func(ledger.Hash) (uint64, bool)) {
	switch e := entry.(type) {
	case *ledger.Segment:
		for uint64(len(k.live)) <= index/64 {
			k.live = append(k.live, 0)
		}
		k.live[index/64] |= 1 << (index % 64)
		k.needed[e.Payload.Digest]++
	case *ledger.Erasure:
		for _, x := range e.Erased {
			i, found := at(x.Leaf)
			if _, twice := k.erased[x.Leaf]; !found || twice {
				continue
			}
			k.erased[x.Leaf], k.gone[x.Payload], k.left[x.Payload] = leaf, leaf, true
			k.live[i/64] &^= 1 << (i % 64)
			if k.needed[x.Payload]--; k.needed[x.Payload] == 0 {
				delete(k.needed, x.Payload)
			}
		}
	}
}

// needs reports whether a segment that is not erased needs a payload.
func (c *chains) needs(payload ledger.Hash) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept.needed[payload] > 0
}

// erasedBy returns the erasure of a payload that nobody needs any more.
func (c *chains) erasedBy(payload ledger.Hash) (erasure ledger.Hash, erased bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	erasure, erased = c.kept.gone[payload]
	return erasure, erased && c.kept.needed[payload] == 0
}

// erasedPayloads returns the payloads that erasures name, or only those that are
// not known to be removed.
func (c *chains) erasedPayloads(left bool) []ledger.Hash {
	c.mu.Lock()
	defer c.mu.Unlock()
	if left {
		return slices.Collect(maps.Keys(c.kept.left))
	}
	return slices.Collect(maps.Keys(c.kept.gone))
}

func (c *chains) removed(payload ledger.Hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kept.left, payload)
}

// live yields the indexes, from one on and below another, of segments that are not
// erased.
func (c *chains) live(from, size uint64) iter.Seq[uint64] {
	c.mu.Lock()
	begin := min(uint64(len(c.kept.live)), from/64)
	live := slices.Clone(c.kept.live[begin:max(begin, min(uint64(len(c.kept.live)), (size+63)/64))])
	c.mu.Unlock()
	return func(yield func(uint64) bool) {
		for i, word := range live {
			for ; word != 0; word &= word - 1 {
				index := (begin+uint64(i))*64 + uint64(bits.TrailingZeros64(word))
				if index < from {
					continue
				}
				if index >= size || !yield(index) {
					return
				}
			}
		}
	}
}

// liveOf is live for the segments of a host.
func (c *chains) liveOf(host string, from, size uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		h := c.hosts[host]
		if h == nil {
			return
		}
		first, _ := slices.BinarySearch(h.index, from)
		for _, index := range h.index[first:] {
			if index >= size {
				return
			}
			if index/64 >= uint64(len(c.kept.live)) || c.kept.live[index/64]&(1<<(index%64)) == 0 {
				continue
			}
			c.mu.Unlock()
			more := yield(index)
			c.mu.Lock()
			if !more {
				return
			}
		}
	}
}

// policy returns the retention policy in force, nil where none is stated.
func (c *chains) policy() (ledger.Hash, *ledger.Retention) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fleet.Policy()
}

// keeps tells why a segment's records must be kept at the time now, empty if they
// may be erased.
func (c *chains) keeps(seg *audit.Placed, leaf ledger.Hash, now uint64) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if by, erased := c.kept.erased[leaf]; erased {
		return fmt.Sprintf("it is erased already, by %x", by[:6])
	}
	return c.fleet.Keeps(seg, now)
}
