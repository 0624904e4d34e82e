package index

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// A part of a segment's records: what they say, each once, and of each record in
// order which of these it says.
type part struct {
	said   [][]byte
	places []uint32
}

// A part has at most so many records, and ends with the first that brings what they
// say over so many bytes: that, and not the segment, is what is in memory.
const (
	partRecords = 1 << 14
	partBytes   = 1 << 20
)

// records reads a segment's records, and calls f with each part. What was read has
// the digest that the leaf names if the row's state is then Read; else none of it
// counts. The error is that of f, or of a source that failed.
func (e *readEntry) records(ctx context.Context, source Source, f func(part) error) error {
	seg := e.entry.(*ledger.Segment)
	failed := func(err error) error { return fmt.Errorf("records of %s #%d: %w", seg.Host, seg.Sequence, err) }
	content, err := source.Addendum(ctx, e.leaf, seg.Payload)
	var absent *AbsentError
	switch {
	case errors.As(err, &absent):
		e.row.State = absent.State
		return nil
	case err != nil:
		return failed(err)
	}
	defer content.Close()
	digest := sha256.New()
	in := io.TeeReader(io.LimitReader(content, int64(seg.Payload.Size)+1), digest)
	order, err := ima.ParseOrder(seg.List.Order)
	if err != nil {
		return err // a parsed segment has one of the two
	}
	list := ima.NewReaderSize(in, ima.Format{Bank: ima.Bank(seg.List.Bank.Alg()), Order: order}, seg.Payload.Size)
	e.row.State, e.row.Opaque = Read, 0
	count := uint64(0)
	for more := true; more; {
		var p part
		if p, more, err = e.part(list); err != nil {
			return failed(err)
		}
		count += uint64(len(p.places))
		if err := f(p); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		if !errors.As(err, &absent) {
			return failed(err)
		}
		e.row.State = absent.State
	}
	if e.row.State == Read || e.row.State == Malformed {
		switch {
		case ledger.Hash(digest.Sum(nil)) != seg.Payload.Digest:
			e.row.State = Altered
		case count != seg.Count:
			e.row.State = Malformed
		}
	}
	if e.row.State != Read {
		e.row.Opaque = 0
	}
	return nil
}

// part reads the next part of a list. more is false where the list ends.
func (e *readEntry) part(list *ima.Reader) (p part, more bool, err error) {
	numbers := make(map[string]uint32)
	var buf []byte
	for size := 0; len(p.places) < partRecords && size < partBytes; {
		rec, err := list.Next()
		var syntax *ima.SyntaxError
		var absent *AbsentError
		switch {
		case errors.Is(err, io.EOF):
			return p, false, nil
		case errors.As(err, &syntax):
			e.row.State = Malformed
			return p, false, nil
		case errors.As(err, &absent):
			e.row.State = absent.State
			return p, false, nil
		case err != nil:
			return p, false, err
		}
		facts := rec.Facts()
		if facts.Opaque {
			e.row.Opaque++
		}
		buf = appendFacts(buf[:0], &facts)
		n, seen := numbers[string(buf)]
		if !seen {
			n = uint32(len(p.said))
			said := append([]byte(nil), buf...)
			numbers[string(said)] = n
			p.said = append(p.said, said)
			size += len(said)
		}
		p.places = append(p.places, n)
	}
	return p, true, nil
}
