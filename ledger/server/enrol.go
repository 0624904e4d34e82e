package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/quote"
)

// secretSize is that of SHA-256, the smallest name hash that an EK may have.
const secretSize = sha256.Size

var errNoRegistrar = errors.New("this ledger has no registrar key and enrols nobody")

// checkRegistrars makes sure that what the registrars sign will be admitted.
func (s *Server) checkRegistrars() error {
	if len(s.config.Registrars) == 0 {
		return nil
	}
	known := 0
	for _, r := range s.config.Registrars {
		for _, v := range s.config.Trust.Registrars {
			if v.Name() == r.Name() && v.KeyHash() == r.KeyHash() {
				known++
			}
		}
	}
	if known < s.config.Trust.Threshold {
		return fmt.Errorf("ledger: %d of the registrar keys stand in the trust folder's rules, which demand the signatures of %d; add registrar lines or keys", known, s.config.Trust.Threshold)
	}
	return nil
}

// beginEnrolment is the first step. It returns a challenge for the host's TPM,
// or, for grade software, the enrolment.
func (s *Server) beginEnrolment(r client.EnrolRequest) (*client.Challenge, *enrolled, error) {
	if len(s.config.Registrars) == 0 {
		return nil, nil, errNoRegistrar
	}
	c, err := s.candidate(r)
	if err != nil {
		return nil, nil, err
	}
	if err := s.mayEnrol(c); err != nil {
		return nil, nil, err
	}
	if c.ek == nil {
		e, err := s.enrol(c)
		return nil, e, err
	}
	a := &activation{candidate: c, secret: make([]byte, secretSize), expires: s.config.Now().Add(s.config.SessionLife)}
	if _, err := io.ReadFull(s.config.Rand, a.secret); err != nil {
		return nil, nil, fmt.Errorf("draw a secret: %w", err)
	}
	c.Activated = sha256.Sum256(a.secret)
	if c.Credential, c.Secret, err = quote.MakeCredential(s.config.Rand, c.ek, c.ak.Name, a.secret); err != nil {
		return nil, nil, err
	}
	if size := c.Addendum().Size; size > ledger.MaxEnrolmentEvidence {
		return nil, nil, badRequest("ek_certificates: together too long: %d bytes of evidence, at most %d", size, ledger.MaxEnrolmentEvidence)
	}
	token, err := s.sessions.add(a, s.config.Now())
	if err != nil {
		return nil, nil, err
	}
	return &client.Challenge{Session: token, Credential: c.Credential, Secret: c.Secret}, nil, nil
}

// endEnrolment is the second step: only a TPM with the EK and the AK of the first
// one could open the credential.
func (s *Server) endEnrolment(r client.Activation) (*enrolled, error) {
	a, err := s.sessions.take(r.Session, s.config.Now())
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(a.secret, r.Activated) != 1 {
		return nil, errActivation
	}
	return s.enrol(a.candidate)
}

// candidate checks what a host says of its keys.
func (s *Server) candidate(r client.EnrolRequest) (*candidate, error) {
	if !ledger.ValidHost(r.Host) {
		return nil, badRequest("host: %.64q is no host name: a-z, 0-9, dot, dash and underscore", r.Host)
	}
	invalid := func(code ledger.Code, err error) error {
		return &refusal{Findings: []ledger.Finding{{Code: code, Subject: r.Host, Text: err.Error()}}}
	}
	c := &candidate{host: r.Host}
	var err error
	if len(r.AKPublic) > ledger.MaxPublic || len(r.EKPublic) > ledger.MaxPublic {
		return nil, badRequest("a public area has at most %d bytes", ledger.MaxPublic)
	}
	if c.ak, err = quote.ParseAK(r.AKPublic); err != nil {
		return nil, invalid(ledger.AKAttributes, err)
	}
	if len(r.EKPublic) == 0 {
		if !s.config.AllowSoftware || len(r.EKCertificates) > 0 {
			return nil, badRequest("ek_public: missing; this ledger enrols no host without a TPM")
		}
		c.grade = ledger.GradeSoftware
		return c, nil
	}
	if c.ek, err = quote.ParseEK(r.EKPublic); err != nil {
		return nil, invalid(ledger.EnrolmentEvidenceInvalid, err)
	}
	if len(r.EKCertificates) > ledger.MaxCertificates {
		return nil, badRequest("ek_certificates: %d, at most %d", len(r.EKCertificates), ledger.MaxCertificates)
	}
	for i, der := range r.EKCertificates {
		if len(der) == 0 || len(der) > ledger.MaxCertificate {
			return nil, badRequest("ek_certificates: the one at %d has %d bytes, want 1 to %d", i, len(der), ledger.MaxCertificate)
		}
	}
	c.EKPublic, c.Certificates = r.EKPublic, r.EKCertificates
	var why error
	if c.grade, why = s.grade(c); c.grade == "" {
		return nil, invalid(ledger.EnrolmentGrade, why)
	}
	return c, nil
}

