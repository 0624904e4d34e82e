package s3mysql

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/gob"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/tessera"

	"github.com/imaledger/imaledger/ledger"
)

const (
	maxBatch      = 1024
	maxBatchBytes = 4 << 20
	// maxOutstanding is how many entries may have places and not be in the tree: at
	// ten thousand a second, some seconds of an object store that is away.
	maxOutstanding = 40960
	retryInterval  = 100 * time.Millisecond
)

var errNoState = fmt.Errorf("table IntCoord is empty: %w", fs.ErrNotExist)

// A request is an entry that waits for its place.
type request struct {
	ctx    context.Context
	entry  []byte
	leaf   ledger.Hash
	expect map[string]ledger.Hash
	sets   []string
	needs  []ledger.Hash

	index uint64
	ok    bool
	done  chan error
	last  atomic.Pointer[error] // of a transaction that failed, and is run again
}

// gaveUp is the error of one who no longer waits.
func (r *request) gaveUp() error {
	err := context.Cause(r.ctx)
	if last := r.last.Load(); last != nil {
		err = fmt.Errorf("%w: %w", err, *last)
	}
	return err
}

// Append gives an entry its place. Entries that come at the same time share a
// transaction.
func (d *Database) Append(ctx context.Context, entry []byte, expect map[string]ledger.Hash, sets []string, needs []ledger.Hash) (index uint64, ok bool, err error) {
	r := &request{ctx: ctx, entry: entry, leaf: ledger.LeafHash(entry), expect: expect, sets: sets, needs: needs, done: make(chan error, 1)}
	select {
	case d.queue <- r:
	case <-ctx.Done():
		return 0, false, ctx.Err()
	case <-d.ctx.Done():
		return 0, false, d.ctx.Err()
	}
	select {
	case err := <-r.done:
		return r.index, r.ok && err == nil, err
	case <-ctx.Done():
		return 0, false, r.gaveUp()
	}
}

// work writes batches, one after the other: what comes while one is written is the
// next.
func (d *Database) work() {
	defer close(d.ended)
	var left *request // did not fit
	for {
		first := left
		if left = nil; first == nil {
			select {
			case first = <-d.queue:
			case <-d.ctx.Done():
				return
			}
		}
		batch, size := []*request{first}, len(first.entry)
	gather:
		for len(batch) < maxBatch {
			select {
			case r := <-d.queue:
				if size += len(r.entry); size > maxBatchBytes {
					left = r
					break gather
				}
				batch = append(batch, r)
			default:
				break gather
			}
		}
		err := d.write(batch)
		for _, r := range batch {
			r.done <- err
		}
	}
}

// write writes a batch, again and again until the last who waits for it gives up.
// A transaction whose end was not heard of may have been committed: the next one
// sees it, and leaves what is written as it is.
func (d *Database) write(batch []*request) error {
	for {
		err := d.place(batch)
		if err == nil || err == tessera.ErrPushback {
			return err
		}
		waiting := false
		for _, r := range batch {
			r.last.Store(&err)
			waiting = waiting || r.ctx.Err() == nil
		}
		if !waiting || d.ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(retryInterval):
		case <-d.ctx.Done():
		}
	}
}

// place runs the transaction that gives a batch its places.
func (d *Database) place(batch []*request) error {
	ctx, cancel := context.WithTimeout(d.ctx, smallTimeout)
	defer cancel()
	return d.transact(ctx, func(tx *sql.Tx, next uint64) error {
		var size uint64
		err := tx.QueryRowContext(ctx, "SELECT seq FROM IntCoord WHERE id = 0").Scan(&size)
		if err != nil && err != sql.ErrNoRows { // of a log that has not begun
			return err
		}
		if next > size+maxOutstanding {
			return tessera.ErrPushback
		}
		names := make(map[string]bool)
		for _, r := range batch {
			for n := range r.expect {
				names[n] = true
			}
		}
		heads, err := readHeads(ctx, tx, slices.Collect(maps.Keys(names))...)
		if err != nil {
			return err
		}
		withheld, err := readWithheld(ctx, tx)
		if err != nil {
			return err
		}
		first, changed := next, make(map[string]bool)
		var sequenced []sequencedEntry
		for _, r := range batch {
			if r.index, r.ok = r.has(heads); r.ok || !r.fits(heads, withheld) {
				continue
			}
			r.index, r.ok = next, true
			sequenced = append(sequenced, sequence(r))
			for _, n := range r.sets {
				heads[n], changed[n] = Head{r.leaf, next}, true
			}
			next++
		}
		if next == first {
			return nil
		}
		return insert(ctx, tx, first, sequenced, slices.Collect(maps.Keys(changed)), heads)
	})
}

// has reports whether an entry has its place already.
func (r *request) has(heads map[string]Head) (index uint64, has bool) {
	for _, n := range r.sets {
		if h, found := heads[n]; found && h.Leaf == r.leaf {
			return h.Index, true
		}
	}
	return 0, false
}

// fits reports whether the chains end where the entry was judged.
func (r *request) fits(heads map[string]Head, withheld map[ledger.Hash]bool) bool {
	for n, leaf := range r.expect {
		if heads[n].Leaf != leaf { // of an empty chain: zero
			return false
		}
	}
	return !slices.ContainsFunc(r.needs, func(digest ledger.Hash) bool { return withheld[digest] })
}

func readWithheld(ctx context.Context, tx *sql.Tx) (map[ledger.Hash]bool, error) {
	rows, err := tx.QueryContext(ctx, "SELECT digest FROM ImaledgerWithheld")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := make(map[ledger.Hash]bool)
	for rows.Next() {
		var digest []byte
		if err := rows.Scan(&digest); err != nil {
			return nil, err
		}
		list[ledger.Hash(digest)] = true
	}
	return list, rows.Err()
}

// A sequencedEntry is Tessera's of that name, whose gob stands in its table Seq
// until the entry is integrated. The field names are the format.
type sequencedEntry struct {
	BundleData []byte // as the entry stands in a bundle
	LeafHash   []byte
}

func sequence(r *request) sequencedEntry {
	// SPEC: c2sp.org/tlog-tiles: big-endian uint16-prefixed entries.
	return sequencedEntry{append(binary.BigEndian.AppendUint16(nil, uint16(len(r.entry))), r.entry...), r.leaf[:]}
}

// insert writes a batch as Tessera's own sequencer does, and the ends of its chains.
func insert(ctx context.Context, tx *sql.Tx, first uint64, entries []sequencedEntry, names []string, heads map[string]Head) error {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(entries); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO Seq (id, seq, v) VALUES (0, ?, ?)", first, b.Bytes()); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE SeqCoord SET next = ? WHERE id = 0", first+uint64(len(entries))); err != nil {
		return err
	}
	return writeHeads(ctx, tx, names, heads)
}
