package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// rebuild reads every entry of the log into chains. It finds entries too that
// became durable just before a crash and whose submitters were never told: they
// get the same index when they ask again.
//
// It makes sure that the entries on disk are those of the tree, and the tree that
// of the published checkpoint. Addenda are not read: admission did.
func (s *Server) rebuild(ctx context.Context) error {
	size, err := s.log.reader.IntegratedSize(ctx)
	if err != nil {
		return err
	}
	published, err := s.publishedHead(ctx)
	if err != nil {
		return err
	}
	s.follower.tree = (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	if err := s.readTo(ctx, size, published); err != nil {
		return err
	}
	if published != nil && published.Size > size {
		return &integrityError{fmt.Errorf("the published checkpoint has size %d, the log %d entries: it was restored from an older copy, and the witnesses will refuse it; restore a newer one", published.Size, size)}
	}
	if size > 0 {
		s.log.newest.expect(size - 1)
	}
	root, found, err := s.log.root(ctx, size)
	if err != nil || !found {
		return errors.Join(err, fmt.Errorf("the tiles of the tree of size %d are not whole", size))
	}
	return checkRoot(s.follower.tree, &ledger.Checkpoint{Size: size, Root: root})
}

// readTo reads the entries of the log that were not read yet, to a size, and holds
// them to the published checkpoint where they come to its size.
func (s *Server) readTo(ctx context.Context, size uint64, published *ledger.Checkpoint) error {
	tree := s.follower.tree
	for tree.End() < size {
		if err := ctx.Err(); err != nil {
			return err
		}
		bundle, err := client.GetEntryBundle(ctx, s.log.reader.ReadEntryBundle, tree.End()/layout.EntryBundleWidth, size)
		if err != nil {
			return err
		}
		skip := tree.End() % layout.EntryBundleWidth
		want := min(size-tree.End()+skip, layout.EntryBundleWidth)
		if uint64(len(bundle.Entries)) < want {
			return &integrityError{fmt.Errorf("%d entries after %d, want %d", len(bundle.Entries), tree.End()-skip, want)}
		}
		entries := bundle.Entries[skip:want]
		if err := s.replayAll(tree.End(), entries); err != nil {
			return &replayError{err}
		}
		for _, entry := range entries {
			leaf := ledger.LeafHash(entry)
			if err := tree.Append(leaf[:], nil); err != nil {
				return err
			}
			if err := checkRoot(tree, published); err != nil {
				return err
			}
			s.follower.read.Store(tree.End())
		}
	}
	return nil
}

// A replayError is an entry of the log that the ledger does not understand, or
// would not admit.
type replayError struct{ err error }

func (e *replayError) Error() string { return e.err.Error() }
func (e *replayError) Unwrap() error { return e.err }

// publishedHead returns the newest published checkpoint, nil before the first.
// Nothing is verified but its form: it says what was signed, whatever the policy
// says of it now.
func (s *Server) publishedHead(ctx context.Context) (*ledger.Checkpoint, error) {
	raw, err := s.log.reader.ReadCheckpoint(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ledger.ParseCheckpoint(raw)
}

// checkRoot compares a tree with a checkpoint of the same size.
func checkRoot(tree *compact.Range, c *ledger.Checkpoint) error {
	if c == nil || c.Size != tree.End() || c.Size == 0 {
		return nil
	}
	root, err := tree.GetRootHash(nil)
	if err != nil {
		return err
	}
	if !bytes.Equal(root, c.Root[:]) {
		return &integrityError{fmt.Errorf("the %d first entries have root %x, the tree of that size has %x: entries on disk were altered", c.Size, root, c.Root)}
	}
	return nil
}

// known reports whether the chains have an entry of the log, at its index.
func (s *Server) known(index uint64, leaf ledger.Hash) (bool, error) {
	first, found := s.chains.find(leaf)
	if found && first != index {
		return true, fmt.Errorf("entry %d: the same as entry %d", index, first)
	}
	return found, nil
}

// replayAll judges entries that the log has already, from an index on. The chains of
// different hosts do not depend on one another until an entry comes that is no
// segment, so they are judged side by side, each host's segments in their order.
func (s *Server) replayAll(from uint64, raw [][]byte) error {
	list := make([]replayed, len(raw))
	for i := range raw {
		entry, err := ledger.ParseEntry(raw[i])
		if err != nil {
			err = fmt.Errorf("entry %d: %w", from+uint64(i), err)
			return cmp.Or(s.replayRuns(list[:i]), err) // an entry before it may be worse
		}
		list[i] = replayed{from + uint64(i), ledger.LeafHash(raw[i]), entry}
	}
	return s.replayRuns(list)
}

// A replayed is an entry that the log has already.
type replayed struct {
	index uint64
	leaf  ledger.Hash
	entry ledger.Entry
}

func (s *Server) replayRuns(list []replayed) error {
	for len(list) > 0 {
		n := slices.IndexFunc(list, func(r replayed) bool { _, segment := r.entry.(*ledger.Segment); return !segment })
		switch n {
		case 0:
			if err := s.replay(list[0]); err != nil {
				return err
			}
			n = 1
		case -1:
			n = len(list)
			fallthrough
		default:
			if err := s.replaySegments(list[:n]); err != nil {
				return err
			}
		}
		list = list[n:]
	}
	return nil
}

// replaySegments returns the error of the first segment that has one: the chains of
// other hosts may have gone on to later ones by then.
func (s *Server) replaySegments(run []replayed) error {
	errs := make([]error, len(run))
	audit.SideBySide(len(run), func(i int) string { return hostOf(run[i].entry) }, func(chain []int) {
		for _, i := range chain {
			if errs[i] = s.replay(run[i]); errs[i] != nil {
				return
			}
		}
	})
	return cmp.Or(errs...)
}

// replay judges an entry that the log has already.
func (s *Server) replay(r replayed) error {
	index, leaf, entry := r.index, r.leaf, r.entry
	if known, err := s.known(index, leaf); known || err != nil {
		return err
	}
	h, unlock := s.chains.lock(entry)
	defer unlock()
	// It may be one that this process was just writing.
	if known, err := s.known(index, leaf); known || err != nil {
		return err
	}
	if err := s.replayEnd(index); err != nil {
		return err
	}
	f, err := s.refersTo(context.Background(), entry)
	if err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	j := s.chains.judge(h, leaf, entry, nil, f)
	if ledger.Worst(j.Findings) == ledger.Contradicted && len(f) > 0 && s.storage.Sequencer != nil {
		// A day that another front end has kept, and by which it went, may be new here.
		if err := s.history.read(context.Background()); err != nil {
			return err
		}
		if f, err = s.refersTo(context.Background(), entry); err != nil {
			return err
		}
		j = s.chains.judge(h, leaf, entry, nil, f)
	}
	if ledger.Worst(j.Findings) == ledger.Contradicted {
		return fmt.Errorf("entry %d was admitted and is now contradicted; the trust folder must keep every key and grade that older entries rest on: %w", index, &refusal{Findings: j.Findings})
	}
	s.chains.commit(j, leaf, entry, index)
	return s.pending.named(entry.Addenda()...)
}
