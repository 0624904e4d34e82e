package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/imaledger/imaledger/ledger"
)

// Rebuild makes again, in a ledger's directory, what follows from the entries: the
// tiles and the state of the tree. Entries that do not give the published
// checkpoint are left as they are, and so is everything else. The ledger must not
// be running. What else a ledger knows it reads from the entries at each start.
func Rebuild(ctx context.Context, dir string, trust *ledger.Trust, progress Progress) (written uint64, err error) {
	return Directory(dir).Rebuild(ctx, trust, progress)
}

// Rebuild is the function Rebuild for any storage. Where front ends share one, it
// makes again the ends of the chains too that their sequencer goes by.
func (s *Storage) Rebuild(ctx context.Context, trust *ledger.Trust, progress Progress) (written uint64, err error) {
	dir := s.Name
	a, err := openArchive(ctx, s, trust)
	if err != nil {
		return 0, fmt.Errorf("rebuild %s: %w", dir, err)
	}
	unlock, err := s.lock()
	if err != nil {
		return 0, fmt.Errorf("rebuild %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	size, err := a.log.reader.IntegratedSize(ctx)
	if err != nil && a.published == nil {
		return 0, fmt.Errorf("rebuild %s: neither the state of the tree nor a checkpoint says how many entries there are: %w", dir, err)
	}
	if a.published != nil {
		size = max(size, a.published.Size)
	}
	written, err = a.rebuild(ctx, size, progress)
	if err != nil {
		return written, fmt.Errorf("rebuild %s: %w", dir, err)
	}
	return written, nil
}

func (a *archive) rebuild(ctx context.Context, size uint64, progress Progress) (uint64, error) {
	// First the entries are held to the checkpoint, and then tiles are written.
	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	var leaves []ledger.Hash
	heads := make(heads)
	for bundle, err := range a.bundles(ctx, 0, size) {
		if err != nil {
			return 0, err
		}
		for _, raw := range bundle {
			leaf := ledger.LeafHash(raw)
			leaves = append(leaves, leaf)
			if entry, err := ledger.ParseEntry(raw); err == nil {
				heads.add(leaf, entry, tree.End())
			}
			if err := tree.Append(leaf[:], nil); err != nil {
				return 0, err
			}
			if err := checkRoot(tree, a.published); err != nil {
				return 0, err
			}
		}
		progress("entries", tree.End(), size)
	}
	w := tileWriter{files: a.Log}
	for _, leaf := range leaves {
		if err := w.add(leaf); err != nil {
			return w.written, err
		}
	}
	root := rfc6962.DefaultHasher.EmptyRoot()
	if size > 0 {
		var err error
		if root, err = tree.GetRootHash(nil); err != nil {
			return w.written, err
		}
	}
	if err := w.end(); err != nil {
		return w.written, err
	}
	if had, old, err := a.Tree.State(ctx); err != nil || had != size || !bytes.Equal(old, root) {
		w.written++
	}
	return w.written, a.Tree.Set(ctx, size, root, heads)
}
