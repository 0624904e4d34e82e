package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

var errNoRegistrar = errors.New("this ledger has no registrar and enrols nobody")

// openRegistrars makes registrars of the keys that the ledger has itself, and makes
// sure that enough of all can sign what will be admitted.
func (s *Server) openRegistrars() error {
	s.desk = &desk{trust: s.config.Trust, pinned: s.config.Pinned, allowSoftware: s.config.AllowSoftware}
	s.sessions = newSessions[*enrolling]()
	if len(s.config.Registrars)+len(s.config.RemoteRegistrars) == 0 {
		return nil
	}
	able := len(s.config.RemoteRegistrars)
	for _, key := range s.config.Registrars {
		if registrarKey(s.config.Trust, key.Name(), key.KeyHash()) != nil {
			able++
		}
		s.registrars = append(s.registrars, &localRegistrar{
			desk: s.desk, key: key, origin: s.Origin(), sessions: newSessions[*activation](), life: s.config.SessionLife, now: s.config.Now, rand: s.config.Rand})
	}
	s.registrars = append(s.registrars, s.config.RemoteRegistrars...)
	if able < s.config.Trust.Threshold {
		return fmt.Errorf("ledger: %d of the registrars stand in the trust folder's rules, which demand the signatures of %d; add registrar lines or registrars", able, s.config.Trust.Threshold)
	}
	return nil
}

// registrarKey returns the key of the trust folder's rules that a signature names.
func registrarKey(t *ledger.Trust, name string, hash uint32) note.Verifier {
	for _, v := range t.Registrars {
		if v.Name() == name && v.KeyHash() == hash {
			return v
		}
	}
	return nil
}

// An enrolling is an enrolment begun: the candidate, and what each registrar that
// takes part waits for. It never leaves the server, so the second step can change
// nothing of what the first one checked.
type enrolling struct {
	candidate  *candidate
	registrars []Registrar
	sessions   []string // of each
}

// beginEnrolment is the first step. It returns a challenge for the host's TPM, with
// a credential of each registrar, or, for grade software, the enrolment.
func (s *Server) beginEnrolment(ctx context.Context, r client.EnrolRequest) (*client.Challenge, *enrolled, error) {
	if len(s.registrars) == 0 {
		return nil, nil, errNoRegistrar
	}
	if err := s.takesEntries(); err != nil {
		return nil, nil, err
	}
	c, err := s.desk.candidate(r)
	if err != nil {
		return nil, nil, err
	}
	if err := s.mayEnrol(c); err != nil {
		return nil, nil, err
	}
	e := &enrolling{candidate: c}
	challenge := &client.Challenge{}
	var away []error
	for _, registrar := range s.registrars {
		begun, err := registrar.Begin(ctx, r)
		if err != nil {
			away = append(away, fmt.Errorf("registrar %s: %w", registrar.Name(), err))
			continue
		}
		e.registrars, e.sessions = append(e.registrars, registrar), append(e.sessions, begun.Session)
		for _, credential := range begun.Credentials {
			challenge.Credentials = append(challenge.Credentials, credential)
			c.Activations = append(c.Activations, ledger.Activation{Credential: credential.Credential, Secret: credential.Secret})
		}
	}
	if err := s.enough(len(e.registrars), away); err != nil {
		return nil, nil, err
	}
	if c.ek == nil {
		made, err := s.enrol(ctx, e, make([][]byte, len(e.registrars)))
		return nil, made, err
	}
	if size := c.Addendum().Size; size > ledger.MaxEnrolmentEvidence {
		return nil, nil, badRequest("ek_certificates: together too long: %d bytes of evidence, at most %d", size, ledger.MaxEnrolmentEvidence)
	}
	now := s.config.Now()
	if challenge.Session, err = s.sessions.add(e, now, now.Add(s.config.SessionLife)); err != nil {
		return nil, nil, err
	}
	return challenge, nil, nil
}

// enough reports whether so many registrars are as many as the trust folder
// demands; why says what became of the others. One that contradicts goes before one
// that cannot be reached.
func (s *Server) enough(n int, why []error) error {
	if n >= s.config.Trust.Threshold {
		return nil
	}
	var refused *refusal
	for _, err := range why {
		if errors.As(err, &refused) || errors.Is(err, errActivation) || errors.Is(err, errSession) {
			return err
		}
	}
	return fmt.Errorf("%w: %d of the %d registrars that the trust folder demands: %w", errRegistrars, n, s.config.Trust.Threshold, errors.Join(why...))
}

// errRegistrars is a matter of other machines: it is worth another try.
var errRegistrars = errors.New("too few registrars take part")

// endEnrolment is the second step: only a TPM with the EK and the AK of the first
// one could open the credentials.
func (s *Server) endEnrolment(ctx context.Context, r client.Activation) (*enrolled, error) {
	e, err := s.sessions.take(r.Session, s.config.Now())
	if err != nil {
		return nil, err
	}
	if len(r.Activated) != len(e.candidate.Activations) {
		return nil, errActivation
	}
	for i, secret := range r.Activated {
		e.candidate.Activations[i].Activated = sha256.Sum256(secret)
	}
	return s.enrol(ctx, e, r.Activated)
}

