package index

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/cockroachdb/pebble/v2"

	"github.com/imaledger/imaledger/ledger"
)

// A Source is a log that an index follows.
type Source interface {
	// Checkpoint returns the log's newest checkpoint, verified, whose tree continues
	// that of since, nil for none. The error wraps ledger.ErrConsistency where it does
	// not.
	Checkpoint(ctx context.Context, since *ledger.Checkpoint) (*ledger.Checkpoint, error)
	// Entries returns entries of the log from an index on, one at least, all of which
	// a checkpoint that Checkpoint returned has.
	Entries(ctx context.Context, from uint64, of *ledger.Checkpoint) ([][]byte, error)
	// Addendum opens what an entry names, by its leaf hash. Size may be more than it
	// has. The error is an *AbsentError where the source does not have it, also
	// of reading.
	Addendum(ctx context.Context, leaf ledger.Hash, a ledger.Addendum) (io.ReadCloser, error)
}

const (
	// maxBatch is the size in bytes of a batch. It is written at once, as a whole.
	maxBatch = 4 << 20
	// maxKnown is how many measurements' numbers are kept in memory, some 20 MB.
	maxKnown = 1 << 18
	// flushAfter is how many entries are applied before all is brought to the disk. A
	// crash has so many read again.
	flushAfter = 4096
	// ahead is how many entries are read while others are applied. One whose records
	// are large counts as one more for each aheadUnit of bytes: what they say is in
	// memory until then. Those of more than maxAhead bytes are not read ahead.
	ahead     = 64
	aheadUnit = 1 << 20
	maxAhead  = 4 << 20
)

// Update reads what the log has gained since the last time. The order:
//
//  1. A checkpoint that continues the newest one that the index has.
//  2. Each entry, with what it names; its rows, the tree's hashes and size in one
//     batch.
//  3. The root of all entries is the checkpoint's: only then do searches see them.
//
// A crash between leaves entries applied that no search sees, and the next Update
// goes on after them. A segment whose records are many is written in several batches,
// and erased in several: the row M names it until all is done, no search sees it, and
// what there is of it is deleted first of all after a crash. Where the roots differ the error is ErrMismatch, and the
// checkpoint's if it does not continue the last one.
func (x *Index) Update(ctx context.Context, source Source, progress func(done, total uint64)) (err error) {
	defer x.caught(&err)
	if err := x.Failed(); err != nil {
		return err
	}
	var since *ledger.Checkpoint
	if x.meta.Checkpoint != nil {
		if since, err = ledger.ParseCheckpoint(x.meta.Checkpoint); err != nil {
			return fmt.Errorf("%w: %w", ErrMismatch, err)
		}
	}
	at, err := source.Checkpoint(ctx, since)
	if err != nil {
		return err
	}
	if x.meta.Origin == "" {
		x.meta.Origin = at.Origin
	}
	switch {
	case at.Origin != x.meta.Origin:
		return fmt.Errorf("%w: it is of log %s, and follows %s", ErrOtherLog, x.meta.Origin, at.Origin)
	case at.Size < x.meta.Applied: // after a crash: what was read comes back
		return nil
	case at.Size == x.meta.Verified && since != nil:
		return errors.Join(x.renew(at), x.scrub(ctx))
	}
	from := x.meta.Applied
	w := &writer{Index: x, batch: x.db.NewBatch(), fresh: make(map[ledger.Hash]uint64)}
	defer func() { w.batch.Close() }()
	if err := w.mend(); err != nil {
		return x.fail(err)
	}
	if err := w.entries(ctx, source, at, progress); err != nil {
		if x.Failed() == nil { // what was applied is whole
			err = errors.Join(err, w.commit())
		}
		return err
	}
	if at.Size > 0 {
		root, err := x.tree.GetRootHash(nil)
		if err != nil || ledger.Hash(root) != at.Root {
			return fmt.Errorf("%w: its %d entries have root %x, the checkpoint %x", ErrMismatch, at.Size, root, at.Root)
		}
	}
	x.meta.Checkpoint, x.meta.Verified = at.Raw, at.Size
	if err := w.commit(); err != nil {
		return err
	}
	if x.unsafe += at.Size - from; x.unsafe >= flushAfter {
		if err := x.flush(); err != nil {
			return err
		}
	}
	return x.scrub(ctx)
}

