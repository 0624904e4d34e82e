package ledger

import (
	"fmt"
	"strings"
)

// First lines of a hold and of its release.
const (
	HoldFormat    = "imaledger/hold/v1"
	ReleaseFormat = "imaledger/release/v1"
)

// A Hold forbids the erasure of payloads of one host, or of all, until it is
// released.
type Hold struct {
	Log    string
	Host   string // empty for every host, written as an asterisk
	From   uint64 // Unix seconds: segments witnessed at or after
	To     uint64 // and at or before
	Reason string
	Time   uint64 // Unix seconds, the signer's word
	Signatures
}

// Format implements Entry.
func (s *Hold) Format() string { return HoldFormat }

// LogOrigin implements Entry.
func (s *Hold) LogOrigin() string { return s.Log }

// Addenda implements Entry: none.
func (s *Hold) Addenda() []Hash { return nil }

// Marshal implements Entry.
func (s *Hold) Marshal() []byte { return marshalStatement(s) }

// Text implements Statement.
func (s *Hold) Text() []byte {
	host := s.Host
	if host == "" {
		host = "*"
	}
	return fmt.Appendf(nil, "%s\nlog %s\nhost %s\nfrom %d\nto %d\nreason %s\ntime %d\n", HoldFormat, s.Log, host, s.From, s.To, s.Reason, s.Time)
}

func (s *Hold) read(r *textReader) {
	s.Log = r.logOrigin()
	if strings.HasPrefix(r.rest, "host *\n") {
		r.value("host")
	} else {
		s.Host = r.host()
	}
	s.From, s.To = r.number("from"), r.number("to")
	if s.To < s.From {
		r.fail("to: before from")
	}
	s.Reason, s.Time = r.freeText("reason"), r.number("time")
}

// A Release ends a hold.
type Release struct {
	Log    string
	Hold   Hash // leaf hash of the hold
	Reason string
	Time   uint64 // Unix seconds, the signer's word
	Signatures
}

// Format implements Entry.
func (s *Release) Format() string { return ReleaseFormat }

// LogOrigin implements Entry.
func (s *Release) LogOrigin() string { return s.Log }

// Addenda implements Entry: none.
func (s *Release) Addenda() []Hash { return nil }

// Marshal implements Entry.
func (s *Release) Marshal() []byte { return marshalStatement(s) }

// Text implements Statement.
func (s *Release) Text() []byte {
	return fmt.Appendf(nil, "%s\nlog %s\nhold %x\nreason %s\ntime %d\n", ReleaseFormat, s.Log, s.Hold, s.Reason, s.Time)
}

func (s *Release) read(r *textReader) {
	s.Log, s.Hold, s.Reason, s.Time = r.logOrigin(), r.hash("hold"), r.freeText("reason"), r.number("time")
}
