package audit

import (
	"fmt"
	"strings"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// Time writes Unix seconds for people, in UTC.
func Time(unix uint64) string {
	if unix == 0 {
		return "an unknown time"
	}
	return time.Unix(int64(unix), 0).UTC().Format("2006-01-02 15:04:05Z")
}

// Count writes a number of things for people, with the noun as the number wants it.
func Count[N int | uint32 | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "ry"); ok {
		noun = stem + "rie"
	}
	if strings.HasSuffix(noun, "s") {
		noun += "e"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Statement says in a sentence what holds of a segment.
func (s *Segment) Statement() string {
	var b strings.Builder
	switch {
	case s.Count == 0:
		fmt.Fprintf(&b, "no record of host %s", s.Host)
	case s.Count == 1:
		fmt.Fprintf(&b, "record %d of host %s", s.First, s.Host)
	default:
		fmt.Fprintf(&b, "records %d to %d of host %s", s.First, s.First+s.Count-1, s.Host)
	}
	fmt.Fprintf(&b, ", boot reset %d", s.ResetCount)
	if s.RestartCount > 0 {
		fmt.Fprintf(&b, " restart %d", s.RestartCount)
	}
	switch {
	case s.Erased != nil:
		fmt.Fprintf(&b, ", %s; the register values before and after stand", s.Erased)
	case !s.Replayed:
		b.WriteString(", not looked at; the register values before and after stand")
	}
	if s.Count > 0 {
		b.WriteString(", measured ")
		if s.RecordsNotBefore > 0 {
			fmt.Fprintf(&b, "not before %s and ", Time(s.RecordsNotBefore))
		}
		b.WriteString("before the quote")
	}
	fmt.Fprintf(&b, ", quoted not before %s and not after %s", Time(s.NotBefore), Time(s.NotAfter))
	if s.Violations > 0 {
		fmt.Fprintf(&b, "; %s, whose contents no register binds", Count(s.Violations, "violation"))
	}
	if s.Unattested > 0 {
		fmt.Fprintf(&b, "; %s that no register binds", Count(s.Unattested, "record"))
	}
	if s.Grade != ledger.GradeCertificate {
		fmt.Fprintf(&b, "; the AK is enrolled at grade %s", s.Grade)
	}
	return b.String()
}

// Statements says what holds of each host: runs of segments are put together,
// since a reader asks for boots and times and not for segments. Where anything is
// contradicted there are none: who reads only these must not read a lie.
func (r *Report) Statements() []string {
	if r.Class() == ledger.Contradicted {
		return nil
	}
	var list []string
	for i := 0; i < len(r.Segments); {
		run := *r.Segments[i]
		n := 1
		for i+n < len(r.Segments) && follows(&run, r.Segments[i+n]) {
			s := r.Segments[i+n]
			run.Count += s.Count
			run.Violations += s.Violations
			run.Unattested += s.Unattested
			run.NotAfter, run.Clock = s.NotAfter, s.Clock
			n++
		}
		text := run.Statement()
		if n > 1 {
			text += fmt.Sprintf(" (%d segments, #%d to #%d)", n, run.Sequence, r.Segments[i+n-1].Sequence)
		} else {
			text += fmt.Sprintf(" (segment #%d)", run.Sequence)
		}
		list = append(list, text)
		i += n
	}
	return list
}

func follows(run, s *Segment) bool {
	return s.Log == run.Log && s.Host == run.Host && s.Join == string(ledger.JoinContinues) && s.ResetCount == run.ResetCount &&
		s.Replayed && run.Replayed && s.Grade == run.Grade && s.RestartCount == run.RestartCount
}
