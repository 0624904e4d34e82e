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
	keys      map[noteKey]PolicyKey // both, by what a signature line has of a key
	nodes     []policyNode          // witnesses and groups by definition; members stand before
	quorum    int                   // index of a node, -1 for none

	// What the trust folder's rules add: who runs a witness, by node, empty for one
	// that does not lead to the quorum; and how many of them must stand behind it.
	operators   []string
	independent int
}

// A PolicyKey is a log or a witness of a policy.
type PolicyKey struct {
	Label string // a witness's name in the policy, which groups use; empty for a log
	Name  string // of the key: a log's origin, a witness's key name
	VKey  string
	URL   string // may be empty

	key  verifier
	node int // of a witness, -1 for a log
}

// A policyNode is a witness, or a group of nodes.
type policyNode struct {
	name    string
	members []int // nodes of a group, none for a witness
	k       int   // how many of them; 1 for a witness
	parent  int   // the one group that has it as a member, -1 for none
}

// Logs returns the policy's logs.
func (p *Policy) Logs() []PolicyKey { return slices.Clone(p.logs) }

// Origin returns the one origin that all logs of the policy have: one log with
// one key, or with several, where they change. It is empty where the policy names
// several logs, or none.
func (p *Policy) Origin() string {
	for _, l := range p.logs {
		if l.Name != p.logs[0].Name {
			return ""
		}
	}
	if len(p.logs) == 0 {
		return ""
	}
	return p.logs[0].Name
}

// Witnesses returns the policy's witnesses.
func (p *Policy) Witnesses() []PolicyKey { return slices.Clone(p.witnesses) }

// QuorumSize returns the fewest witnesses that meet the quorum, 0 for none. More
// may be needed where the trust folder demands several operators.
func (p *Policy) QuorumSize() int {
	if p.quorum < 0 {
		return 0
	}
	size := make([]int, p.quorum+1)
	for i, n := range p.nodes[:p.quorum+1] {
		size[i] = 1
		if len(n.members) == 0 {
			continue
		}
		var members []int
		for _, m := range n.members {
			members = append(members, size[m])
		}
		slices.Sort(members)
		size[i] = 0
		for _, m := range members[:n.k] {
			size[i] += m
		}
	}
	return size[p.quorum]
}

// Meets reports whether witnesses meet the quorum, who are named as the policy
// names them. Other names count for nothing.
func (p *Policy) Meets(labels ...string) bool {
	t := p.tally()
	for _, w := range p.witnesses {
		if slices.Contains(labels, w.Label) {
			t.add(w.node)
		}
	}
	return t.met
}

// A policyTally counts witnesses. A node is a member of one group at most, so
// that no witness counts twice, and all adds together take no more steps than
// there are nodes and adds.
type policyTally struct {
	*Policy
	count   []int           // by node: how many of its members have witnessed
	reached bool            // whether the quorum's node has
	behind  map[string]bool // operators whose witnesses have
	met     bool            // whether the checkpoint counts
}

func (p *Policy) tally() *policyTally {
	return &policyTally{p, make([]int, len(p.nodes)), p.quorum < 0, make(map[string]bool), p.quorum < 0}
}

// add counts the witness at a node. Adding it again changes nothing.
func (t *policyTally) add(node int) {
	if t.independent > 0 && t.operators[node] != "" {
		t.behind[t.operators[node]] = true
	}
	t.climb(node)
	t.met = t.reached && len(t.behind) >= t.independent
}

func (t *policyTally) climb(node int) {
	for i := node; i >= 0; i = t.nodes[i].parent {
		t.count[i]++
		if t.count[i] != t.nodes[i].k {
			return // not yet, or it has counted upwards before
		}
		t.reached = t.reached || i == t.quorum
	}
}

// NotBefore returns the latest time t, in Unix seconds, such that the
// checkpoint's cosignatures of time t or later meet the quorum by themselves:
// what embeds the cosignatures is not older. It is 0 where there is no such
// time: no witness is demanded, or too few state a time.
//
// Who holds fewer keys than a quorum cannot raise it over every honest time:
// each set that meets the quorum has an honest cosignature in it. Nor can he
// take it below what the honest ones give, where they meet the quorum alone.
func (p *Policy) NotBefore(c *Checkpoint) uint64 {
	return p.bound(c, func(a, b Cosignature) int { return cmp.Compare(b.Time, a.Time) })
}

// NotAfter returns the earliest time t, in Unix seconds, such that the
// checkpoint's cosignatures of time t or earlier meet the quorum by themselves:
// what the checkpoint includes is not newer. It is 0 where NotBefore is. What
// is said there of attackers holds here the other way round.
func (p *Policy) NotAfter(c *Checkpoint) uint64 {
	return p.bound(c, func(a, b Cosignature) int { return cmp.Compare(a.Time, b.Time) })
}

// bound adds cosignatures in the given order until they meet the quorum.
func (p *Policy) bound(c *Checkpoint, order func(a, b Cosignature) int) uint64 {
	if p.quorum < 0 {
		return 0
	}
	// SPEC: [timestamps] MAY be zero if the cosigner doesn't make any statement
	// as to the tree being the largest observed at time of signing.
	timed := slices.DeleteFunc(slices.Clone(c.Cosignatures), func(s Cosignature) bool { return s.Time == 0 })
	slices.SortFunc(timed, order)
	t := p.tally()
	for _, s := range timed {
		// The checkpoint may come from another policy's Verify.
		k, known := p.keys[s.key]
		if !known || k.VKey != s.VKey || k.node < 0 {
			continue
		}
		if t.add(k.node); t.met {
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
	need := p.describeNode(p.quorum)
	if p.independent > 0 {
		need += fmt.Sprintf(", run by at least %d operators", p.independent)
	}
	return need
}

func (p *Policy) describeNode(i int) string {
	n := p.nodes[i]
	if len(n.members) == 0 {
		return n.name
	}
	var members []string
	for _, m := range n.members {
		members = append(members, p.describeNode(m))
	}
	return fmt.Sprintf("%d of (%s)", n.k, strings.Join(members, ", "))
}
