package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/transparency-dev/tessera"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// A refusal says that the evidence does not bear an entry out, and why.
type refusal struct {
	Findings []ledger.Finding
	Detail   string
	Conflict bool // the host's chain has another entry in this place
	// Missing are addenda that are to be uploaded first, where that is all that is
	// wrong; uploader is in whose name, empty where the entry does not show.
	Missing  []ledger.Hash
	uploader string

	leaf     ledger.Hash
	subject  string
	host     string
	sequence uint64
	signed   bool // by the host's TPM, the registrars, an operator: see unauthentic
}

func (r *refusal) Error() string {
	text := "refused"
	if r.Detail != "" {
		text += ": " + r.Detail
	}
	for _, f := range r.Findings {
		text += "; " + f.String()
	}
	return text
}

// admit puts an entry into the log, if the audit does not contradict it, and
// returns its index. The same entry again has the same index.
//
// The order is what durability rests on:
//
//  1. The addenda are durable: Put returned before the submitter could know.
//  2. The entry is judged under the lock of its chain.
//  3. The entry is durable in the log: append returned.
//  4. The chains know it, and the lock is dropped.
//  5. Only then can a proof be asked for.
//
// A crash before 3 leaves addenda that no entry names. A crash after 3 leaves an
// entry that rebuild finds, so that 4 happens at the next start and the submitter,
// who was told nothing, gets the same index when it asks again. An entry never
// names an addendum that is not there, and no index is told that a crash undoes.
func (s *Server) admit(raw []byte) (leaf ledger.Hash, index uint64, err error) {
	a, err := s.admission(raw)
	if err != nil {
		return ledger.LeafHash(raw), 0, err
	}
	return a.leaf, a.index, nil
}

// An admitted is an entry that the log has.
type admitted struct {
	leaf  ledger.Hash
	index uint64
	// uploader is whose entry it is, if it is new. One that the log had already
	// says nothing of who submits it: everyone can read it there.
	uploader string
	repeated bool // the log had it already
}

func (s *Server) admission(raw []byte) (a *admitted, err error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	format, began := formatUnknown, time.Now()
	defer func() { s.metrics.entry(format, a, err, time.Since(began)) }()
	leaf := ledger.LeafHash(raw)
	entry, err := ledger.ParseEntry(raw)
	if err != nil {
		return nil, &refusal{leaf: leaf, Findings: []ledger.Finding{{Code: ledger.EntryMalformed, Subject: "entry", Text: err.Error()}}}
	}
	format = entry.Format()
	for range maxRaces {
		a, err = s.admissionOf(leaf, raw, entry)
		var behind *behindError
		if !errors.As(err, &behind) {
			return a, err
		}
		if err := s.reach(s.log.ctx, behind.next); err != nil {
			return nil, err
		}
	}
	return nil, errBusy
}

func (s *Server) admissionOf(leaf ledger.Hash, raw []byte, entry ledger.Entry) (*admitted, error) {
	h, unlock := s.chains.lock(entry)
	defer unlock()
	if index, found := s.chains.find(leaf); found {
		return &admitted{leaf: leaf, index: index, repeated: true}, nil
	}
	index, err := s.admitLocked(h, leaf, raw, entry)
	if err != nil {
		return nil, s.orBehind(h, entry, err)
	}
	return &admitted{leaf: leaf, index: index, uploader: hostOf(entry)}, nil
}

