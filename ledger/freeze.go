package ledger

import (
	"fmt"
	"strings"
)

// First lines of what ends a log, and of what begins the one after it.
const (
	FreezeFormat     = "imaledger/freeze/v1"
	SuccessionFormat = "imaledger/succession/v1"
)

// A Freeze ends a log: it is the last entry, so that the tree that ends in it is
// the final one. It names the log that follows.
type Freeze struct {
	Log       string
	Successor string // verifier key of the log that follows, whose name is its origin
	URL       string // where that log is, for people and programs to look
	Reason    string
	Time      uint64 // Unix seconds, the signer's word
	Signatures
}

// SuccessorOrigin returns the origin of the log that follows.
func (s *Freeze) SuccessorOrigin() string {
	name, _, _ := strings.Cut(s.Successor, "+")
	return name
}

// Format implements Entry.
func (s *Freeze) Format() string { return FreezeFormat }

// LogOrigin implements Entry.
func (s *Freeze) LogOrigin() string { return s.Log }

// Addenda implements Entry: none.
func (s *Freeze) Addenda() []Hash { return nil }

// Marshal implements Entry.
func (s *Freeze) Marshal() []byte { return marshalStatement(s) }

// Text implements Statement.
func (s *Freeze) Text() []byte {
	return fmt.Appendf(nil, "%s\nlog %s\nsuccessor %s\nurl %s\nreason %s\ntime %d\n", FreezeFormat, s.Log, s.Successor, s.URL, s.Reason, s.Time)
}

func (s *Freeze) read(r *textReader) {
	s.Log, s.Successor = r.logOrigin(), r.value("successor")
	if r.err == nil {
		if _, err := parseVKey(s.Successor, logTypes); err != nil {
			r.fail("successor: %v", err)
		}
	}
	if name := s.SuccessorOrigin(); r.err == nil && (!ValidOrigin(name) || name == s.Log) {
		r.fail("successor: want the key of another log, whose name is an origin")
	}
	s.URL = r.freeText("url")
	if r.err == nil && !strings.HasPrefix(s.URL, "https://") && !strings.HasPrefix(s.URL, "http://") {
		r.fail("url: want https:// or http://")
	}
	s.Reason, s.Time = r.freeText("reason"), r.number("time")
}

// A Succession begins a log: it is the first entry, and names the log before it
// with the final tree of that.
type Succession struct {
	Log         string
	Predecessor string // origin
	Freeze      Hash   // leaf hash of the entry that ended it
	Size        uint64 // of its final tree, whose last entry that is
	Root        Hash   // of its final tree
	Reason      string
	Time        uint64 // Unix seconds, the signer's word
	Signatures
}

// Format implements Entry.
func (s *Succession) Format() string { return SuccessionFormat }

// LogOrigin implements Entry.
func (s *Succession) LogOrigin() string { return s.Log }

// Addenda implements Entry: none.
func (s *Succession) Addenda() []Hash { return nil }

// Marshal implements Entry.
func (s *Succession) Marshal() []byte { return marshalStatement(s) }

// Text implements Statement.
func (s *Succession) Text() []byte {
	return fmt.Appendf(nil, "%s\nlog %s\npredecessor %s\nfreeze %x\nfinal %d %x\nreason %s\ntime %d\n",
		SuccessionFormat, s.Log, s.Predecessor, s.Freeze, s.Size, s.Root, s.Reason, s.Time)
}

func (s *Succession) read(r *textReader) {
	s.Log, s.Predecessor, s.Freeze = r.logOrigin(), r.value("predecessor"), r.hash("freeze")
	if r.err == nil && (!ValidOrigin(s.Predecessor) || s.Predecessor == s.Log) {
		r.fail("predecessor: want the origin of another log")
	}
	final := r.values("final", 2)
	s.Size, s.Root = r.parseNumber("final", final[0]), r.parseHash("final", final[1])
	if r.err == nil && s.Size == 0 {
		r.fail("final: a tree that ends in an entry is not empty")
	}
	s.Reason, s.Time = r.freeText("reason"), r.number("time")
}
