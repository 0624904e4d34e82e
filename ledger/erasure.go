package ledger

import (
	"bytes"
	"fmt"
)

// ErasureFormat is the first line of an erasure.
const ErasureFormat = "imaledger/erasure/v1"

// An Erasure says which payloads are no longer kept. It is logged before a byte
// is deleted; the segments' leaves stay and verify as erased.
type Erasure struct {
	Log       string
	Retention Hash // leaf hash of the policy it follows
	Erased    []Erased
	Reason    string
	Time      uint64 // Unix seconds, the signer's word
	Signatures
}

// Erased is one payload of an erasure.
type Erased struct {
	Leaf    Hash // leaf hash of the segment
	Payload Hash // digest that the segment names
}

// Format implements Entry.
func (s *Erasure) Format() string { return ErasureFormat }

// LogOrigin implements Entry.
func (s *Erasure) LogOrigin() string { return s.Log }

// Addenda implements Entry: none, since what it names is to go.
func (s *Erasure) Addenda() []Hash { return nil }

// Marshal implements Entry.
func (s *Erasure) Marshal() []byte { return marshalStatement(s) }

// Text implements Statement.
func (s *Erasure) Text() []byte {
	b := fmt.Appendf(nil, "%s\nlog %s\nretention %x\n", ErasureFormat, s.Log, s.Retention)
	for _, e := range s.Erased {
		b = fmt.Appendf(b, "erased %x %x\n", e.Leaf, e.Payload)
	}
	return fmt.Appendf(b, "reason %s\ntime %d\n", s.Reason, s.Time)
}

func (s *Erasure) read(r *textReader) {
	s.Log, s.Retention = r.logOrigin(), r.hash("retention")
	for r.peek("erased") {
		f := r.values("erased", 2)
		e := Erased{r.parseHash("erased", f[0]), r.parseHash("erased", f[1])}
		if n := len(s.Erased); n == MaxErased {
			r.fail("erased: more than %d", MaxErased)
		} else if n > 0 && bytes.Compare(s.Erased[n-1].Leaf[:], e.Leaf[:]) >= 0 {
			r.fail("erased: leaf hashes are out of order, or one stands twice")
		}
		s.Erased = append(s.Erased, e)
	}
	if len(s.Erased) == 0 {
		r.fail("erased: none")
	}
	s.Reason, s.Time = r.freeText("reason"), r.number("time")
}
