package ledger

import (
	"fmt"
	"slices"
	"strings"
)

// independentOf returns the policy with a second demand: the witnesses that make
// the quorum, who are run by the operators named, are run by k of them at least.
// It is the policy itself where nothing is demanded.
//
// What is demanded then holds wherever the policy is used, because there is no
// other policy: for what a ledger publishes, what a host takes for a receipt, and
// what bounds a time.
func (p *Policy) independentOf(operators map[string]string, k int) (*Policy, error) {
	for name := range operators {
		if !slices.ContainsFunc(p.witnesses, func(w PolicyKey) bool { return w.Label == name }) {
			return nil, fmt.Errorf("witness %.64q: the policy has none of that name", name)
		}
	}
	if k == 0 {
		return p, nil
	}
	if p.quorum < 0 {
		return nil, fmt.Errorf("independent %d: the policy demands no witness", k)
	}
	with := *p
	with.independent, with.operators = k, make([]string, len(p.nodes))
	behind := make(map[string]bool)
	for _, w := range p.witnesses {
		if !p.leadsToQuorum(w.node) {
			continue
		}
		who := operators[w.Label]
		if who == "" {
			return nil, fmt.Errorf("independent %d: nobody is named who runs the witness %s; add a line witness %s by and the operator", k, w.Label, w.Label)
		}
		with.operators[w.node], behind[who] = who, true
	}
	if len(behind) < k {
		return nil, fmt.Errorf("independent %d: the quorum's witnesses are run by %d, so that no checkpoint could count", k, len(behind))
	}
	return &with, nil
}

func (p *Policy) leadsToQuorum(node int) bool {
	for ; node >= 0; node = p.nodes[node].parent {
		if node == p.quorum {
			return true
		}
	}
	return false
}

// maxOperators bounds what SmallestConspiracy tries: 2^16 sets.
const maxOperators = 16

// SmallestConspiracy returns as few operators as can have any history accepted,
// with the key of a log: those whose witnesses make the quorum. ok is false where
// the rules do not name who runs the witnesses, or too many to try.
func (t *Trust) SmallestConspiracy() (operators []string, ok bool) {
	labels := make(map[string][]string)
	for _, w := range t.Policy.witnesses {
		if t.Policy.leadsToQuorum(w.node) {
			who := t.WitnessedBy[w.Label]
			labels[who] = append(labels[who], w.Label)
		}
	}
	if len(labels) == 0 || labels[""] != nil || len(labels) > maxOperators {
		return nil, false
	}
	var all []string
	for who := range labels {
		all = append(all, who)
	}
	slices.SortFunc(all, strings.Compare)
	for set := range 1 << len(all) {
		var some, theirs []string
		for i, who := range all {
			if set>>i&1 == 1 {
				some, theirs = append(some, who), append(theirs, labels[who]...)
			}
		}
		if (operators == nil || len(some) < len(operators)) && t.Policy.Meets(theirs...) {
			operators = some
		}
	}
	return operators, true
}

// A FreshnessError is a checkpoint that is not as new as the rules demand.
type FreshnessError struct {
	Time   uint64 // Unix seconds at which a quorum vouched for it; 0 if none states a time
	Now    uint64
	MaxAge uint64 // seconds
}

func (e *FreshnessError) Error() string {
	switch {
	case e.Time == 0:
		return "no quorum of witnesses states when it saw the newest checkpoint"
	case e.Time > e.Now:
		return fmt.Sprintf("a quorum of witnesses saw the newest checkpoint %d seconds from now: this machine's clock is wrong", e.Time-e.Now)
	}
	return fmt.Sprintf("a quorum of witnesses saw the newest checkpoint %d seconds ago, and the trust folder allows %d", e.Now-e.Time, e.MaxAge)
}

// maxClockSkew is how far a quorum's clocks may be ahead of ours, in seconds.
const maxClockSkew = 5 * 60

// Fresh checks the age of the newest checkpoint: vouched is what Policy.NotBefore
// gives for it, and now is the time of the check, both in Unix seconds. It is a
// quorum's word on the time, never one witness's. Errors are *FreshnessError.
func (r *Rules) Fresh(vouched, now uint64) error {
	if r.MaxAge == 0 || vouched > 0 && vouched <= now+maxClockSkew && now <= vouched+r.MaxAge {
		return nil
	}
	return &FreshnessError{vouched, now, r.MaxAge}
}