func (s *Server) admitLocked(h *chain, leaf ledger.Hash, raw []byte, entry ledger.Entry) (uint64, error) {
	if index, found := s.chains.find(leaf); found {
		return index, nil
	}
	leave, err := s.enter(entry)
	if err != nil {
		return 0, err
	}
	defer leave()
	// From here on until the log has the entry, nobody removes its addenda.
	defer s.pending.claim(entry.Addenda()...)()
	j, err := s.judge(h, leaf, raw, entry)
	if err != nil {
		return 0, err
	}
	index, err := s.append(raw, entry)
	if err != nil {
		return 0, err
	}
	s.chains.commit(j, leaf, entry, index)
	if e, ok := entry.(*ledger.Erasure); ok {
		s.metrics.erased.Add(float64(len(e.Erased)))
		if err := s.eraseNow(payloadsOf(e)...); err != nil {
			s.config.Logger.Error("a payload that was erased is still there; the next attempt follows", "error", err)
		}
	}
	if err := s.pending.named(entry.Addenda()...); err != nil {
		// The entry stands; the next start removes the marks.
		s.config.Logger.Error("a mark of an upload stays", "error", err)
	}
	return index, nil
}

// append has the log take an entry. It is locked.
func (s *Server) append(raw []byte, entry ledger.Entry) (uint64, error) {
	if s.storage.Sequencer != nil {
		return s.appendShared(raw, entry)
	}
	index, err := s.log.append(raw)
	if errors.Is(err, tessera.ErrPushback) {
		return 0, errBusy // it was not taken
	}
	if err != nil {
		// The log may have the entry or not. To take a second one on the same
		// base now could fork the host's chain; reading the log again decides.
		s.fail(fmt.Errorf("append to the log: %w", err))
		return 0, s.failure
	}
	return index, nil
}

// mustHave are undecided findings that admission does not let pass: what is
// missing could have been sent.
var mustHave = []ledger.Code{ledger.PayloadMissing, ledger.AnchorMissing, ledger.EnrolmentEvidenceMissing, ledger.EntryMissing}

// judge runs the auditor's checks, and those that only the log can make. The
// entry is locked.
func (s *Server) judge(h *chain, leaf ledger.Hash, raw []byte, entry ledger.Entry) (*audit.Judgement, error) {
	if entry.LogOrigin() != s.Origin() {
		return nil, s.refuse(leaf, entry, &refusal{Findings: []ledger.Finding{{
			Code: ledger.EntryWrongLog, Subject: "entry", Text: fmt.Sprintf("made for log %s, this is %s", entry.LogOrigin(), s.Origin()),
		}}})
	}
	f, err := s.refersTo(context.Background(), entry)
	if err != nil {
		return nil, err
	}
	var missing []ledger.Hash
	for _, digest := range entry.Addenda() {
		_, found, err := s.addenda.Size(digest)
		if err != nil {
			return nil, err
		}
		if !found && !slices.Contains(missing, digest) {
			missing = append(missing, digest)
		}
	}
	if len(missing) > 0 {
		return nil, s.judgeIncomplete(h, leaf, raw, entry, missing, f)
	}
	j := s.chains.judge(h, leaf, entry, s.addenda, f)
	if j.Err != nil {
		// Not wrapped: that a stored file has decayed is not the request's fault.
		return nil, fmt.Errorf("judge leaf %x: %v", leaf[:6], j.Err)
	}
	findings, passed := j.Findings, ledger.Worst(j.Findings) != ledger.Contradicted && !has(j.Findings, mustHave...)
	if seg, ok := entry.(*ledger.Segment); ok && j.Segment != nil {
		more, err := s.judgeAnchor(leaf, seg)
		if err != nil {
			return nil, err
		}
		// Also what is undecided of an anchor, such as a quorum not met: without one
		// nothing dates the quote. An agent anchors to what has a quorum by its own
		// policy; where the ledger's demands more than that, OPERATING.md has the mend.
		findings, passed = append(findings, more...), passed && len(more) == 0
	}
	if e, ok := entry.(*ledger.Erasure); ok && passed {
		more := s.judgeErasure(leaf, e, f)
		findings, passed = append(findings, more...), len(more) == 0
	}
	if passed {
		return j, nil
	}
	return nil, s.contradict(leaf, raw, entry, findings)
}

