package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// maxAcknowledged bounds the acknowledgements that a list names of a host.
const maxAcknowledged = 100

// roster is what a list of hosts tells of each: numbers that grow as entries come.
// It is guarded by chains.mu.
type roster struct {
	sorted []*client.ListedHost // by name
	hosts  map[string]*client.ListedHost
	all    []*client.ListedHost
	owners []uint32 // by index in the log: whose segment that is, from 1 in all; 0 for none, or erased
	number map[string]uint32
	gaps   map[ledger.Hash]*client.ListedHost
}

func newRoster() roster {
	return roster{hosts: make(map[string]*client.ListedHost), number: make(map[string]uint32), gaps: make(map[ledger.Hash]*client.ListedHost)}
}

// commit takes an entry of the log in; at returns the index of a leaf.
func (r *roster) commit(leaf ledger.Hash, entry ledger.Entry, index uint64, at func(ledger.Hash) (uint64, bool)) {
	switch e := entry.(type) {
	case *ledger.Enrolment:
		h := r.hosts[e.Host]
		if h == nil {
			h = &client.ListedHost{Host: e.Host}
			r.hosts[e.Host] = h
			r.all = append(r.all, h)
			r.number[e.Host] = uint32(len(r.all))
			i, _ := slices.BinarySearchFunc(r.sorted, e.Host, func(h *client.ListedHost, name string) int { return strings.Compare(h.Host, name) })
			r.sorted = slices.Insert(r.sorted, i, h)
		}
		h.Grade, h.Sequence, h.Index = string(e.Grade), e.Sequence, index
	case *ledger.Segment:
		h := r.hosts[e.Host]
		if h == nil {
			return // no host is in the log before its enrolment
		}
		h.Segments, h.Records, h.Sequence, h.Index = h.Segments+1, h.Records+e.Count, e.Sequence, index
		for uint64(len(r.owners)) <= index {
			r.owners = append(r.owners, 0)
		}
		r.owners[index] = r.number[e.Host]
		if e.Join.Kind == ledger.JoinGap {
			h.Gaps++
			r.gaps[leaf] = h
		}
	case *ledger.Acknowledgement:
		if h := r.gaps[e.Entry]; h != nil && e.Finding == ledger.Gap {
			h.Gaps--
			delete(r.gaps, e.Entry)
			// Of old ones there is no end. What was listed keeps its own slice.
			h.Acknowledged = append(slices.Clone(h.Acknowledged[max(0, len(h.Acknowledged)+1-maxAcknowledged):]), fmt.Sprintf("%x", leaf))
		}
	case *ledger.Erasure:
		for _, x := range e.Erased {
			if i, found := at(x.Leaf); found && i < uint64(len(r.owners)) && r.owners[i] > 0 {
				r.all[r.owners[i]-1].Erased++
				r.owners[i] = 0
			}
		}
	}
}

// listed returns copies of the hosts whose names have a part, the smallest first.
func (c *chains) listed(part string) []client.ListedHost {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []client.ListedHost
	for _, h := range c.roster.sorted {
		if strings.Contains(h.Host, part) {
			list = append(list, *h)
		}
	}
	return list
}
