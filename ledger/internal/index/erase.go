package index

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/imaledger/imaledger/ledger"
)

// statement keeps a statement and, where it erases records, erases what the index
// has of them. The row s is written last: a crash before has the entry applied once
// more, and the judge sees it for the first time again.
func (w *writer) statement(e *readEntry, s ledger.Statement) error {
	if s.LogOrigin() != w.meta.Origin { // it states nothing here
		return nil
	}
	x, ok := s.(*ledger.Erasure)
	if w.config.Judge(e.index, e.leaf, s) && ok {
		for _, erased := range x.Erased {
			if err := w.erase(erased.Leaf); err != nil {
				return err
			}
		}
	}
	return w.batch.Set(key(rowStatement, e.index), e.raw, nil)
}

// erase marks a segment, and deletes what the index has of its records. What no
// other segment has measured is forgotten.
func (w *writer) erase(leaf ledger.Hash) error {
	// What is deleted is looked up in the database, so it must be there.
	if err := w.commit(); err != nil {
		return err
	}
	value, found, err := get(w.db, leafKey(leaf))
	if err != nil || !found {
		return err // a segment of no log that this is: an audit says so
	}
	entry, _, err := number(value)
	if err != nil {
		return err
	}
	if value, found, err = get(w.db, key(rowSegment, entry)); err != nil || !found {
		return err
	}
	row, err := parseSegmentRow(value)
	if err != nil || row.State == Erased {
		return err
	}
	if row.State == Read {
		w.meta.Segments--
		w.meta.Records -= row.Count
	}
	row.State, row.Opaque = Erased, 0
	if err := w.batch.Set(key(rowSegment, entry), row.marshal(), nil); err != nil {
		return err
	}
	if err := w.limit(entry, row); err != nil {
		return err
	}
	w.meta.Part = entry + 1
	if err := w.forget(entry); err != nil {
		return err
	}
	w.meta.Part = 0
	return w.commit()
}

// mend deletes what there is of a segment's records that was not written, or erased,
// to the end.
func (w *writer) mend() error {
	if w.meta.Part == 0 {
		return nil
	}
	if err := w.forget(w.meta.Part - 1); err != nil {
		return err
	}
	w.meta.Part = 0
	return w.commit()
}

// forget deletes a segment's postings, a part at a time.
func (w *writer) forget(entry uint64) error {
	for {
		// What is deleted is looked up in the database, so it must be there.
		if err := w.commit(); err != nil {
			return err
		}
		var k []byte
		distinct := make(map[uint64]bool)
		err := scan(w.db, key(rowForward, entry), func(at, value []byte) error {
			k = bytes.Clone(at)
			if err := forward(value, func(_, m uint64) bool { distinct[m] = true; return true }); err != nil {
				return err
			}
			return errEnough
		})
		if err != nil || k == nil {
			return err
		}
		w.meta.Deleted = true
		for m := range distinct {
			if err := w.unpost(m, entry); err != nil {
				return err
			}
		}
		if err := w.batch.Delete(k, nil); err != nil {
			return err
		}
	}
}

// unpost deletes a posting, and the measurement if it was the only one.
func (w *writer) unpost(m, entry uint64) error {
	if err := w.batch.Delete(key(rowPosting, m, entry), nil); err != nil {
		return err
	}
	// What is erased is mostly the oldest that there is: so newer ones are looked for
	// first. From the begin on all that was deleted would be passed by, again and again.
	prefix, others := key(rowPosting, m), false
	err := scanFrom(w.db, prefix, key(rowPosting, m, entry+1), func(_, _ []byte) error {
		others = true
		return errEnough
	})
	if err == nil && !others {
		err = scan(w.db, prefix, func(k, _ []byte) error {
			of, _, err := number(k[len(prefix):])
			others = of != entry
			return cmp.Or(err, errEnough)
		})
	}
	if err != nil || others {
		return err
	}
	return w.unmeasure(m)
}

// unmeasure deletes a measurement.
func (w *writer) unmeasure(m uint64) error {
	said, found, err := get(w.db, key(rowMeasurement, m))
	if err != nil || !found {
		return err
	}
	facts, err := parseFacts(said)
	if err != nil {
		return err
	}
	hash := ledger.Hash(sha256.Sum256(said))
	delete(w.known, hash)
	remove := func(key []byte) error { return w.batch.Delete(key, nil) }
	if err := attributes(m, facts, remove); err != nil {
		return err
	}
	if err := remove(numberKey(hash)); err != nil {
		return err
	}
	return remove(key(rowMeasurement, m))
}

// scrub rewrites the database's files without what was deleted: it is on disk until it
// is compacted away, and what is erased must be gone.
func (x *Index) scrub(ctx context.Context) error {
	if !x.meta.Deleted {
		return nil
	}
	if err := x.flush(); err != nil {
		return err
	}
	if err := x.db.Compact(ctx, []byte{0}, []byte{0xff}, true); err != nil {
		return fmt.Errorf("index: remove what is erased from its files: %w", err)
	}
	w := &writer{Index: x, batch: x.db.NewBatch()}
	defer func() { w.batch.Close() }()
	x.meta.Deleted = false
	return w.commit()
}

// Retry reads again the records that a source did not have, or did not give, when
// their entries were applied. It must not run at the same time as Update.
func (x *Index) Retry(ctx context.Context, source Source) (err error) {
	defer x.caught(&err)
	if err := x.Failed(); err != nil || x.meta.Checkpoint == nil {
		return err
	}
	at, err := ledger.ParseCheckpoint(x.meta.Checkpoint)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	var entries []uint64
	err = scan(x.db, []byte{rowLimit}, func(k, value []byte) error {
		row, err := parseSegmentRow(value)
		if err != nil {
			return err
		}
		if row.State == Missing || row.State == Refused || row.State == Altered {
			entry, _, err := number(k[1+len(row.Host)+1:])
			if err != nil {
				return err
			}
			if entry < at.Size {
				entries = append(entries, entry)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	w := &writer{Index: x, batch: x.db.NewBatch(), fresh: make(map[ledger.Hash]uint64)}
	defer func() { w.batch.Close() }()
	if err := w.mend(); err != nil {
		return x.fail(err)
	}
	for _, entry := range entries {
		list, err := source.Entries(ctx, entry, at)
		if err != nil {
			return err
		}
		e := parse(entry, list[0])
		x.read(ctx, source, e)
		if e.err == nil && e.large() {
			e.err = w.stream(ctx, source, e)
		}
		if e.err != nil {
			if x.Failed() == nil { // what was written is named in the row M
				e.err = errors.Join(e.err, w.commit())
			}
			return e.err
		}
		if err := w.segment(e); err != nil {
			return x.fail(err)
		}
		if err := w.commit(); err != nil {
			return x.fail(err)
		}
	}
	return x.scrub(ctx)
}
