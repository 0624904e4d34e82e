package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"

	"github.com/imaledger/imaledger/ledger"
)

// errEnough ends a walk over segments.
var errEnough = errors.New("enough")

// segments calls f for each segment of the log, from an index to another, that is not
// erased.
func (s *Server) segments(ctx context.Context, from, to uint64, f func(index uint64, seg *ledger.Segment) error) error {
	for at := from; at < to; {
		first := at / layout.EntryBundleWidth * layout.EntryBundleWidth
		bundle, err := client.GetEntryBundle(ctx, s.log.reader.ReadEntryBundle, at/layout.EntryBundleWidth, to)
		if err != nil {
			return err
		}
		end := min(to, first+layout.EntryBundleWidth)
		if uint64(len(bundle.Entries)) < end-first {
			return fmt.Errorf("entry %d: its bundle has %d entries", at, len(bundle.Entries))
		}
		for ; at < end; at++ {
			raw := bundle.Entries[at-first]
			entry, err := ledger.ParseEntry(raw)
			if err != nil {
				return fmt.Errorf("entry %d: %w", at, err)
			}
			seg, ok := entry.(*ledger.Segment)
			if !ok || s.chains.isErased(ledger.LeafHash(raw)) {
				continue
			}
			if err := f(at, seg); err != nil {
				return err
			}
		}
	}
	return nil
}

// isErased reports whether a segment is erased.
func (c *chains) isErased(leaf ledger.Hash) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, erased := c.kept.erased[leaf]
	return erased
}
