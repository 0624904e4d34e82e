package server

import "github.com/imaledger/imaledger/ledger"

// Chains of entries beside the hosts'. No host's name has a slash.
const (
	// rareChain is of all entries but segments: what is judged against the fleet.
	rareChain = "/rare"
	// endChain has one entry, the freeze that ended the log.
	endChain = "/end"
)

// heads are the ends of chains, by name.
type heads map[string]Head

// add takes in the next entry of the log.
func (h heads) add(leaf ledger.Hash, entry ledger.Entry, index uint64) {
	for _, name := range chainsOf(entry) {
		h[name] = Head{Leaf: leaf, Index: index}
	}
}

// chainsOf names the chains that an entry becomes the end of.
func chainsOf(entry ledger.Entry) (names []string) {
	if host := hostOf(entry); host != "" {
		names = append(names, host)
	}
	switch entry.(type) {
	case *ledger.Segment:
	case *ledger.Freeze:
		names = append(names, rareChain, endChain)
	default:
		names = append(names, rareChain)
	}
	return names
}
