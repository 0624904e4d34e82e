package index

import (
	"context"
	"encoding/binary"

	"github.com/imaledger/imaledger/ledger"
)

// A State says how far a segment's records were read. Those but Read leave absence
// undecided.
type State byte

// The states.
const (
	Read      State = iota
	Erased          // by a statement that the log has
	Missing         // the source does not have them
	Refused         // the source does not give them to this reader
	Altered         // the source gave other bytes than the leaf names
	Malformed       // they are no measurement list, or the entry is none
)

var states = [...]string{"read", "erased", "missing", "refused", "altered", "malformed"}

func (s State) String() string { return states[s] }

// An AbsentError says that a source has not what was asked for.
type AbsentError struct {
	State State // Missing, Refused or Altered
	Text  string
}

func (e *AbsentError) Error() string { return e.State.String() + ": " + e.Text }

// A segmentRow is the row e.
type segmentRow struct {
	Host      string
	Sequence  uint64
	First     uint64 // index of the first record in this boot
	Count     uint64
	NotBefore uint64 // Unix seconds, 0 where nothing bounds
	State     State
	Gap       string // the reason, empty where it joins the segment before
	Opaque    uint64 // records: see ima.Facts
}

func (r *segmentRow) marshal() []byte {
	b := appendText([]byte{byte(r.State)}, r.Host)
	for _, n := range []uint64{r.Sequence, r.First, r.Count, r.NotBefore, r.Opaque} {
		b = binary.AppendUvarint(b, n)
	}
	return appendText(b, r.Gap)
}

func parseSegmentRow(b []byte) (*segmentRow, error) {
	if len(b) == 0 || int(b[0]) >= len(states) {
		return nil, errRow
	}
	r := &rowReader{rest: b[1:]}
	s := &segmentRow{State: State(b[0]), Host: r.text(), Sequence: r.uvarint(), First: r.uvarint(), Count: r.uvarint(), NotBefore: r.uvarint(), Opaque: r.uvarint()}
	s.Gap = r.text()
	return s, r.err
}

// limits reports whether absence in the segment is less than certain.
func (r *segmentRow) limits() bool { return r.State != Read || r.Gap != "" || r.Opaque > 0 }

// A readEntry is an entry that was read and not applied yet.
type readEntry struct {
	index uint64
	raw   []byte
	leaf  ledger.Hash
	entry ledger.Entry // nil where it is malformed
	err   error        // the source failed

	row   segmentRow
	parts []part // of the segment's records, where they were read ahead
	size  uint64 // of the anchor's tree
	time  uint64 // its not-after, 0 for none
}

func parse(index uint64, raw []byte) *readEntry {
	e := &readEntry{index: index, raw: raw, leaf: ledger.LeafHash(raw)}
	var err error
	if e.entry, err = ledger.ParseEntry(raw); err != nil {
		e.entry, e.row.State = nil, Malformed
	}
	return e
}

// large reports whether an entry's records are too many to be held in memory: they
// are read when the entry is applied.
func (e *readEntry) large() bool {
	seg, ok := e.entry.(*ledger.Segment)
	return ok && seg.Payload.Size > maxAhead
}

// weight is what an entry counts for of those that are read ahead.
func (e *readEntry) weight() int {
	if seg, ok := e.entry.(*ledger.Segment); ok && !e.large() {
		return int(1 + seg.Payload.Size/aheadUnit)
	}
	return 1
}

// read reads what an entry names.
func (x *Index) read(ctx context.Context, source Source, e *readEntry) {
	seg, ok := e.entry.(*ledger.Segment)
	if !ok {
		return
	}
	e.row = segmentRow{Host: seg.Host, Sequence: seg.Sequence, First: seg.First, Count: seg.Count}
	if seg.Join.Kind == ledger.JoinGap {
		e.row.Gap = seg.Join.Reason
	}
	e.row.NotBefore, e.time, e.err = x.times.of(ctx, source, e.leaf, seg)
	e.size = seg.Anchor.Size
	if e.err != nil || e.large() {
		return
	}
	e.err = e.records(ctx, source, func(p part) error { e.parts = append(e.parts, p); return nil })
	if e.row.State != Read {
		e.parts = nil
	}
}