// mayEnrol decides whether a candidate may have its host's name. Activation
// proves which TPM asks, not which host: a name that was taken belongs to the TPM
// that took it, unless the operator lists another.
func (s *Server) mayEnrol(c *candidate) error {
	no := func(format string, args ...any) error {
		return &refusal{host: c.host, Findings: []ledger.Finding{{Code: ledger.EnrolmentGrade, Subject: c.host, Text: fmt.Sprintf(format, args...)}}}
	}
	pinned, listed := false, false
	for ek, host := range s.config.Pinned {
		mine := c.ek != nil && ledger.Name(c.ek.Name) == ek
		if mine && host != c.host {
			return no("the operator has listed this EK for host %s", host)
		}
		pinned = pinned || mine
		listed = listed || host == c.host
	}
	if listed && !pinned {
		return no("the operator has listed the EKs of this host, and this is none of them")
	}
	before := s.chains.enrolment(c.host)
	switch {
	case before == nil || pinned:
		return nil
	case c.ek == nil && before.EK == ledger.NameNone && before.AK == ledger.Name(c.ak.Name):
		return nil
	case c.ek == nil:
		return no("the host is enrolled, and nothing ties a software key to it")
	case before.EK != ledger.Name(c.ek.Name):
		return no("the host is enrolled with another TPM, EK %.16s…; the operator can list the new one", before.EK)
	}
	return nil
}

// enrolled is an enrolment in the log.
type enrolled struct {
	leaf  ledger.Hash
	index uint64
	entry []byte
	// uploader is the host, if its TPM has answered just now, as each registrar
	// found. Who has no TPM has shown nothing.
	uploader string
}

// enrol writes the enrolment of a candidate whose TPM has answered, has it signed by
// each registrar, which looks at its own answer, and logs it. What held when it was
// asked is looked at again, under the locks: in the meantime another may have been
// enrolled.
func (s *Server) enrol(ctx context.Context, begun *enrolling, activated [][]byte) (*enrolled, error) {
	c := begun.candidate
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	// A registrar signs once, so what other front ends have written is read first.
	if err := s.upToDate(ctx, c.host, rareChain, endChain); err != nil {
		return nil, err
	}
	e := &ledger.Enrolment{Log: s.Origin(), Host: c.host, AK: ledger.Name(c.ak.Name), AKPublic: c.ak.Raw, Grade: c.grade}
	if c.ek != nil {
		e.EK = ledger.Name(c.ek.Name)
	}
	h, unlock := s.chains.lock(e)
	defer unlock()
	if err := s.mayEnrol(c); err != nil {
		return nil, err
	}
	if same, err := s.sameEnrolment(e); same != nil || err != nil {
		return same, err
	}
	leaf, sequence, _, found := s.chains.head(c.host)
	if found {
		e.Sequence, e.Previous = sequence+1, leaf
	}
	// The order of admit: the addendum first.
	evidence := c.Marshal()
	e.Evidence = c.Addendum()
	if _, err := s.addenda.Put(e.Evidence.Digest, bytes.NewReader(evidence), ledger.MaxEnrolmentEvidence); err != nil {
		return nil, err
	}
	if err := s.sign(ctx, e, begun, activated, evidence); err != nil {
		return nil, err
	}
	raw := e.Marshal()
	leaf = ledger.LeafHash(raw)
	index, err := s.admitLocked(h, leaf, raw, e)
	var behind *behindError
	if errors.As(err, &behind) {
		err = errBusy // the host begins again
	}
	if err != nil {
		return nil, err
	}
	s.config.Logger.Info("enrolled", "host", c.host, "sequence", e.Sequence, "grade", c.grade, "ak", e.AK.String())
	made := &enrolled{leaf: leaf, index: index, entry: raw}
	if c.ek != nil {
		made.uploader = c.host
	}
	return made, nil
}

// sameEnrolment returns the newest entry of the host's chain if it says what e
// would say: the answer to it was lost, and a second entry would say nothing new.
// After segments it does: TPM2_Clear sets counters back and leaves the keys.
func (s *Server) sameEnrolment(e *ledger.Enrolment) (*enrolled, error) {
	before := s.chains.enrolment(e.Host)
	leaf, sequence, index, found := s.chains.head(e.Host)
	if !found || sequence != before.Sequence || before.EK != e.EK || before.AK != e.AK || before.Grade != e.Grade {
		return nil, nil
	}
	return &enrolled{leaf: leaf, index: index, entry: before.Marshal()}, nil
}

// sign has the registrars sign, each for its own activation.
func (s *Server) sign(ctx context.Context, e *ledger.Enrolment, begun *enrolling, activated [][]byte, evidence []byte) error {
	text := e.Text()
	var refused []error
	for i, registrar := range begun.registrars {
		sig, err := registrar.Sign(ctx, client.RegistrarSign{Session: begun.sessions[i], Activated: activated[i], Text: text, Evidence: evidence})
		if err == nil {
			v := registrarKey(s.config.Trust, sig.Name, sig.Hash)
			if v == nil || !v.Verify(text, sig.Sig) {
				err = errors.New("its signature is not by a registrar of the trust folder")
			}
		}
		if err != nil {
			refused = append(refused, fmt.Errorf("registrar %s: %w", registrar.Name(), err))
			continue
		}
		if !slices.ContainsFunc(e.Signatures, func(o ledger.Signature) bool { return o.Name == sig.Name && o.Hash == sig.Hash }) {
			e.Signatures = append(e.Signatures, sig)
		}
	}
	return s.enough(len(e.Signatures), refused)
}
