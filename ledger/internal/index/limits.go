package index

import (
	"context"
	"errors"
)

// A Limit is a run of a host's segments in which absence is less than certain: that
// no record was found there does not say that none was measured.
type Limit struct {
	Host     string // empty for entries that are none
	From, To uint64 // sequence numbers of the first and the last segment
	Segments uint64
	State    State  // of the records of all of them
	Gaps     uint64 // segments that begin with a gap: records before them are missing
	Opaque   uint64 // records that do not say what they are of: see ima.Facts
}

// Limits are all limits of a query, and how many there are.
type Limits struct {
	Size  uint64  // of the tree
	Runs  []Limit // by host
	More  bool    // whether there are more runs than were asked for
	Total map[State]uint64
	Gaps  uint64
	// Opaque counts records.
	Opaque uint64
}

// Limits returns what limits the word of absence in the segments that a query's
// host and time select, in at most max runs.
func (x *Index) Limits(ctx context.Context, q *Query, max int) (l *Limits, err error) {
	v, _, err := x.see(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	l = &Limits{Size: v.Verified, Total: make(map[State]uint64)}
	prefix := []byte{rowLimit}
	if q.Host != "" {
		prefix = textKey(rowLimit, q.Host)
	}
	looked := 0
	return l, scan(v, prefix, func(k, value []byte) error {
		if looked++; looked%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		row, err := parseSegmentRow(value)
		if err != nil {
			return err
		}
		entry, _, err := number(k[1+len(row.Host)+1:])
		if err != nil || entry >= v.Verified {
			return err
		}
		if selected, err := v.selects(q, entry, row); err != nil || !selected {
			return err
		}
		l.add(row, max)
		return nil
	})
}

func (l *Limits) add(row *segmentRow, max int) {
	l.Total[row.State]++
	l.Opaque += row.Opaque
	gap := uint64(0)
	if row.Gap != "" {
		gap = 1
		l.Gaps++
	}
	if n := len(l.Runs); n > 0 {
		last := &l.Runs[n-1]
		if last.Host == row.Host && last.State == row.State && last.To+1 == row.Sequence && row.State != Read {
			last.To, last.Segments, last.Gaps, last.Opaque = row.Sequence, last.Segments+1, last.Gaps+gap, last.Opaque+row.Opaque
			return
		}
	}
	if len(l.Runs) == max {
		l.More = true
		return
	}
	l.Runs = append(l.Runs, Limit{row.Host, row.Sequence, row.Sequence, 1, row.State, gap, row.Opaque})
}
