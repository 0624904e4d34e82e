package audit

import (
	"crypto/x509"
	"errors"
	"slices"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/quote"
)

// judgeEnrolment follows FORMAT.md, "Verifying an enrolment".
func (s *State) judgeEnrolment(j *Judgement, e *ledger.Enrolment, addenda Addenda) {
	// SPEC: 1. The enrolment names the host's entry before it.
	next := s.judgeLink(j, e)
	next.Enrolment, next.ak, next.renewed = e, nil, true
	j.next = next

	// SPEC: 2. The AK's public area is that of a restricted signing key that
	// cannot leave its TPM, and its name is the one stated.
	ak, err := quote.ParseAK(e.AKPublic)
	if err != nil {
		j.find(ledger.AKAttributes, "%v", err)
	} else if ledger.Name(ak.Name) != e.AK {
		j.find(ledger.EnrolmentEvidenceInvalid, "the AK's public area has the name %x, the enrolment states %s", ak.Name, e.AK)
	}

	// SPEC: 3. The AK and the EK are no other host's.
	if other, taken := s.aks[e.AK]; taken && other != e.Host {
		j.find(ledger.AKReused, "AK %.16s… is host %s's", e.AK, other)
	}
	if other, taken := s.eks[e.EK]; taken && other != e.Host && e.EK != ledger.NameNone {
		j.find(ledger.EKReused, "EK %.16s… is host %s's", e.EK, other)
	}

	// SPEC: 4. At least the demanded number of registrars have signed.
	by, err := ledger.SignedBy(e, s.trust.Registrars...)
	switch {
	case err != nil:
		j.find(ledger.EnrolmentUnsigned, "%v", err)
	case len(by) < s.trust.Threshold:
		j.find(ledger.EnrolmentUnsigned, "signed by %d registrars of the trust folder, which demands %d", len(by), s.trust.Threshold)
	}
	j.by = by

	// SPEC: 5. The grade is one that the trust folder accepts.
	if !slices.Contains(s.trust.Grades, e.Grade) {
		j.find(ledger.EnrolmentGrade, "grade %s is not accepted: the trust folder's rules accept %v", e.Grade, s.trust.Grades)
	}

	// SPEC: 6. The evidence bears out the EK's name and the grade.
	s.judgeEvidence(j, e, addenda)
}

func (s *State) judgeEvidence(j *Judgement, e *ledger.Enrolment, addenda Addenda) {
	content, found, err := read(addenda, e.Evidence)
	var wrong *addendumError
	switch {
	case errors.As(err, &wrong):
		j.find(ledger.EnrolmentEvidenceInvalid, "%v", err)
		return
	case err != nil:
		j.Err = err
		return
	case !found:
		j.find(ledger.EnrolmentEvidenceMissing, "evidence %x is not at hand", e.Evidence.Digest[:6])
		return
	}
	evidence, err := ledger.ParseEnrolmentEvidence(content)
	if err != nil {
		j.find(ledger.EnrolmentEvidenceInvalid, "%v", err)
		return
	}
	if e.Grade == ledger.GradeSoftware {
		if len(evidence.EKPublic) > 0 {
			j.find(ledger.EnrolmentEvidenceInvalid, "grade software, but the evidence has an EK")
		}
		return
	}
	ek, err := quote.ParseEK(evidence.EKPublic)
	if err != nil {
		j.find(ledger.EnrolmentEvidenceInvalid, "EK: %v", err)
		return
	}
	// The host writes the area around its key, so the name alone does not tell
	// two TPMs apart.
	j.ekKey = &ek.KeyDigest
	if other := s.ekKeys[ek.KeyDigest]; other != "" && other != e.Host {
		j.find(ledger.EKReused, "the EK's key is host %s's, in an area of another name", other)
	}
	switch {
	case len(evidence.Activations) < s.trust.Threshold:
		j.find(ledger.EnrolmentEvidenceInvalid, "%d activations, and the trust folder demands %d registrars, each with its own", len(evidence.Activations), s.trust.Threshold)
	case ledger.Name(ek.Name) != e.EK:
		j.find(ledger.EnrolmentEvidenceInvalid, "the EK's public area has the name %x, the enrolment states %s", ek.Name, e.EK)
	case e.Grade == ledger.GradeCertificate:
		s.judgeCertificate(j, ek, evidence.Certificates)
	}
}

// judgeCertificate: a TPM outlives the certificates above its EK's, so the
// chain is held to the moment at which the EK's certificate was made.
func (s *State) judgeCertificate(j *Judgement, ek *quote.EK, chain [][]byte) {
	if len(chain) == 0 {
		j.find(ledger.EnrolmentEvidenceInvalid, "grade certificate, but the evidence has none")
		return
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		j.find(ledger.EnrolmentEvidenceInvalid, "EK certificate: %v", err)
		return
	}
	roots := x509.NewCertPool()
	for _, c := range s.trust.Roots {
		roots.AddCert(c)
	}
	if err := quote.VerifyEKChain(ek, chain, roots, leaf.NotBefore); err != nil {
		j.find(ledger.EnrolmentEvidenceInvalid, "EK certificate: %v", err)
	}
}
