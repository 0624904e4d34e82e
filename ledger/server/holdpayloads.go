package server

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/transparency-dev/tessera/api/layout"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// holdWorkers is how many requests are made to the store at a time.
const holdWorkers = 16

// covers reports whether a hold covers a segment of the log. sure is false where that
// is decided by a time that is still to come.
func (s *Server) covers(h *ledger.Hold, index uint64, seg *ledger.Segment) (covered, sure bool, err error) {
	if h.Host != "" && h.Host != seg.Host {
		return false, true, nil
	}
	p, err := s.placedAt(index, seg)
	if err != nil {
		return false, false, err
	}
	if p.NotAfter == 0 {
		// Witnesses will state one that is not before now; where there are none, who
		// would erase is told that it is not known, and so it counts for keeping.
		if p.NotAfter = s.witnessed(); p.NotAfter == 0 {
			p.NotAfter = h.From
		}
		if p.NotBefore <= h.To && p.NotAfter < h.From {
			return true, false, nil
		}
	}
	return audit.Covers(h, p), true, nil
}

// holdOn holds the payloads of segments that a hold covers, from where it was last
// time to the log's end.
func (s *Server) holdOn(ctx context.Context, h *held, size uint64) error {
	for h.upTo < size {
		payloads, upTo := make(map[ledger.Hash]bool), min(size, (h.upTo/layout.EntryBundleWidth+1)*layout.EntryBundleWidth)
		err := s.segments(ctx, h.upTo, upTo, func(index uint64, seg *ledger.Segment) error {
			covered, sure, err := s.covers(h.Hold, index, seg)
			switch {
			case err != nil:
				return err
			case !sure:
				upTo = index // the hold begins later: from here on again then
				return errEnough
			case covered:
				payloads[seg.Payload.Digest] = true
			}
			return nil
		})
		stop := errors.Is(err, errEnough)
		if err != nil && !stop {
			return err
		}
		if err := s.hold(ctx, payloads); err != nil {
			return err
		}
		if h.upTo = upTo; stop {
			return nil
		}
	}
	return nil
}

// letGo lets go what a released hold covered and no other one covers.
func (s *Server) letGo(ctx context.Context, leaf ledger.Hash, h *held, size uint64) error {
	payloads := make(map[ledger.Hash]bool) // true for what another hold covers
	err := s.segments(ctx, 0, size, func(index uint64, seg *ledger.Segment) error {
		covered, _, err := s.covers(h.Hold, index, seg)
		if covered {
			payloads[seg.Payload.Digest] = false
		}
		return err
	})
	if err != nil {
		return err
	}
	for {
		inForce := s.chains.holdsInForce()
		for digest := range payloads {
			payloads[digest] = false
		}
		err := s.segments(ctx, 0, size, func(index uint64, seg *ledger.Segment) error {
			if other, asked := payloads[seg.Payload.Digest]; !asked || other {
				return nil
			}
			for _, other := range inForce {
				// What is not sure is the other's to hold, when it is.
				covered, sure, err := s.covers(other, index, seg)
				if err != nil {
					return err
				}
				if covered && sure {
					payloads[seg.Payload.Digest] = true
					break
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := s.hold(ctx, payloads); err != nil {
			return err
		}
		if err := s.upToDate(ctx, rareChain); err != nil {
			return err
		}
		if maps.Equal(inForce, s.chains.holdsInForce()) {
			break
		}
	}
	delete(s.holds.known, leaf)
	return s.storage.Files.Remove(ctx, holdFile(leaf))
}

// hold has the storage hold payloads, or let them go.
func (s *Server) hold(ctx context.Context, payloads map[ledger.Hash]bool) error {
	var mu sync.Mutex
	var errs error
	var work sync.WaitGroup
	slots := make(chan struct{}, holdWorkers)
	for digest, on := range payloads {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			if err := s.storage.Holder.Hold(ctx, digest, on); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = err // one is enough: of a store that is away all are the same
			}
		})
	}
	work.Wait()
	return errs
}
