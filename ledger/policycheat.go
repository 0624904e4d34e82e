package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// SmallestQuorum returns as few witnesses as can meet the quorum by themselves:
// who holds their keys, and a log's, can have any history accepted, and no honest
// witness need ever have seen it.
func (p *Policy) SmallestQuorum() []PolicyKey {
	return p.cheapest(func(members, k int) int { return k })
}

// SmallestSplit returns the fewest witnesses whose keys, with a log's, show two
// histories to two readers. Honest witnesses cosign one history each, and half of
// them can be led to each side: of n members of which k are demanded, 2k-n must
// cosign both, and none if k is half of n or less.
func (p *Policy) SmallestSplit() []PolicyKey {
	return p.cheapest(func(members, k int) int { return max(0, 2*k-members) })
}

// cheapest returns the fewest witnesses that make the quorum, where need says how
// many of a group's members must be theirs. Each node has one parent, so that the
// cheapest members of a group are chosen apart from all others.
func (p *Policy) cheapest(need func(members, k int) int) []PolicyKey {
	if p.quorum < 0 {
		return nil
	}
	sets := make([][]int, p.quorum+1) // nodes of witnesses
	for i, n := range p.nodes[:p.quorum+1] {
		if len(n.members) == 0 {
			sets[i] = []int{i}
			continue
		}
		members := slices.Clone(n.members)
		slices.SortStableFunc(members, func(a, b int) int { return cmp.Compare(len(sets[a]), len(sets[b])) })
		for _, m := range members[:need(len(members), n.k)] {
			sets[i] = append(sets[i], sets[m]...)
		}
	}
	var keys []PolicyKey
	for _, w := range p.witnesses {
		if slices.Contains(sets[p.quorum], w.node) {
			keys = append(keys, w)
		}
	}
	return keys
}

// Words says for people what must be true of a checkpoint for it to count, a
// sentence or an item of a list a line.
func (p *Policy) Words() []string {
	lines := []string{"A checkpoint counts if it is signed by"}
	switch len(p.logs) {
	case 0:
		lines = []string{"The policy names no log, so that no checkpoint counts by it alone. Where the log is known otherwise, a checkpoint counts if it is signed by that"}
	case 1:
		lines[0] += " the log"
	default:
		lines[0] += fmt.Sprintf(" any one of these %d logs", len(p.logs))
	}
	for _, l := range p.logs {
		lines = append(lines, "  "+l.Name+" ("+l.key.kind()+")")
	}
	if p.quorum < 0 {
		return append(lines, "and by nobody else: no witness is asked.")
	}
	lines = append(lines, "and cosigned by")
	lines = append(lines, p.words(p.quorum, "  ")...)
	if p.independent > 0 {
		lines = append(lines, fmt.Sprintf("who are run by at least %d different operators.", p.independent))
	}
	return lines
}

func (p *Policy) words(i int, indent string) []string {
	n := p.nodes[i]
	if len(n.members) == 0 {
		w := p.witnesses[slices.IndexFunc(p.witnesses, func(w PolicyKey) bool { return w.node == i })]
		return []string{fmt.Sprintf("%sthe witness %s, whose key is %s's (%s)", indent, w.Label, w.Name, w.key.kind())}
	}
	how := fmt.Sprintf("at least %d of the %d", n.k, len(n.members))
	switch {
	case n.k == len(n.members):
		how = fmt.Sprintf("all %d", n.k)
	case n.k == 1:
		how = fmt.Sprintf("any one of the %d", len(n.members))
	}
	lines := []string{fmt.Sprintf("%s%s of %s:", indent, how, n.name)}
	for _, m := range n.members {
		lines = append(lines, p.words(m, indent+"  ")...)
	}
	return lines
}

// Unused returns the witnesses that no quorum ever counts: they are defined, and
// stand in no group that leads to the quorum.
func (p *Policy) Unused() []PolicyKey {
	return slices.DeleteFunc(slices.Clone(p.witnesses), func(w PolicyKey) bool {
		for i := w.node; i >= 0; i = p.nodes[i].parent {
			if i == p.quorum {
				return true
			}
		}
		return false
	})
}

// kind names the key's type.
func (v verifier) kind() string {
	if v.typ == typeMLDSA44 {
		return "ML-DSA-44"
	}
	return "Ed25519"
}

// Labels gives the names of witnesses in the policy, for a sentence.
func Labels(keys []PolicyKey) string {
	var names []string
	for _, k := range keys {
		names = append(names, k.Label)
	}
	return strings.Join(names, ", ")
}
