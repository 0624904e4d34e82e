package ledger

import "fmt"

// AcknowledgementFormat is the first line of an acknowledgement.
const AcknowledgementFormat = "imaledger/acknowledgement/v1"

// An Acknowledgement is an operator's word on a gap or another finding. It
// mends nothing: the finding stays, with the word beside it.
type Acknowledgement struct {
	Log       string
	Host      string
	Entry     Hash // leaf hash of the entry that the finding is about
	Finding   Code
	Statement string
	Time      uint64 // Unix seconds, the signer's word
	Signatures
}

// Format implements Entry.
func (s *Acknowledgement) Format() string { return AcknowledgementFormat }

// LogOrigin implements Entry.
func (s *Acknowledgement) LogOrigin() string { return s.Log }

// Addenda implements Entry: none.
func (s *Acknowledgement) Addenda() []Hash { return nil }

// Marshal implements Entry.
func (s *Acknowledgement) Marshal() []byte { return marshalStatement(s) }

// Text implements Statement.
func (s *Acknowledgement) Text() []byte {
	return fmt.Appendf(nil, "%s\nlog %s\nhost %s\nentry %x\nfinding %s\nstatement %s\ntime %d\n",
		AcknowledgementFormat, s.Log, s.Host, s.Entry, s.Finding, s.Statement, s.Time)
}

func (s *Acknowledgement) read(r *textReader) {
	s.Log, s.Host, s.Entry = r.logOrigin(), r.host(), r.hash("entry")
	s.Finding = Code(r.value("finding"))
	if _, known := codes[s.Finding]; r.err == nil && !known {
		r.fail("finding: %.32q is no code of a finding", s.Finding)
	}
	s.Statement, s.Time = r.freeText("statement"), r.number("time")
}
