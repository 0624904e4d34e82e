package audit

import (
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/imaledger/imaledger/ledger"
)

// judgeStatement: operators state policies, erasures, holds and verdicts; one
// operator's signature suffices.
func (s *State) judgeStatement(j *Judgement, e ledger.Statement) {
	by, err := ledger.SignedBy(e, s.trust.Operators...)
	switch {
	case err != nil:
		j.find(ledger.StatementUnsigned, "%v", err)
	case len(by) == 0:
		j.find(ledger.StatementUnsigned, "no operator of the trust folder has signed this %s", e.Format())
	}
	j.by = by
	// Everyone reads statements and may submit entries, and a line by an unknown
	// key makes another entry of one.
	if before, said := s.texts[sha256.Sum256(e.Text())]; said {
		j.find(ledger.StatementInvalid, "entry %x says the same, and nothing is stated twice", before[:6])
	}
	switch e := e.(type) {
	case *ledger.Retention:
		if _, before := s.Policy(); before != nil && e.Policy <= before.Policy {
			j.find(ledger.StatementInvalid, "retention policy %d follows policy %d", e.Policy, before.Policy)
		}
	case *ledger.Erasure:
		s.judgeErasure(j, e)
	case *ledger.Release:
		if s.holds[e.Hold] == nil && !s.partial {
			j.find(ledger.EntryMissing, "the hold %x that it releases is not in force", e.Hold[:6])
		}
	case *ledger.Appraisal:
		s.judgeAppraisal(j, e)
	}
}

func (s *State) commitStatement(j *Judgement) {
	if j.contradicted() {
		return // an unsigned statement states nothing
	}
	if e, ok := j.entry.(ledger.Statement); ok {
		s.texts[sha256.Sum256(e.Text())] = j.leaf
	}
	switch e := j.entry.(type) {
	case *ledger.Retention:
		s.retentions[j.leaf], s.policy = e, j.leaf
	case *ledger.Erasure:
		for _, x := range e.Erased {
			s.erased[x.Leaf] = erasure{j.leaf, j.by, x.Payload, e}
		}
	case *ledger.Hold:
		s.holds[j.leaf] = e
	case *ledger.Release:
		delete(s.holds, e.Hold)
	case *ledger.Appraisal:
		if j.verdict != nil {
			s.verdicts[e.Host] = append(s.verdicts[e.Host], *j.verdict)
		}
	case *ledger.Freeze:
		s.freezes[j.leaf] = e
	case *ledger.Succession:
		s.successions[j.leaf] = e
	case *ledger.Acknowledgement:
		if e.Finding == ledger.Gap {
			s.acks[e.Entry] = e
		}
	}
}

// read returns a small addendum, after its size and digest were checked.
func read(addenda Addenda, a ledger.Addendum) (content []byte, found bool, err error) {
	if addenda == nil {
		return nil, false, nil
	}
	r, found, err := addenda.Open(a.Digest)
	if err != nil || !found {
		return nil, found, err
	}
	defer r.Close()
	content, err = io.ReadAll(io.LimitReader(r, int64(a.Size)+1))
	if err != nil {
		return nil, true, fmt.Errorf("addendum %x: %w", a.Digest[:6], err)
	}
	return content, true, checkAddendum(content, a)
}

// An addendumError tells bytes that are not those an entry names from bytes
// that could not be read.
type addendumError struct{ text string }

func (e *addendumError) Error() string { return e.text }

func checkAddendum(content []byte, a ledger.Addendum) error {
	if uint64(len(content)) != a.Size || sha256.Sum256(content) != a.Digest {
		return &addendumError{fmt.Sprintf("the bytes kept for %x are not the %d bytes that the entry names", a.Digest[:6], a.Size)}
	}
	return nil
}
