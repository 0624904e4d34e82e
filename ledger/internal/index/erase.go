package index

import (
	"context"
	"crypto/sha256"
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

// erase deletes what the index has of a segment's records, and marks it. What no
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
		if err := w.forget(entry); err != nil {
			return err
		}
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
	w.erased = true
	return w.commit()
}

// forget deletes a segment's postings.
func (w *writer) forget(entry uint64) error {
	value, found, err := get(w.db, key(rowForward, entry))
	if err != nil || !found {
		return err
	}
	distinct := make(map[uint64]bool)
	if err := forward(value, func(_, m uint64) bool { distinct[m] = true; return true }); err != nil {
		return err
	}
	for m := range distinct {
		if err := w.batch.Delete(key(rowPosting, m, entry), nil); err != nil {
			return err
		}
		others := false
		err := scan(w.db, key(rowPosting, m), func(k, _ []byte) error {
			of, _, err := number(k[len(key(rowPosting, m)):])
			if err == nil && of != entry {
				others, err = true, errEnough
			}
			return err
		})
		if err != nil {
			return err
		}
		if !others {
			if err := w.unmeasure(m); err != nil {
				return err
			}
		}
	}
	return w.batch.Delete(key(rowForward, entry), nil)
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

// scrub rewrites the database's files without what was deleted.
func (x *Index) scrub(ctx context.Context) error {
	if err := x.flush(); err != nil {
		return err
	}
	if err := x.db.Compact(ctx, []byte{0}, []byte{0xff}, true); err != nil {
		return fmt.Errorf("index: remove what is erased from its files: %w", err)
	}
	return nil
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
	for _, entry := range entries {
		list, err := source.Entries(ctx, entry, at)
		if err != nil {
			return err
		}
		e := parse(entry, list[0])
		x.read(ctx, source, e)
		if e.err != nil {
			return e.err
		}
		if err := w.segment(e); err != nil {
			return x.fail(err)
		}
		if err := w.commit(); err != nil {
			return x.fail(err)
		}
	}
	return nil
}
