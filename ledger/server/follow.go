package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/tessera"

	"github.com/imaledger/imaledger/ledger"
)

// Several front ends share a log so: each knows of it what it has read there, and
// judges by that. The sequencer gives an entry its place only if the chains that it
// was judged against still end where they did. If they do not, another front end
// has written to them; this one reads on to there and judges again. So two entries
// on one base never both get a place, whichever front ends they come to, and none
// of them needs to know how many others there are, or whether they are alive.
const (
	followInterval = 500 * time.Millisecond
	// reachInterval is how often the log is read while somebody waits.
	reachInterval = 50 * time.Millisecond
	reachTimeout  = 15 * time.Second
	// appendTimeout is how long an entry waits for storage that is away.
	appendTimeout = 10 * time.Second
	// maxRaces bounds how often an entry is judged anew.
	maxRaces = 8
)

// A follower reads the log on, where other front ends write to it too.
type follower struct {
	mu   sync.Mutex // one reads at a time
	tree *compact.Range
	read atomic.Uint64 // entries
}

// A behindError says that the log has entries of a chain that this front end has
// not read: those below next.
type behindError struct{ next uint64 }

func (e *behindError) Error() string { return fmt.Sprintf("the log is read to %d only", e.next) }

// follow begins to read the log on. It holds the sequencer's ends of chains to those
// of the log first.
func (s *Server) follow(ctx context.Context) error {
	if s.storage.Sequencer == nil {
		return nil
	}
	table, _, err := s.storage.Sequencer.Heads(ctx)
	if err != nil {
		return fmt.Errorf("read the ends of chains: %w", err)
	}
	if err := s.chains.compare(table, s.follower.read.Load()); err != nil {
		return &integrityError{fmt.Errorf("%w; imaledgerd rebuild makes the table again from the log", err)}
	}
	go func() {
		tick := time.NewTicker(followInterval)
		defer tick.Stop()
		for {
			select {
			case <-s.log.ctx.Done():
				return
			case <-tick.C:
				if err := s.readOn(s.log.ctx); err != nil && s.log.ctx.Err() == nil {
					s.config.Logger.Error("the log cannot be read on; the next attempt follows", "error", err)
				}
			}
		}
	}()
	return nil
}

// compare holds a table of the ends of chains to what the log has below size.
func (c *chains) compare(table map[string]Head, size uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, h := range table {
		if index, found := c.index[h.Leaf]; h.Index < size && (!found || index != h.Index) {
			return fmt.Errorf("the chain %s ends in %x at %d, which the log does not have there", name, h.Leaf[:6], h.Index)
		}
	}
	for name, h := range c.hosts {
		if end, found := table[name]; !found || end.Index < h.index[len(h.index)-1] {
			return fmt.Errorf("the chain %s goes to entry %d, and the table says %d", name, h.index[len(h.index)-1], end.Index)
		}
	}
	return nil
}

// readOn reads what the log has and this front end does not know. What contradicts
// stops the front end; storage that is away does not.
func (s *Server) readOn(ctx context.Context) error {
	s.follower.mu.Lock()
	defer s.follower.mu.Unlock()
	size, err := s.log.reader.IntegratedSize(ctx)
	if err != nil {
		return err
	}
	err = s.readTo(ctx, size, s.log.newest.checkpoint())
	var broken *integrityError
	var unknown *replayError
	if errors.As(err, &broken) || errors.As(err, &unknown) && ctx.Err() == nil {
		s.fail(fmt.Errorf("read the log: %w", err))
	}
	return err
}

// reach returns once this front end knows the entries below next. Nothing may be
// locked that an entry of the log is committed under.
func (s *Server) reach(ctx context.Context, next uint64) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	for {
		if err := s.readOn(ctx); err != nil && s.Err() != nil {
			return s.Err()
		}
		if s.follower.read.Load() >= next {
			return nil
		}
		select {
		case <-time.After(reachInterval):
		case <-ctx.Done():
			s.config.Logger.Error("entries that have their places are not in the tree", "below", next, "read", s.follower.read.Load())
			return errBusy
		}
	}
}

// upToDate returns once this front end knows the ends of chains.
func (s *Server) upToDate(ctx context.Context, names ...string) error {
	if s.storage.Sequencer == nil {
		return nil
	}
	next, err := s.behind(ctx, names)
	if err != nil || next == 0 {
		return err
	}
	return s.reach(ctx, next)
}

// find returns the index of a leaf, also of one that another front end has just
// given away.
func (s *Server) find(ctx context.Context, leaf ledger.Hash) (index uint64, found bool, err error) {
	if index, found = s.chains.find(leaf); found || s.storage.Sequencer == nil {
		return index, found, nil
	}
	_, next, err := s.storage.Sequencer.Heads(ctx, endChain)
	if err != nil {
		s.config.Logger.Error("it cannot be read how far the log goes", "error", err)
		return 0, false, errBusy
	}
	if s.follower.read.Load() < next {
		if err := s.reach(ctx, next); err != nil {
			return 0, false, err
		}
	}
	index, found = s.chains.find(leaf)
	return index, found, nil
}

// behind returns the number of entries that are to be read to know the ends of
// chains, 0 where they are known.
func (s *Server) behind(ctx context.Context, names []string) (next uint64, err error) {
	heads, _, err := s.storage.Sequencer.Heads(ctx, names...)
	if err != nil {
		s.config.Logger.Error("the ends of chains cannot be read", "error", err)
		return 0, errBusy
	}
	for _, h := range heads {
		if _, known := s.chains.find(h.Leaf); !known {
			next = max(next, h.Index+1)
		}
	}
	return next, nil
}

