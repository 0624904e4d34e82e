package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"

	"github.com/imaledger/imaledger/ledger"
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
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	tree := factory.NewEmptyRange(0)
	for tree.End() < size {
		if err := ctx.Err(); err != nil {
			return err
		}
		bundle, err := client.GetEntryBundle(ctx, s.log.reader.ReadEntryBundle, tree.End()/layout.EntryBundleWidth, size)
		if err != nil {
			return err
		}
		want := min(size-tree.End(), layout.EntryBundleWidth)
		if uint64(len(bundle.Entries)) < want {
			return &integrityError{fmt.Errorf("%d entries after %d, want %d", len(bundle.Entries), tree.End(), want)}
		}
		for _, entry := range bundle.Entries[:want] {
			if err := s.replay(tree.End(), entry); err != nil {
				return err
			}
			leaf := ledger.LeafHash(entry)
			if err := tree.Append(leaf[:], nil); err != nil {
				return err
			}
			if err := checkRoot(tree, published); err != nil {
				return err
			}
		}
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
	return checkRoot(tree, &ledger.Checkpoint{Size: size, Root: root})
}

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

// replay judges an entry that the log has already.
func (s *Server) replay(index uint64, raw []byte) error {
	entry, err := ledger.ParseEntry(raw)
	if err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	leaf := ledger.LeafHash(raw)
	if first, found := s.chains.find(leaf); found {
		return fmt.Errorf("entry %d: the same as entry %d", index, first)
	}
	if err := s.replayEnd(index); err != nil {
		return err
	}
	h, unlock := s.chains.lock(entry)
	defer unlock()
	f, err := s.refersTo(context.Background(), entry)
	if err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	j := s.chains.judge(h, leaf, entry, nil, f)
	if ledger.Worst(j.Findings) == ledger.Contradicted {
		return fmt.Errorf("entry %d was admitted and is now contradicted; the trust folder must keep every key and grade that older entries rest on: %w", index, &refusal{Findings: j.Findings})
	}
	s.chains.commit(j, leaf, entry, index)
	return s.pending.named(entry.Addenda()...)
}
