package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Limits of a policy. The specification asks for at least 32 of each.
const (
	MaxPolicy     = 1 << 20 // bytes; 256 post-quantum keys have half of it
	maxPolicyKeys = 256     // logs, witnesses, and groups, each
)

// A Policy says which checkpoints count: c2sp.org/tlog-policy. A checkpoint
// counts if any one of the logs signed it and its cosignatures meet the quorum.
type Policy struct {
	logs      []PolicyKey
	witnesses []PolicyKey
	nodes     []policyNode // witnesses and groups by definition; members stand before
	quorum    int          // index of a node, -1 for none
}

// A PolicyKey is a log or a witness of a policy.
type PolicyKey struct {
	Name string // of the key: a log's origin, a witness's key name
	VKey string
	URL  string // may be empty

	key verifier
}

// A policyNode is a witness, or a group of nodes.
type policyNode struct {
	name    string
	witness int   // index of the witness, -1 for a group
	members []int // nodes of a group
	k       int   // how many of them
}

// Logs returns the policy's logs.
func (p *Policy) Logs() []PolicyKey { return slices.Clone(p.logs) }

// Witnesses returns the policy's witnesses.
func (p *Policy) Witnesses() []PolicyKey { return slices.Clone(p.witnesses) }

// satisfied reports whether the witnesses for which have is true meet the
// quorum. Each node is a member once at most, so no witness counts twice.
func (p *Policy) satisfied(have []bool) bool {
	if p.quorum < 0 {
		return true
	}
	ok := make([]bool, p.quorum+1)
	for i, n := range p.nodes[:p.quorum+1] {
		if n.witness >= 0 {
			ok[i] = have[n.witness]
			continue
		}
		count := 0
		for _, m := range n.members {
			if ok[m] {
				count++
			}
		}
		ok[i] = count >= n.k
	}
	return ok[p.quorum]
}

// NotBefore returns the latest time t, in Unix seconds, such that the
// checkpoint's cosignatures of time t or later meet the quorum by themselves:
// what embeds the cosignatures is not older. It is 0 where no witness is
// demanded.
//
// Who holds fewer keys than a quorum cannot raise it over an honest witness's
// time: every set that meets the quorum has an honest cosignature in it.
func (p *Policy) NotBefore(c *Checkpoint) uint64 {
	return p.bound(c, func(a, b Cosignature) int { return cmp.Compare(b.Time, a.Time) })
}

// NotAfter returns the earliest time t, in Unix seconds, such that the
// checkpoint's cosignatures of time t or earlier meet the quorum by themselves:
// what the checkpoint includes is not newer. It is 0 where no witness is
// demanded.
func (p *Policy) NotAfter(c *Checkpoint) uint64 {
	return p.bound(c, func(a, b Cosignature) int { return cmp.Compare(a.Time, b.Time) })
}

// bound adds cosignatures in the given order until they meet the quorum.
func (p *Policy) bound(c *Checkpoint, order func(a, b Cosignature) int) uint64 {
	if p.quorum < 0 {
		return 0
	}
	sorted := slices.SortedStableFunc(slices.Values(c.Cosignatures), order)
	have := make([]bool, len(p.witnesses))
	for _, s := range sorted {
		have[s.witness] = true
		if p.satisfied(have) {
			return s.Time
		}
	}
	return 0
}

// describe says what the quorum demands.
func (p *Policy) describe() string {
	if p.quorum < 0 {
		return "none"
	}
	return p.describeNode(p.quorum)
}

func (p *Policy) describeNode(i int) string {
	n := p.nodes[i]
	if n.witness >= 0 {
		return n.name
	}
	var members []string
	for _, m := range n.members {
		members = append(members, p.describeNode(m))
	}
	return fmt.Sprintf("%d of (%s)", n.k, strings.Join(members, ", "))
}
