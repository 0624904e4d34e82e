package gather

import (
	"bytes"
	"context"
	"fmt"
	"sort"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

// quotedAfter returns the time that the quote of a host's entry is not older than, in
// Unix seconds: its anchor's. An entry that is no segment has that of the segment
// before it, and the chain's begin 0.
func (l *Ledger) quotedAfter(ctx context.Context, host string, sequence uint64) (uint64, error) {
	for n := sequence; ; n-- {
		e, err := l.HostEntry(ctx, host, n)
		if err != nil {
			return 0, err
		}
		if s, ok := e.Entry.(*ledger.Segment); ok {
			var b bytes.Buffer
			if err := l.Client.AddendumOf(ctx, e.Leaf, s.Anchor.Note, ledger.MaxCheckpoint, &b); err != nil {
				return 0, fmt.Errorf("the checkpoint that %s is anchored to, which tells its time: %w", ledger.Subject(host, n), err)
			}
			c, err := l.Trust.Policy.Verify(b.Bytes())
			if err != nil {
				return 0, found(audit.CheckpointCode(err), ledger.Subject(host, n)+", anchor", "%v", err)
			}
			return l.Trust.Policy.NotBefore(c), nil
		}
		if n == 0 {
			return 0, nil
		}
	}
}

// Between returns the sequence numbers of the first and the last segment of a host
// that may have records measured between two times, in Unix seconds. A segment's
// records were measured after the quote before and before its own; so it begins with
// the last segment whose quote may be of the first time or earlier, and ends with
// the first whose quote is later than the second. Where there is none, it ends with the
// host's newest entry, and scanned is as of NewestInLog; else it is true.
func (l *Ledger) Between(ctx context.Context, host string, since, until uint64) (from, to uint64, scanned bool, err error) {
	newest, err := l.Newest(ctx, host)
	if err != nil {
		return 0, 0, false, err
	}
	// Hosts anchor to ever newer checkpoints: the quotes join the anchors in order.
	later := func(t uint64) uint64 {
		return uint64(sort.Search(int(newest)+1, func(i int) bool {
			if err != nil {
				return true
			}
			var at uint64
			at, err = l.quotedAfter(ctx, host, uint64(i))
			return at > t
		}))
	}
	from, to = later(since), later(until)
	if err != nil {
		return 0, 0, false, err
	}
	if scanned = true; to > newest {
		to, scanned, err = l.NewestInLog(ctx, host)
		if err == nil && to < newest {
			err = found(ledger.ChainBroken, ledger.Subject(host, newest), "the ledger says that the host's chain ends with #%d, and had it before", to)
		}
		if err != nil {
			return 0, 0, false, err
		}
	}
	return max(from, 1) - 1, to, scanned, nil
}

// maxScan is how many entries are looked at for a host's newer ones: 25 MB or so.
const maxScan = 10_000

// NewestInLog is Newest, and looks through the entries after that one for another of
// the host, which the ledger then hides: found is a *FindingError. scanned is false
// where there are too many of them, or they are not for the caller to read.
func (l *Ledger) NewestInLog(ctx context.Context, host string) (sequence uint64, scanned bool, err error) {
	if sequence, err = l.Newest(ctx, host); err != nil {
		return 0, false, err
	}
	newest, err := l.HostEntry(ctx, host, sequence)
	if err != nil {
		return 0, false, err
	}
	size := l.Checkpoint().Size
	if size-newest.Index > maxScan {
		return sequence, false, nil
	}
	for from := newest.Index + 1; from < size; {
		list, err := l.Entries(ctx, from)
		if client.Refused(err) {
			return sequence, false, nil
		}
		if err != nil {
			return 0, false, otherBytes(err)
		}
		for i, raw := range list {
			e, err := ledger.ParseEntry(raw)
			if err != nil {
				continue // of no host
			}
			if h, ok := e.(ledger.HostEntry); ok {
				if name, n, _ := h.Link(); name == host {
					return 0, true, found(ledger.ChainBroken, ledger.Subject(host, n), "the ledger says that the host's chain ends with #%d, and the log has #%d at index %d", sequence, n, from+uint64(i))
				}
			}
		}
		from += uint64(len(list))
	}
	return sequence, true, nil
}

// Boot returns the sequence number of the segment that begins the boot, or the
// restart, which a host's segment belongs to: the nearest one before it that does not
// continue another.
func (l *Ledger) Boot(ctx context.Context, host string, sequence uint64) (uint64, error) {
	for n := sequence; ; n-- {
		e, err := l.HostEntry(ctx, host, n)
		if err != nil {
			return 0, err
		}
		if s, ok := e.Entry.(*ledger.Segment); ok && s.Join.Kind == ledger.JoinBoot {
			return n, nil
		}
		if n == 0 {
			return 0, nil
		}
	}
}
