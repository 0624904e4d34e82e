package audit

import (
	"cmp"
	"maps"
	"slices"

	"github.com/imaledger/imaledger/ledger"
)

// A chainPlace is a place of a host's chain.
type chainPlace struct {
	chainID
	sequence uint64
}

// Across holds bundles to one another that were each checked with the same trust
// folder: what one of them cannot show, that a log signed two trees of one size, went
// on after its end or took two entries for one place of a host's chain, two of them
// can. Names are the bundles', for people. It follows FORMAT.md, "Holding bundles to
// one another".
func Across(names []string, reports []*Report) []ledger.Finding {
	c := &bundleCheck{Report: &Report{}, roots: make(map[treeID]ledger.Hash), nodes: make(map[nodeID]ledger.Hash)}
	chains := make(map[chainPlace]int) // the first report that has it
	for i, r := range reports {
		for id, root := range r.trees {
			if other, known := c.roots[id]; known && other != root {
				c.find(ledger.LogSplit, names[i], "log %s signed two trees of size %d: %x, and %x in another bundle", id.origin, id.size, root, other)
			}
			c.roots[id] = root
		}
		// Of nodes that contradict others the lowest says the most.
		order := slices.SortedFunc(maps.Keys(r.nodes), func(a, b nodeID) int {
			return cmp.Or(cmp.Compare(a.level, b.level), cmp.Compare(a.origin, b.origin), cmp.Compare(a.index, b.index))
		})
		split := false
		for _, id := range order {
			split = split || c.node(names[i], id, r.nodes[id])
		}
		for place, leaf := range r.chains {
			first, known := chains[place]
			if !known {
				chains[place] = i
			} else if other := reports[first].chains[place]; other != leaf {
				c.find(ledger.ChainFork, ledger.Subject(place.host, place.sequence), "%s has entry %x there, %s has %x", names[first], other[:6], names[i], leaf[:6])
			}
		}
	}
	c.oneTree()
	c.ended(names, reports)
	slices.SortFunc(c.Findings, func(a, b ledger.Finding) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Text, b.Text))
	})
	return c.Findings
}

// ended holds the end of each log in one bundle to its trees in the others.
func (c *bundleCheck) ended(names []string, reports []*Report) {
	for i, r := range reports {
		for log, size := range r.ends {
			for k, other := range reports {
				if longest := longestTree(other.trees, log); k != i && longest > size {
					c.find(ledger.LogFrozen, names[k], "log %s has a tree of %s, and %s has its end at %d", log, Count(longest, "entry"), names[i], size)
				}
			}
		}
	}
}
