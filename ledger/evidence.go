package ledger

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// EnrolmentEvidenceFormat is the first line of what stands behind an enrolment.
const EnrolmentEvidenceFormat = "imaledger/enrolment-evidence/v1"

// EnrolmentEvidence is what the registrars went by: the EK, its certificates, and
// the transcript of each registrar's activation. It is an addendum of the
// enrolment. That an activation took place rests on the registrar's signature; the
// transcript lets it be gone through again.
type EnrolmentEvidence struct {
	EKPublic     []byte   // TPMT_PUBLIC; empty for grade software
	Certificates [][]byte // DER, the EK's first, each signed by the next
	Activations  []Activation
}

// An Activation is a credential made for an EK and an AK's name, which only a TPM
// that holds both can open (TPM 2.0 Part 1, section 24).
type Activation struct {
	Credential []byte // TPM2B_ID_OBJECT
	Secret     []byte // TPM2B_ENCRYPTED_SECRET
	Activated  Hash   // SHA-256 of the secret that came back
}

// Marshal returns the evidence's one encoding.
func (e *EnrolmentEvidence) Marshal() []byte {
	enc := base64.StdEncoding.EncodeToString
	b := fmt.Appendf(nil, "%s\n", EnrolmentEvidenceFormat)
	if len(e.EKPublic) == 0 {
		return append(b, "ek none\n"...)
	}
	b = fmt.Appendf(b, "ek %s\n", enc(e.EKPublic))
	for _, c := range e.Certificates {
		b = fmt.Appendf(b, "certificate %s\n", enc(c))
	}
	for _, a := range e.Activations {
		b = fmt.Appendf(b, "credential %s\nsecret %s\nactivated %x\n", enc(a.Credential), enc(a.Secret), a.Activated)
	}
	return b
}

// Addendum returns the size and digest that the enrolment names.
func (e *EnrolmentEvidence) Addendum() Addendum {
	b := e.Marshal()
	return Addendum{uint64(len(b)), sha256.Sum256(b)}
}

// ParseEnrolmentEvidence reads what Marshal wrote.
func ParseEnrolmentEvidence(b []byte) (*EnrolmentEvidence, error) {
	if len(b) > MaxEnrolmentEvidence {
		return nil, &FormatError{Format: EnrolmentEvidenceFormat, What: fmt.Sprintf("%d bytes, at most %d", len(b), MaxEnrolmentEvidence)}
	}
	r := newTextReader(EnrolmentEvidenceFormat, string(b))
	e := &EnrolmentEvidence{}
	if r.rest == "ek none\n" {
		r.value("ek")
		return e, r.end()
	}
	e.EKPublic = r.base64("ek", MaxPublic)
	for r.peek("certificate") {
		if len(e.Certificates) == MaxCertificates {
			r.fail("certificate: more than %d", MaxCertificates)
			break
		}
		e.Certificates = append(e.Certificates, r.base64("certificate", MaxCertificate))
	}
	for len(e.Activations) == 0 || r.peek("credential") {
		if len(e.Activations) == MaxSignatures {
			r.fail("credential: more than %d", MaxSignatures)
			break
		}
		e.Activations = append(e.Activations, Activation{r.base64("credential", MaxPublic), r.base64("secret", MaxPublic), r.hash("activated")})
		if r.err != nil {
			break
		}
	}
	return e, r.end()
}
