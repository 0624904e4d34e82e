package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync/atomic"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// Where the storage has a Holder, it holds what the log's holds cover: nobody deletes
// it there, whatever keys he has, until the release. Admission refuses an erasure by
// itself; this is against who deletes past the ledger. The order:
//
//  1. A hold is in the log, and a file of its name in holds/ says that the storage
//     may know of it.
//  2. The payloads of the segments that it covers are held: those before it, those
//     after it as they come, and one that another host's segment shares too.
//  3. A release is in the log. What the hold covered, and no other one does, is let go.
//  4. All holds that were stated meanwhile are read. If there is a new one, 3 again.
//  5. The file is removed.
//
// Each front end does all of that by what it has read of the log: to do it twice does
// no harm. A start does 2 again from the log's begin, and 3 for each file whose hold
// is released, so a crash, or a hand in the bucket, is mended by the next start.
const (
	holdsDir     = "holds"
	holdInterval = 2 * time.Second
	holdRetry    = 30 * time.Second
)

// holds is what the storage knows of holds, as far as this process has seen to it.
type holds struct {
	known   map[ledger.Hash]*held // by the hold's leaf; of watchHolds alone
	loaded  bool                  // whether the files were read
	failing atomic.Bool           // whether the last attempt failed
}

type held struct {
	*ledger.Hold
	upTo uint64 // entries of the log whose payloads are held if the hold covers them
}

func newHolds() *holds { return &holds{known: make(map[ledger.Hash]*held)} }

// watchHolds has the storage hold what is to be held, until the log is closed.
func (s *Server) watchHolds() {
	if s.storage.Holder == nil {
		if n := len(s.chains.holdsInForce()); n > 0 && s.storage.Sequencer != nil {
			s.config.Logger.Warn("holds are in force, and the object store cannot keep what they cover from its operator: the bucket was made without object lock", "holds", n)
		}
		return
	}
	for wait := holdInterval; ; {
		select {
		case <-s.log.ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = holdInterval
		err := s.applyHolds(s.log.ctx)
		s.holds.failing.Store(err != nil)
		if err != nil && s.log.ctx.Err() == nil {
			wait = holdRetry
			s.config.Logger.Error("the object store does not hold what it is to hold; the next attempt follows", "error", err)
		}
	}
}

// applyHolds has the storage hold what the holds in force cover, and let go what
// released ones covered.
func (s *Server) applyHolds(ctx context.Context) error {
	if s.log.newest.checkpoint() == nil {
		return nil // what time it is is not known yet
	}
	if err := s.loadHolds(ctx); err != nil {
		return err
	}
	inForce := s.chains.holdsInForce()
	for leaf, h := range inForce {
		if s.holds.known[leaf] != nil {
			continue
		}
		if err := s.storage.Files.Create(ctx, holdFile(leaf), nil); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		s.holds.known[leaf] = &held{Hold: h}
	}
	if len(s.holds.known) == 0 {
		return nil
	}
	size, err := s.log.reader.IntegratedSize(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for leaf, h := range s.holds.known {
		if inForce[leaf] != nil {
			err = s.holdOn(ctx, h, size)
		} else {
			err = s.letGo(ctx, leaf, h, size)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("hold %x: %w", leaf[:6], err))
		}
	}
	return errors.Join(errs...)
}

func holdFile(leaf ledger.Hash) string { return holdsDir + "/" + hex.EncodeToString(leaf[:]) }

// loadHolds reads, once, which holds the storage may know of that are released.
func (s *Server) loadHolds(ctx context.Context) error {
	if s.holds.loaded {
		return nil
	}
	names, err := s.storage.Files.List(ctx, holdsDir+"/")
	if err != nil {
		return err
	}
	if err := s.upToDate(ctx, rareChain); err != nil {
		return err
	}
	inForce := s.chains.holdsInForce()
	for _, name := range names {
		leaf, ok := parseHash(path.Base(name))
		if !ok || inForce[leaf] != nil {
			continue
		}
		_, entry, err := s.loggedEntry(ctx, leaf)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		h, ok := entry.(*ledger.Hold)
		if !ok {
			return fmt.Errorf("%s: the entry is no hold", name)
		}
		s.holds.known[leaf] = &held{Hold: h}
	}
	s.holds.loaded = true
	return nil
}

// holdsInForce returns the holds in force by their leaves.
func (c *chains) holdsInForce() map[ledger.Hash]*ledger.Hold {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make(map[ledger.Hash]*ledger.Hold)
	c.fleet.Holds(func(leaf ledger.Hash, h *ledger.Hold) { list[leaf] = h })
	return list
}