// orBehind returns a refusal, or, where it may come from not knowing what another
// front end has written, that. The entry is locked, by its chain h unless that was
// not known.
func (s *Server) orBehind(h *chain, entry ledger.Entry, refused error) error {
	var r *refusal
	if s.storage.Sequencer == nil || !errors.As(refused, &r) || len(r.Missing) > 0 {
		return refused
	}
	ctx, cancel := context.WithTimeout(s.log.ctx, appendTimeout)
	defer cancel()
	next, err := s.behind(ctx, append(chainsOf(entry), endChain))
	switch {
	case err != nil:
		return err
	case next > 0:
		return &behindError{next}
	case h == nil && s.chains.host(hostOf(entry)) != nil:
		return &behindError{} // the host's enrolment was read just now
	}
	return refused
}

// An awayError is one of a storage that is elsewhere, and may be back soon.
type awayError struct{ err error }

func (e *awayError) Error() string   { return e.err.Error() }
func (e *awayError) Unwrap() error   { return e.err }
func (e *awayError) Temporary() bool { return true }

// isAway reports whether an error is of a storage that may be back soon. Those of a
// Storage say so by a method Temporary, as those of package net do.
func isAway(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// sharedReader says of its errors that they are of a storage elsewhere.
type sharedReader struct{ tessera.LogReader }

func away(err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, context.Canceled) {
		return err
	}
	return &awayError{err}
}

func (r sharedReader) ReadCheckpoint(ctx context.Context) ([]byte, error) {
	b, err := r.LogReader.ReadCheckpoint(ctx)
	return b, away(err)
}

func (r sharedReader) ReadTile(ctx context.Context, level, index uint64, p uint8) ([]byte, error) {
	b, err := r.LogReader.ReadTile(ctx, level, index, p)
	return b, away(err)
}

func (r sharedReader) ReadEntryBundle(ctx context.Context, index uint64, p uint8) ([]byte, error) {
	b, err := r.LogReader.ReadEntryBundle(ctx, index, p)
	return b, away(err)
}

func (r sharedReader) IntegratedSize(ctx context.Context) (uint64, error) {
	n, err := r.LogReader.IntegratedSize(ctx)
	return n, away(err)
}

// appendShared has the sequencer give an entry its place. The entry is locked.
//
// An error leaves nothing undecided that matters: the chains here do not have the
// entry, and if the log has it, the next who asks on its base reads it there.
func (s *Server) appendShared(raw []byte, entry ledger.Entry) (uint64, error) {
	ctx, cancel := context.WithTimeout(s.log.ctx, appendTimeout)
	defer cancel()
	sets := chainsOf(entry)
	expect := map[string]ledger.Hash{endChain: {}}
	for _, name := range sets {
		expect[name] = s.chains.endOf(name)
	}
	index, ok, err := s.storage.Sequencer.Append(ctx, raw, expect, sets, entry.Addenda())
	switch {
	case errors.Is(err, tessera.ErrPushback):
		return 0, errBusy
	case err != nil:
		s.config.Logger.Error("the storage does not take an entry", "error", err)
		return 0, errBusy
	case ok:
		s.log.newest.expect(index)
		return index, nil
	}
	next, err := s.behind(ctx, append(sets, endChain))
	if err != nil {
		return 0, err
	}
	// If nothing is new, an addendum of it is being removed: judged again, the entry
	// lacks it.
	return 0, &behindError{next}
}

// endOf returns the leaf in which a chain ends, zero for an empty one.
func (c *chains) endOf(name string) ledger.Hash {
	switch name {
	case rareChain:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.last
	case endChain:
		return ledger.Hash{}
	}
	leaf, _, _, _ := c.head(name)
	return leaf
}

// withheld calls remove, for an addendum that nobody needs, while no front end's
// entry can begin to need it. Nothing may be locked.
func (s *Server) withheld(digest ledger.Hash, remove func() error) error {
	sequencer := s.storage.Sequencer
	if sequencer == nil {
		return remove()
	}
	ctx, cancel := context.WithTimeout(s.log.ctx, 2*reachTimeout)
	defer cancel()
	next, ok, err := sequencer.Withhold(ctx, digest)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("addendum %x: another front end is removing it", digest[:6])
	}
	err = s.reach(ctx, next)
	if err == nil {
		err = remove()
	}
	return errors.Join(err, sequencer.Release(ctx, digest))
}

// eraseNow removes payloads, or, where that has to wait for what other front ends
// are writing, begins to.
func (s *Server) eraseNow(payloads ...ledger.Hash) error {
	if s.storage.Sequencer == nil {
		return s.erase(payloads...)
	}
	go func() {
		if err := s.erase(payloads...); err != nil && s.log.ctx.Err() == nil {
			s.config.Logger.Error("a payload that was erased is still there; the next attempt follows", "error", err)
		}
	}()
	return nil
}

// awaitWitnesses returns once the witnesses have seen every entry.
func (s *Server) awaitWitnesses(ctx context.Context) error {
	if s.storage.Sequencer == nil {
		return s.log.shutdown(ctx)
	}
	p := s.log.newest
	p.mu.Lock()
	expected := p.expected
	p.mu.Unlock()
	if expected > 0 && p.wait(ctx, expected-1, nil) == nil {
		return ctx.Err()
	}
	return nil
}