// grade returns the best grade that the trust folder accepts and the candidate
// reaches, or none, and why.
func (s *Server) grade(c *candidate) (ledger.Grade, error) {
	accepted := s.config.Trust.Grades
	reached := map[ledger.Grade]error{ledger.GradeFirstUse: nil}
	if host, pinned := s.config.Pinned[ledger.Name(c.ek.Name)]; !pinned || host != c.host {
		reached[ledger.GradePinned] = errors.New("the operator has not listed this EK for this host")
	}
	reached[ledger.GradeCertificate] = s.verifyChain(c)
	var why []error
	for _, g := range ledger.Grades {
		err, possible := reached[g]
		switch {
		case !slices.Contains(accepted, g) || g == ledger.GradeSoftware:
		case possible && err != nil:
			why = append(why, fmt.Errorf("grade %s: %w", g, err))
		default:
			return g, nil
		}
	}
	if len(why) == 0 {
		why = append(why, errors.New("none of these is for a host with a TPM"))
	}
	return "", fmt.Errorf("the trust folder accepts %v: %w", accepted, errors.Join(why...))
}

// verifyChain judges the EK's certificates as the auditor does: at the time when
// the EK's own was made (FORMAT.md, K9).
func (s *Server) verifyChain(c *candidate) error {
	if len(c.Certificates) == 0 {
		return errors.New("no EK certificate")
	}
	leaf, err := x509.ParseCertificate(c.Certificates[0])
	if err != nil {
		return fmt.Errorf("EK certificate: %w", err)
	}
	roots := x509.NewCertPool()
	for _, root := range s.config.Trust.Roots {
		roots.AddCert(root)
	}
	return quote.VerifyEKChain(c.ek, c.Certificates, roots, leaf.NotBefore)
}

// mayEnrol decides whether a candidate may have its host's name. Activation
// proves which TPM asks, not which host: a name that was taken belongs to the TPM
// that took it, unless the operator lists another.
func (s *Server) mayEnrol(c *candidate) error {
	no := func(format string, args ...any) error {
		return &refusal{Findings: []ledger.Finding{{Code: ledger.EnrolmentGrade, Subject: c.host, Text: fmt.Sprintf(format, args...)}}}
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
}

// enrol writes, signs and logs the enrolment of a candidate whose TPM has
// answered. What held when it was asked is looked at again, under the locks: in
// the meantime another may have been enrolled.
func (s *Server) enrol(c *candidate) (*enrolled, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
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
	if err := ledger.Sign(e, s.config.Registrars...); err != nil {
		return nil, err
	}
	raw := e.Marshal()
	leaf = ledger.LeafHash(raw)
	index, err := s.admitLocked(h, leaf, raw, e)
	if err != nil {
		return nil, err
	}
	s.config.Logger.Info("enrolled", "host", c.host, "sequence", e.Sequence, "grade", c.grade, "ak", e.AK.String())
	return &enrolled{leaf, index, raw}, nil
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
	return &enrolled{leaf, index, before.Marshal()}, nil
}