// renew takes the checkpoint at of the tree that the index has, where the policy is
// another one that does not accept the checkpoint that it was held to.
func (x *Index) renew(at *ledger.Checkpoint) error {
	if _, _, err := x.newest.verify(x.config.Policy, x.meta.Checkpoint); err == nil {
		return nil
	}
	w := &writer{Index: x, batch: x.db.NewBatch()}
	defer func() { w.batch.Close() }()
	x.meta.Checkpoint = at.Raw
	return w.commit()
}

// flush brings all that was applied to the disk.
func (x *Index) flush() error {
	if err := x.db.Flush(); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	x.unsafe = 0
	return nil
}

// entries applies the entries up to a checkpoint. Several are read at a time.
func (w *writer) entries(ctx context.Context, source Source, at *ledger.Checkpoint, progress func(done, total uint64)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	slots := make(chan struct{}, runtime.GOMAXPROCS(0)*2)
	queue := make(chan chan *readEntry, ahead)
	weights := make(chan struct{}, ahead)
	go func() {
		defer close(queue)
		for index := w.meta.Applied; index < at.Size; {
			list, err := source.Entries(ctx, index, at)
			if err == nil && len(list) == 0 {
				err = fmt.Errorf("the log gives no entry %d", index)
			}
			if err != nil {
				failed := make(chan *readEntry, 1)
				failed <- &readEntry{err: err}
				select {
				case queue <- failed:
				case <-ctx.Done():
				}
				return
			}
			for _, raw := range list[:min(uint64(len(list)), at.Size-index)] {
				e := parse(index, raw)
				index++
				// In the log's order: so the next to be applied never waits for others.
				for range e.weight() {
					select {
					case weights <- struct{}{}:
					case <-ctx.Done():
						return
					}
				}
				done := make(chan *readEntry, 1)
				select {
				case queue <- done:
				case <-ctx.Done():
					return
				}
				slots <- struct{}{}
				go func() {
					w.read(ctx, source, e)
					done <- e
					<-slots
				}()
			}
		}
	}()
	for done := range queue {
		e := <-done
		if e.err != nil {
			return e.err
		}
		if err := w.apply(ctx, source, e); err != nil {
			return err
		}
		for range e.weight() {
			<-weights
		}
		if progress != nil {
			progress(e.index+1, at.Size)
		}
	}
	return ctx.Err()
}

// A writer gathers rows for a batch.
type writer struct {
	*Index
	batch *pebble.Batch
	fresh map[ledger.Hash]uint64 // measurements that are new in the batch
}

// apply adds the rows of an entry.
func (w *writer) apply(ctx context.Context, source Source, e *readEntry) error {
	if e.large() {
		if err := w.stream(ctx, source, e); err != nil {
			return err
		}
	}
	var err error
	switch entry := e.entry.(type) {
	case *ledger.Segment:
		err = w.segment(e)
	case ledger.HostEntry: // an enrolment has no records
	case ledger.Statement:
		err = w.statement(e, entry)
	case nil:
		err = w.limit(e.index, &e.row)
	}
	if err == nil {
		err = w.tree.Append(e.leaf[:], nil)
	}
	if err != nil {
		return w.fail(fmt.Errorf("index: entry %d: %w", e.index, err))
	}
	w.meta.Applied = e.index + 1
	if w.batch.Len() >= maxBatch {
		return w.commit()
	}
	return nil
}

func (w *writer) commit() error {
	w.meta.Hashes = w.tree.Hashes()
	value, err := json.Marshal(w.meta)
	if err != nil {
		return err
	}
	if err := w.batch.Set([]byte{rowMeta}, value, nil); err != nil {
		return err
	}
	if err := w.db.Apply(w.batch, pebble.NoSync); err != nil {
		return w.fail(fmt.Errorf("index: %w", err))
	}
	if err := w.batch.Close(); err != nil {
		return err
	}
	w.batch = w.db.NewBatch()
	clear(w.fresh)
	return nil
}

