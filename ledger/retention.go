package ledger

import "fmt"

// RetentionFormat is the first line of a retention policy.
const RetentionFormat = "imaledger/retention/v1"

// Forever is the retention of payloads that are never erased.
const Forever = 0

// A Retention states how long a log keeps payloads. It holds from its index on
// for all segments that no later one covers. A log without one keeps all.
type Retention struct {
	Log       string
	Policy    uint64 // the policy's number, counted up from 1
	Days      uint64 // that a payload is kept after its leaf was witnessed; Forever
	Appraisal bool   // whether a payload may go only after a passed appraisal
	Statement string // for people
	Time      uint64 // Unix seconds, the signer's word
	Signatures
}

// Format implements Entry.
func (s *Retention) Format() string { return RetentionFormat }

// LogOrigin implements Entry.
func (s *Retention) LogOrigin() string { return s.Log }

// Addenda implements Entry: none.
func (s *Retention) Addenda() []Hash { return nil }

// Marshal implements Entry.
func (s *Retention) Marshal() []byte { return marshalStatement(s) }

// Text implements Statement.
func (s *Retention) Text() []byte {
	days, appraisal := "forever", "none"
	if s.Days != Forever {
		days = fmt.Sprint(s.Days)
	}
	if s.Appraisal {
		appraisal = "required"
	}
	return fmt.Appendf(nil, "%s\nlog %s\npolicy %d\ndays %s\nappraisal %s\nstatement %s\ntime %d\n",
		RetentionFormat, s.Log, s.Policy, days, appraisal, s.Statement, s.Time)
}

func (s *Retention) read(r *textReader) {
	s.Log, s.Policy = r.logOrigin(), r.number("policy")
	if v := r.value("days"); v != "forever" {
		if s.Days = r.parseNumber("days", v); s.Days == Forever {
			r.fail("days: 0 is written forever")
		}
	}
	switch v := r.value("appraisal"); v {
	case "required":
		s.Appraisal = true
	case "none":
	default:
		r.fail("appraisal: want required or none")
	}
	s.Statement, s.Time = r.freeText("statement"), r.number("time")
}
