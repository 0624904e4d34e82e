package audit

import (
	"slices"

	"github.com/imaledger/imaledger/ledger"
)

// A Succession is a log that ended and the one that follows it, each of which
// names the other.
type Succession struct {
	From string `json:"from"` // origin of the log that ended
	Size uint64 `json:"size"` // of its final tree
	To   string `json:"to"`   // origin of the log that follows
	URL  string `json:"url"`  // of that, by the one that ended
}

// A treeID names a tree of a log.
type treeID struct {
	origin string
	size   uint64
}

// frozen: SPEC: 9. A log has no tree that goes on after the entry that froze it.
func (c *bundleCheck) frozen(items []item) {
	for _, it := range items {
		f, ok := it.entry.(*ledger.Freeze)
		if !ok || it.receipt == nil || c.state.freezes[it.leaf] == nil {
			continue
		}
		size := it.receipt.Index + 1
		if before, found := c.ends[f.Log]; !found || size < before {
			c.ends[f.Log] = size
		}
		if longest := longestTree(c.roots, f.Log); longest > size {
			c.find(ledger.LogFrozen, it.subject, "entry %d ended log %s, and the log has a tree of %d entries", it.receipt.Index, f.Log, longest)
		}
	}
}

// longestTree returns the size of a log's largest tree, 0 if it has none.
func longestTree(trees map[treeID]ledger.Hash, log string) (size uint64) {
	for tree := range trees {
		if tree.origin == log {
			size = max(size, tree.size)
		}
	}
	return size
}

// successions: SPEC: 10. A log that follows another one names, in its first entry,
// the entry that ended that and the final tree; and that entry names the log.
func (c *bundleCheck) successions(items []item) {
	for _, it := range items {
		s, ok := it.entry.(*ledger.Succession)
		if !ok || c.state.successions[it.leaf] == nil {
			continue
		}
		if it.receipt == nil {
			continue // a finding already, and nothing tells where in which log it stands
		}
		if it.receipt.Index != 0 {
			c.find(ledger.StatementInvalid, it.subject, "it has index %d in log %s: what follows another log says so in its first entry", it.receipt.Index, s.Log)
			continue
		}
		end := c.known[s.Freeze]
		if end == nil || end.receipt == nil {
			c.find(ledger.EntryMissing, it.subject, "the entry %x that ended log %s is not at hand with its proof", s.Freeze[:6], s.Predecessor)
			continue
		}
		f, ok := end.entry.(*ledger.Freeze)
		size := end.receipt.Index + 1
		switch {
		case !ok || c.state.freezes[end.leaf] == nil || f.Log != s.Predecessor:
			c.find(ledger.StatementInvalid, it.subject, "the entry %x that it names did not end log %s", s.Freeze[:6], s.Predecessor)
		case f.SuccessorOrigin() != s.Log:
			c.find(ledger.StatementInvalid, it.subject, "log %s names %s as the one that follows, and not %s", f.Log, f.SuccessorOrigin(), s.Log)
		case !slices.ContainsFunc(c.trust.Policy.Logs(), func(l ledger.PolicyKey) bool { return l.VKey == f.Successor }):
			c.find(ledger.CheckpointUnknown, it.subject, "log %s names the one that follows by a key that the policy does not name: %s", f.Log, f.Successor)
		case s.Size != size || end.receipt.Checkpoint.Size == size && end.receipt.Checkpoint.Root != s.Root:
			c.find(ledger.StatementInvalid, it.subject, "it names a final tree of size %d and root %x, which is not that of log %s: its last entry is %d", s.Size, s.Root[:6], f.Log, end.receipt.Index)
		case end.receipt.Checkpoint.Size != size: // a finding of the log that went on
		default:
			c.Successions = append(c.Successions, Succession{From: f.Log, Size: size, To: s.Log, URL: f.URL})
		}
	}
}