func (w *writer) segment(e *readEntry) error {
	set := func(key, value []byte) error { return w.batch.Set(key, value, nil) }
	if err := set(key(rowSegment, e.index), e.row.marshal()); err != nil {
		return err
	}
	if err := set(leafKey(e.leaf), appendNumber(nil, e.index)); err != nil {
		return err
	}
	if err := set(textKey(rowHost, e.row.Host, e.index), nil); err != nil {
		return err
	}
	if err := w.limit(e.index, &e.row); err != nil {
		return err
	}
	if err := w.grew(e.size, e.time); err != nil {
		return err
	}
	w.meta.Part = 0
	if e.row.State != Read {
		return nil
	}
	first := uint64(0)
	for _, p := range e.parts {
		if err := w.part(e.index, first, p); err != nil {
			return err
		}
		first += uint64(len(p.places))
	}
	w.meta.Segments++
	w.meta.Records += e.row.Count
	return nil
}

// part writes what some of a segment's records say, from the record first on.
func (w *writer) part(entry, first uint64, p part) error {
	if len(p.places) == 0 {
		return nil
	}
	numbers := make([]uint64, len(p.said))
	for i, said := range p.said {
		m, err := w.measurement(said)
		if err != nil {
			return err
		}
		numbers[i] = m
		if err := w.batch.Set(key(rowPosting, m, entry), nil, nil); err != nil {
			return err
		}
	}
	list := make([]uint64, len(p.places))
	for i, n := range p.places {
		list[i] = numbers[n]
	}
	return w.batch.Set(key(rowForward, entry, first), appendForward(nil, list), nil)
}

// stream reads a large segment's records and writes them, a part at a time. What came
// of a source that then failed is deleted by who comes next, and what turns out not to
// be what the leaf names at once.
func (w *writer) stream(ctx context.Context, source Source, e *readEntry) error {
	w.meta.Part = e.index + 1
	first := uint64(0)
	err := e.records(ctx, source, func(p part) error {
		err := w.part(e.index, first, p)
		if first += uint64(len(p.places)); err == nil && w.batch.Len() >= maxBatch {
			err = w.commit()
		}
		if err != nil {
			return w.fail(err)
		}
		return ctx.Err()
	})
	if err == nil && e.row.State != Read {
		if err = w.forget(e.index); err != nil {
			err = w.fail(err)
		}
	}
	return err
}

// measurement returns the number of what a record says; what is new gets one.
func (w *writer) measurement(said []byte) (uint64, error) {
	hash := ledger.Hash(sha256.Sum256(said))
	if m, found := w.known[hash]; found {
		return m, nil
	}
	m, found := w.fresh[hash]
	if !found {
		value, stored, err := get(w.db, numberKey(hash))
		if err != nil {
			return 0, err
		}
		if found = stored; found {
			m = binary.BigEndian.Uint64(append(make([]byte, 8-len(value)), value...))
		}
	}
	if !found {
		m = w.meta.Next
		w.meta.Next++
		w.fresh[hash] = m
		facts, err := parseFacts(said)
		if err != nil {
			return 0, err
		}
		if err := w.batch.Set(numberKey(hash), appendNumber(nil, m)[1:], nil); err != nil {
			return 0, err
		}
		if err := w.batch.Set(key(rowMeasurement, m), said, nil); err != nil {
			return 0, err
		}
		if err := attributes(m, facts, func(key []byte) error { return w.batch.Set(key, nil, nil) }); err != nil {
			return 0, err
		}
	}
	if len(w.known) >= maxKnown {
		clear(w.known)
	}
	w.known[hash] = m
	return m, nil
}

func leafKey(leaf ledger.Hash) []byte { return append([]byte{rowLeaf}, leaf[:]...) }

func numberKey(hash ledger.Hash) []byte { return append([]byte{rowNumber}, hash[:]...) }

// limit writes, or deletes, the row that says what limits the word of absence.
func (w *writer) limit(entry uint64, row *segmentRow) error {
	k := textKey(rowLimit, row.Host, entry)
	if !row.limits() {
		return w.batch.Delete(k, nil)
	}
	return w.batch.Set(k, row.marshal(), nil)
}

// grew notes when the log had a size, unless nearly the same is known.
func (w *writer) grew(size, at uint64) error {
	if at == 0 || size == 0 {
		return nil
	}
	known := uint64(0)
	err := scanFrom(w.db, []byte{rowTime}, key(rowTime, size), func(_, value []byte) error {
		r := rowReader{rest: value}
		known = r.uvarint()
		return errEnough
	})
	if err != nil || known > 0 && known < at+timeStep {
		return err
	}
	return w.batch.Set(key(rowTime, size), binary.AppendUvarint(nil, at), nil)
}
