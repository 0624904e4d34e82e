package index

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sort"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// A view is what a search sees: the index at one moment.
type view struct {
	*pebble.Snapshot
	meta
	ctx   context.Context
	last  uint64 // not-after of the tree itself
	early []span // of entries that were in the log before Since, in their order
	known bool   // whether early is
}

// A span is of entries from one on and before another.
type span struct{ from, to uint64 }

// see opens a view. It must be closed. The checkpoint is nil before the first.
func (x *Index) see(ctx context.Context) (*view, *ledger.Checkpoint, error) {
	if err := x.Failed(); err != nil {
		return nil, nil, err
	}
	v := &view{Snapshot: x.db.NewSnapshot(), ctx: ctx}
	value, found, err := get(v, []byte{rowMeta})
	if err == nil && found {
		err = unmarshalMeta(value, &v.meta)
	}
	var at *ledger.Checkpoint
	if err == nil && v.Checkpoint != nil {
		at, v.last, err = x.newest.verify(x.config.Policy, v.Checkpoint)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("index: %w", err), v.Close())
	}
	return v, at, nil
}

// newest is the checkpoint that a search saw last: to verify one takes longer than a
// search.
type newest struct {
	mu       sync.Mutex
	at       *ledger.Checkpoint
	notAfter uint64
}

func (n *newest) verify(policy *ledger.Policy, raw []byte) (at *ledger.Checkpoint, notAfter uint64, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at == nil || !bytes.Equal(n.at.Raw, raw) {
		if at, err = policy.Verify(raw); err != nil {
			return nil, 0, fmt.Errorf("its checkpoint: %w", err)
		}
		n.at, n.notAfter = at, policy.NotAfter(at)
	}
	return n.at, n.notAfter, nil
}

// measurement returns what a measurement says, nil for one that is not there.
func (v *view) measurement(m uint64) (*ima.Facts, error) {
	value, found, err := get(v, key(rowMeasurement, m))
	if err != nil || !found {
		return nil, err
	}
	return parseFacts(value)
}

// selects reports whether a query's host and time select a segment.
func (v *view) selects(q *Query, entry uint64, row *segmentRow) (bool, error) {
	if q.Host != "" && q.Host != row.Host || q.Hosts != nil && !q.Hosts(row.Host) || q.Until > 0 && row.NotBefore > q.Until {
		return false, nil
	}
	if q.Since == 0 {
		return true, nil
	}
	if err := v.before(q.Since); err != nil {
		return false, err
	}
	i := sort.Search(len(v.early), func(i int) bool { return v.early[i].to > entry })
	return i == len(v.early) || v.early[i].from > entry, nil
}

// before finds, once for a search, which entries have a notAfter before a time: a log
// has a time for each minute, and more segments to look at than that.
func (v *view) before(since uint64) error {
	if v.known {
		return nil
	}
	from, looked := uint64(0), 0
	until := func(to, at uint64) {
		if at == 0 || v.last > 0 && v.last < at {
			at = v.last
		}
		if n := len(v.early); at == 0 || at >= since {
		} else if n > 0 && v.early[n-1].to == from {
			v.early[n-1].to = to
		} else {
			v.early = append(v.early, span{from, to})
		}
		from = to
	}
	err := scan(v, []byte{rowTime}, func(k, value []byte) error {
		if looked++; looked%1024 == 0 && v.ctx.Err() != nil {
			return v.ctx.Err()
		}
		size, _, err := number(k[1:])
		r := rowReader{rest: value}
		until(size, r.uvarint())
		return cmp.Or(err, r.err)
	})
	until(math.MaxUint64, 0)
	v.known = err == nil
	return err
}

// notAfter returns a time by which the log had an entry, 0 for none.
func (v *view) notAfter(entry uint64) (uint64, error) {
	at := uint64(0)
	err := scanFrom(v, []byte{rowTime}, key(rowTime, entry+1), func(_, value []byte) error {
		r := rowReader{rest: value}
		at = r.uvarint()
		return cmp.Or(r.err, errEnough)
	})
	if at == 0 || v.last > 0 && v.last < at {
		at = v.last
	}
	return at, err
}
