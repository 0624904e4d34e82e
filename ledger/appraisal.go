package ledger

import "fmt"

// AppraisalFormat is the first line of an appraisal.
const AppraisalFormat = "imaledger/appraisal/v1"

// An Appraisal is a verifier's verdict on what a host measured, up to and
// including one segment: "acted on" is on record before anything is erased.
type Appraisal struct {
	Log     string
	Host    string
	Segment Hash     // leaf hash of the last segment it covers
	Passed  bool     // the verdict
	Policy  Hash     // SHA-256 of the policy that was applied
	Report  Addendum // the verdict record by record; an addendum
	Time    uint64   // Unix seconds, the signer's word
	Signatures
}

// Format implements Entry.
func (s *Appraisal) Format() string { return AppraisalFormat }

// LogOrigin implements Entry.
func (s *Appraisal) LogOrigin() string { return s.Log }

// Addenda implements Entry: the report.
func (s *Appraisal) Addenda() []Hash { return []Hash{s.Report.Digest} }

// Marshal implements Entry.
func (s *Appraisal) Marshal() []byte { return marshalStatement(s) }

// Text implements Statement.
func (s *Appraisal) Text() []byte {
	verdict := "failed"
	if s.Passed {
		verdict = "passed"
	}
	return fmt.Appendf(nil, "%s\nlog %s\nhost %s\nsegment %x\nverdict %s\npolicy %x\nreport %s\ntime %d\n",
		AppraisalFormat, s.Log, s.Host, s.Segment, verdict, s.Policy, s.Report, s.Time)
}

func (s *Appraisal) read(r *textReader) {
	s.Log, s.Host, s.Segment = r.logOrigin(), r.host(), r.hash("segment")
	switch r.value("verdict") {
	case "passed":
		s.Passed = true
	case "failed":
	default:
		r.fail("verdict: want passed or failed")
	}
	s.Policy, s.Report, s.Time = r.hash("policy"), r.addendum("report", MaxPayload), r.number("time")
}
