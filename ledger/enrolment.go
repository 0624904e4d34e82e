package ledger

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// EnrolmentFormat is the first line of an enrolment.
const EnrolmentFormat = "imaledger/enrolment/v1"

// A Grade says how a registrar knows that an AK lives in a TPM.
type Grade string

// The grades, the best first.
const (
	GradeCertificate Grade = "certificate" // activated beside an EK that a TPM vendor certified
	GradePinned      Grade = "pinned"      // activated beside an EK that the operator listed
	GradeFirstUse    Grade = "first-use"   // activated beside an EK that nobody vouches for
	GradeSoftware    Grade = "software"    // no TPM at all: a key in a process, for demonstrations
)

// Grades lists the grades, the best first.
var Grades = []Grade{GradeCertificate, GradePinned, GradeFirstUse, GradeSoftware}

// An Enrolment is a registrar's word that an AK is a host's. It is an entry of
// the host's chain: the first, and again after each change of the AK.
type Enrolment struct {
	Log      string
	Host     string
	Sequence uint64 // in the host's chain, 0 for the first
	Previous Hash   // of the host's entry before; zero if Sequence is 0
	EK       Name   // NameNone for grade software
	AK       Name
	AKPublic []byte // TPMT_PUBLIC
	Grade    Grade
	Evidence Addendum // see EnrolmentEvidence
	Signatures
}

// Format implements Entry.
func (e *Enrolment) Format() string { return EnrolmentFormat }

// LogOrigin implements Entry.
func (e *Enrolment) LogOrigin() string { return e.Log }

// Addenda implements Entry: the evidence.
func (e *Enrolment) Addenda() []Hash { return []Hash{e.Evidence.Digest} }

// Marshal implements Entry.
func (e *Enrolment) Marshal() []byte { return marshalStatement(e) }

// Link implements HostEntry.
func (e *Enrolment) Link() (string, uint64, Hash) { return e.Host, e.Sequence, e.Previous }

// Text implements Statement.
func (e *Enrolment) Text() []byte {
	previous := "none"
	if e.Sequence > 0 {
		previous = fmt.Sprintf("%x", e.Previous)
	}
	b := fmt.Appendf(nil, "%s\nlog %s\nhost %s\nsequence %d\nprevious %s\n", EnrolmentFormat, e.Log, e.Host, e.Sequence, previous)
	b = fmt.Appendf(b, "ek %s\nak %s\nak-public %s\n", e.EK, e.AK, base64.StdEncoding.EncodeToString(e.AKPublic))
	return fmt.Appendf(b, "grade %s\nevidence %s\n", e.Grade, e.Evidence)
}

// ParseEnrolmentText reads what a registrar is asked to sign.
func ParseEnrolmentText(text []byte) (*Enrolment, error) {
	if len(text) > MaxStatement {
		return nil, &FormatError{Format: EnrolmentFormat, What: fmt.Sprintf("%d bytes, at most %d", len(text), MaxStatement)}
	}
	r, e := newTextReader(EnrolmentFormat, string(text)), &Enrolment{}
	e.read(r)
	return e, r.end()
}

func (e *Enrolment) read(r *textReader) {
	e.Log, e.Host, e.Sequence = r.logOrigin(), r.host(), r.number("sequence")
	if e.Sequence > 0 {
		e.Previous = r.hash("previous")
	} else if v := r.value("previous"); r.err == nil && v != "none" {
		r.fail("previous: want none at sequence 0")
	}
	e.EK = r.ek()
	e.AK = r.name("ak")
	e.AKPublic = r.base64("ak-public", MaxPublic)
	e.Grade = Grade(r.value("grade"))
	if r.err == nil && !slices.Contains(Grades, e.Grade) {
		r.fail("grade: want certificate, pinned, first-use or software")
	}
	if r.err == nil && (e.EK == NameNone) != (e.Grade == GradeSoftware) {
		r.fail("grade: software, and no other, has no EK")
	}
	e.Evidence = r.addendum("evidence", MaxEnrolmentEvidence)
}

// ek reads an EK's name, or none.
func (r *textReader) ek() Name {
	if strings.HasPrefix(r.rest, "ek none\n") {
		r.value("ek")
		return NameNone
	}
	return r.name("ek")
}
