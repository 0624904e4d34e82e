// Package appraise judges measurement records by a policy: which files may run, by
// digest, by path, or by whose signature.
//
// It judges what records say. That a host measured them is for package audit to find
// out before: a record that no register binds is never passed on its word.
package appraise

import (
	"fmt"
	"slices"

	"github.com/imaledger/imaledger/tpm/ima"
)

// A Verdict is what a policy says of a record, or of all of them.
type Verdict string

// The verdicts.
const (
	Passed    Verdict = "passed"
	Failed    Verdict = "failed"
	Undecided Verdict = "undecided" // what would decide is not at hand
)

// A Judgement is a verdict on a record, and why.
type Judgement struct {
	Verdict Verdict `json:"verdict"`
	Rule    string  `json:"rule"`             // which decided, by its name: see Rules
	Detail  string  `json:"detail,omitempty"` // for people
	// Weak says that it rests on a digest by SHA-1 or MD5 alone, of which two files
	// can be made to have the same.
	Weak bool `json:"weak,omitempty"`
}

// Rules that are of no policy.
const (
	RuleUnattested    = "unattested"     // the record names a register that no quote can cover
	RuleViolation     = "violation"      // the file was open for writing: what was measured is not known
	RuleUnreadable    = "unreadable"     // the record's fields cannot be told apart
	RuleBootAggregate = "boot-aggregate" // it is that of the quoted registers, or is not
	RuleNone          = "no-rule"        // no policy says anything
)

// A Policy judges records one after the other, in the list's order: a key that was
// loaded can vouch for what follows. The fields are the record's; their slices are
// good for the call.
type Policy interface {
	Judge(r *ima.Record, f *ima.Fields) Judgement
}

// An Appraiser judges the records of one host, in their order.
type Appraiser struct {
	// Policies are asked in their order. The first that passes a record decides,
	// else the last.
	Policies []Policy
	// PassViolations passes violations, as Keylime does unless told otherwise: its
	// setting ignore_tomtou_errors is False, which has it pass them.
	PassViolations bool
	// Quoted returns the value of a quoted register, nil where there is none. It may
	// be nil itself.
	Quoted func(ima.Slot) []byte
}

// A Learner is a policy that what it judged has changed.
type Learner interface {
	Policy
	// Fresh returns the policy as it was before the first record.
	Fresh() Policy
}

// Fresh returns an appraiser for the records of another boot or host: no key that was
// loaded in the one vouches for files in the other.
func (a *Appraiser) Fresh() *Appraiser {
	b := *a
	b.Policies = slices.Clone(a.Policies)
	for i, p := range b.Policies {
		if l, ok := p.(Learner); ok {
			b.Policies[i] = l.Fresh()
		}
	}
	return &b
}

// Judge judges the next record.
func (a *Appraiser) Judge(r *ima.Record) Judgement {
	if !ima.Attestable(r.PCR) {
		return Judgement{Verdict: Undecided, Rule: RuleUnattested, Detail: fmt.Sprintf("no quote covers PCR %d: anyone could have put it there", r.PCR)}
	}
	if r.Violation() {
		j := Judgement{Verdict: Failed, Rule: RuleViolation, Detail: "what the file was when it was used is not known"}
		if a.PassViolations {
			j.Verdict = Passed
		}
		return j
	}
	f, err := r.Fields()
	switch {
	case err != nil:
		return Judgement{Verdict: Failed, Rule: RuleUnreadable, Detail: err.Error()}
	case f.Format == nil:
		return Judgement{Verdict: Failed, Rule: RuleUnreadable, Detail: "unknown template " + ima.Printable(r.Template)}
	}
	last := Judgement{Verdict: Failed, Rule: RuleNone, Detail: "no policy has a rule for it"}
	for _, p := range a.Policies {
		if last = p.Judge(r, f); last.Verdict == Passed {
			return last
		}
	}
	if j, is := a.bootAggregate(r); is && j.Verdict != Failed {
		return j
	}
	return last
}

// bootAggregate judges a boot_aggregate that no policy lists: it is a digest of the
// registers that firmware extended, so what it is worth is that it is theirs.
func (a *Appraiser) bootAggregate(r *ima.Record) (j Judgement, is bool) {
	alg, digest, is := r.BootAggregate()
	if !is {
		return j, false
	}
	j = Judgement{Verdict: Undecided, Rule: RuleBootAggregate, Detail: "the registers that it is made of were not quoted"}
	if a.Quoted == nil {
		return j, true
	}
	want, known := ima.BootAggregate(alg, a.Quoted)
	switch {
	case !known:
	case string(want) == string(digest):
		j.Verdict, j.Detail = Passed, "it is that of the quoted registers; what those should be, no rule says"
	default:
		j.Verdict = Failed
	}
	return j, true
}

// A Summary counts judgements.
type Summary struct {
	Records   uint64      `json:"records"`
	Passed    uint64      `json:"passed"`
	Failed    uint64      `json:"failed"`
	Undecided uint64      `json:"undecided"`
	Weak      uint64      `json:"weak"` // passed by a digest of SHA-1 or MD5 alone
	Rules     []RuleCount `json:"rules"`
}

// A RuleCount says how many records a rule decided, and how.
type RuleCount struct {
	Rule    string  `json:"rule"`
	Verdict Verdict `json:"verdict"`
	Records uint64  `json:"records"`
}

// Add counts a judgement. Rules stand in the order in which they first decided.
func (s *Summary) Add(j Judgement) {
	s.Records++
	switch j.Verdict {
	case Passed:
		s.Passed++
		if j.Weak {
			s.Weak++
		}
	case Failed:
		s.Failed++
	default:
		s.Undecided++
	}
	for i := range s.Rules {
		if s.Rules[i].Rule == j.Rule && s.Rules[i].Verdict == j.Verdict {
			s.Rules[i].Records++
			return
		}
	}
	s.Rules = append(s.Rules, RuleCount{j.Rule, j.Verdict, 1})
}

// Verdict is that on all records: one that failed fails all. Of no records nothing can
// be said.
func (s *Summary) Verdict() Verdict {
	switch {
	case s.Failed > 0:
		return Failed
	case s.Undecided > 0 || s.Records == 0:
		return Undecided
	}
	return Passed
}
