package index

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
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

	row    segmentRow
	said   [][]byte // what the segment's measurements say, each once
	places []uint32 // of each record in said
	size   uint64   // of the anchor's tree
	time   uint64   // its not-after, 0 for none
}

func parse(index uint64, raw []byte) *readEntry {
	e := &readEntry{index: index, raw: raw, leaf: ledger.LeafHash(raw)}
	var err error
	if e.entry, err = ledger.ParseEntry(raw); err != nil {
		e.entry, e.row.State = nil, Malformed
	}
	return e
}

// weight is what an entry counts for of those that are read ahead.
func (e *readEntry) weight() int {
	if seg, ok := e.entry.(*ledger.Segment); ok {
		return int(min(1+seg.Payload.Size/aheadUnit, ahead))
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
	if e.err == nil {
		e.err = e.records(ctx, source, seg)
	}
}

// records reads a segment's records. What it reads has the digest that the leaf
// names, or none of it counts.
func (e *readEntry) records(ctx context.Context, source Source, seg *ledger.Segment) error {
	content, err := source.Addendum(ctx, e.leaf, seg.Payload)
	var absent *AbsentError
	switch {
	case errors.As(err, &absent):
		e.row.State = absent.State
		return nil
	case err != nil:
		return fmt.Errorf("records of %s #%d: %w", seg.Host, seg.Sequence, err)
	}
	defer content.Close()
	digest := sha256.New()
	in := io.TeeReader(io.LimitReader(content, int64(seg.Payload.Size)+1), digest)
	order, err := ima.ParseOrder(seg.List.Order)
	if err != nil {
		return err // a parsed segment has one of the two
	}
	list := ima.NewReaderSize(in, ima.Format{Bank: ima.Bank(seg.List.Bank.Alg()), Order: order}, seg.Payload.Size)
	numbers := make(map[string]uint32)
	var buf []byte
	for {
		rec, err := list.Next()
		var syntax *ima.SyntaxError
		switch {
		case errors.Is(err, io.EOF):
		case errors.As(err, &syntax):
			e.row.State = Malformed
		case errors.As(err, &absent):
			e.row.State = absent.State
		case err != nil:
			return fmt.Errorf("records of %s #%d: %w", seg.Host, seg.Sequence, err)
		default:
			facts := rec.Facts()
			if facts.Opaque {
				e.row.Opaque++
			}
			buf = appendFacts(buf[:0], &facts)
			n, seen := numbers[string(buf)]
			if !seen {
				n = uint32(len(e.said))
				said := append([]byte(nil), buf...)
				numbers[string(said)] = n
				e.said = append(e.said, said)
			}
			e.places = append(e.places, n)
			continue
		}
		break
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		if !errors.As(err, &absent) {
			return fmt.Errorf("records of %s #%d: %w", seg.Host, seg.Sequence, err)
		}
		e.row.State = absent.State
	}
	if e.row.State == Read || e.row.State == Malformed {
		switch {
		case ledger.Hash(digest.Sum(nil)) != seg.Payload.Digest:
			e.row.State = Altered
		case uint64(len(e.places)) != seg.Count:
			e.row.State = Malformed
		}
	}
	if e.row.State != Read {
		e.said, e.places, e.row.Opaque = nil, nil, 0
	}
	return nil
}