// contradict refuses an entry that the evidence does not bear out. One that goes
// another way than the host's chain, and that is the host's, is kept.
func (s *Server) contradict(leaf ledger.Hash, raw []byte, entry ledger.Entry, findings []ledger.Finding) error {
	r := &refusal{Findings: findings, signed: !has(findings, unauthentic...)}
	if has(findings, ledger.ChainFork) && r.signed {
		if err := s.keepConflict(leaf, raw, entry.(ledger.HostEntry), r); err != nil {
			return err
		}
	}
	if e, ok := entry.(*ledger.Enrolment); ok && e.Grade == ledger.GradeSoftware && !r.Conflict {
		r.signed = false // its registrars sign for whoever asks: no TPM has answered
	}
	return s.refuse(leaf, entry, r)
}

// judgeIncomplete judges an entry whose addenda are not all there. What can be
// said without them is said first, so that nobody uploads for nothing, and a fork
// is known by its head. An entry that only lacks them, and that its TPM has
// signed, shows that its submitter may upload them: its head names the newest
// entry of the host's chain, so it is no old one that stands in the log.
func (s *Server) judgeIncomplete(h *chain, leaf ledger.Hash, raw []byte, entry ledger.Entry, missing []ledger.Hash, f facts) error {
	j := s.chains.judge(h, leaf, entry, nil, f)
	if ledger.Worst(j.Findings) == ledger.Contradicted {
		return s.contradict(leaf, raw, entry, j.Findings)
	}
	r := lacking(entry, missing)
	r.leaf, r.signed = leaf, true
	r.uploader = uploaderOf(entry, j.By())
	return r
}

// lacking is the refusal of an entry whose addenda were not uploaded.
func lacking(entry ledger.Entry, missing []ledger.Hash) *refusal {
	r := &refusal{Missing: missing}
	for _, digest := range missing {
		f := ledger.Finding{Code: ledger.EntryMissing, Subject: entry.Format(), Text: "an addendum that it names is not stored"}
		switch e := entry.(type) {
		case *ledger.Segment:
			f.Code = ledger.PayloadMissing
			if digest == e.Anchor.Note {
				f.Code = ledger.AnchorMissing
			}
		case *ledger.Enrolment:
			f.Code = ledger.EnrolmentEvidenceMissing
		}
		r.Findings = append(r.Findings, f)
	}
	r.Detail = "upload " + ledger.AddendumPath(missing[0]) + " first"
	return r
}

// unauthentic are findings that say that an entry is not its host's, or not its
// registrars'. A segment without any of them has a head that its host's TPM has
// signed, whatever else is wrong.
var unauthentic = []ledger.Code{
	ledger.AKNotEnrolled, ledger.AKAttributes, ledger.QuoteMalformed, ledger.QuoteSignature, ledger.QuoteNonce, ledger.QuoteSigner,
	ledger.EnrolmentUnsigned,
}

func has(findings []ledger.Finding, codes ...ledger.Code) bool {
	return slices.ContainsFunc(findings, func(f ledger.Finding) bool { return slices.Contains(codes, f.Code) })
}

// refuse says of which entry a refusal is, and returns it.
func (s *Server) refuse(leaf ledger.Hash, entry ledger.Entry, r *refusal) error {
	r.leaf, r.subject = leaf, entry.Format()
	if e, ok := entry.(ledger.HostEntry); ok {
		r.host, r.sequence, _ = e.Link()
		r.subject = ledger.Subject(r.host, r.sequence)
	}
	return r
}

// proof returns an entry's proof, or nil if the context ends before the witnesses
// have seen the entry.
func (s *Server) proof(ctx context.Context, leaf ledger.Hash, index uint64) ([]byte, error) {
	began := time.Now()
	cp := s.log.newest.wait(ctx, index, s.draining)
	s.metrics.witnessed.Observe(time.Since(began).Seconds())
	if cp == nil {
		return nil, nil
	}
	p, err := s.log.prove(context.WithoutCancel(ctx), leaf, index, cp)
	var broken *integrityError
	if errors.As(err, &broken) {
		s.fail(err)
	}
	return p, err
}
