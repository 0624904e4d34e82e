package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"

	"github.com/imaledger/imaledger/ledger"
)

// A CopyReport is what Copy has copied.
type CopyReport struct {
	Origin  string `json:"origin"`
	Size    uint64 `json:"size"`    // entries
	Addenda uint64 `json:"addenda"` // files that entries name
	Written uint64 `json:"written"` // files that the copy did not have
	Deleted uint64 `json:"deleted"` // payloads of the copy that were erased since
	// Waiting are entries that were durable, and not in the checkpoint yet: they are
	// not copied.
	Waiting uint64 `json:"waiting"`
}

// Copy copies a ledger's directory, which may be served meanwhile, as of its newest
// cosigned checkpoint: it is a backup, and brings one back. A directory that holds
// an older copy of the same log gets what it lacks, and loses the payloads that
// were erased since.
//
// Everything is verified on its way: the entries by the checkpoint, addenda by
// their digests. The tiles are made anew. The checkpoint is written last: a copy
// that has one is whole. A ledger on a copy starts only once its witnesses have
// said that they have seen no more of the log.
func Copy(ctx context.Context, from, to string, trust *ledger.Trust, progress Progress) (r *CopyReport, err error) {
	return Directory(from).CopyTo(ctx, Directory(to), trust, progress)
}

// CopyTo is Copy from any storage to any.
func (s *Storage) CopyTo(ctx context.Context, to *Storage, trust *ledger.Trust, progress Progress) (r *CopyReport, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("copy %s to %s: %w", s.Name, to.Name, err)
		}
	}()
	a, err := openArchive(ctx, s, trust)
	if err != nil {
		return nil, err
	}
	if a.published == nil {
		return nil, errors.New("the log has no cosigned checkpoint yet, so there is nothing that is worth keeping")
	}
	if _, err := trust.Policy.Verify(a.published.Raw); err != nil {
		return nil, fmt.Errorf("the published checkpoint: %w", err)
	}
	unlock, err := to.lock()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	c := &copying{
		CopyReport: &CopyReport{Origin: a.published.Origin, Size: a.published.Size}, archive: a, ctx: ctx, to: to, progress: progress,
		tiles: tileWriter{files: to.Log}, heads: make(heads), live: make(map[ledger.Hash]int), missing: make(map[named]bool), segments: make(map[ledger.Hash]ledger.Hash),
	}
	return c.CopyReport, c.run()
}

// copying is one run of Copy.
type copying struct {
	*CopyReport
	*archive
	ctx      context.Context
	to       *Storage
	progress Progress
	tiles    tileWriter
	heads    heads
	live     map[ledger.Hash]int         // segments that need a payload
	segments map[ledger.Hash]ledger.Hash // payloads by segment, until it is erased
	missing  map[named]bool              // addenda that are not there
}

// named is an addendum that an entry names.
type named struct{ entry, digest ledger.Hash }

func (c *copying) run() error {
	if err := c.older(); err != nil {
		return err
	}
	if err := c.to.Files.Write(c.ctx, restoredMark, nil); err != nil {
		return err
	}
	root, err := c.entries()
	if err != nil {
		return err
	}
	if err := c.erased(); err != nil {
		return err
	}
	for n := range c.missing {
		return fmt.Errorf("%d addenda are gone, and no erasure accounts for them; one is %s of entry %x: imaledgerd check lists them all", len(c.missing), ledger.AddendumPath(n.digest), n.entry)
	}
	for _, dir := range []string{historyDir, evidenceDir} {
		if err := c.folder(dir); err != nil {
			return err
		}
	}
	if had, old, err := c.to.Tree.State(c.ctx); err != nil || had != c.Size || !bytes.Equal(old, root) {
		c.Written++
	}
	if err := c.to.Tree.Set(c.ctx, c.Size, root, c.heads); err != nil {
		return err
	}
	if err := c.tiles.write(layout.CheckpointPath, c.published.Raw); err != nil {
		return err
	}
	c.Written += c.tiles.written
	return nil
}

// older makes sure that what the directory has is an older copy, or nothing.
func (c *copying) older() error {
	had, err := openArchive(c.ctx, c.to, c.trust)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && had.published == nil:
		return nil
	case err != nil:
		return err
	case had.published.Origin != c.Origin:
		return fmt.Errorf("it holds the log %s, not %s", had.published.Origin, c.Origin)
	case had.published.Size > c.Size:
		return fmt.Errorf("it holds %d entries, and there are only %d to copy: it is the newer one", had.published.Size, c.Size)
	}
	root, found, err := c.log.root(c.ctx, had.published.Size)
	if err == nil && found && root != had.published.Root {
		return &integrityError{fmt.Errorf("its %d entries have root %x, the same number here %x: these are two logs of one name", had.published.Size, had.published.Root, root)}
	}
	return err
}

// entries copies entries and what they name, and returns the root of all.
func (c *copying) entries() ([]byte, error) {
	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for bundle, err := range c.bundles(c.ctx, 0, c.Size) {
		if err != nil {
			return nil, err
		}
		n := tree.End() / layout.EntryBundleWidth
		var b []byte
		for _, raw := range bundle {
			leaf := ledger.LeafHash(raw)
			if err := errors.Join(tree.Append(leaf[:], nil), c.tiles.add(leaf)); err != nil {
				return nil, err
			}
			// SPEC: c2sp.org/tlog-tiles: big-endian uint16-prefixed entries.
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(raw))), raw...)
			if err := c.entry(leaf, raw, tree.End()-1); err != nil {
				return nil, fmt.Errorf("entry %d: %w", tree.End()-1, err)
			}
		}
		if err := c.tiles.write(layout.EntriesPath(n, layout.PartialTileSize(0, n, c.Size)), b); err != nil {
			return nil, err
		}
		c.progress("entries", tree.End(), c.Size)
	}
	if err := checkRoot(tree, c.published); err != nil {
		return nil, err
	}
	if tree.End() == 0 {
		return rfc6962.DefaultHasher.EmptyRoot(), nil
	}
	root, err := tree.GetRootHash(nil)
	if err != nil {
		return nil, err
	}
	return root, c.tiles.end()
}

func (c *copying) entry(leaf ledger.Hash, raw []byte, index uint64) error {
	entry, err := ledger.ParseEntry(raw)
	if err != nil {
		return err
	}
	c.heads.add(leaf, entry, index)
	switch e := entry.(type) {
	case *ledger.Segment:
		c.live[e.Payload.Digest]++
		c.segments[leaf] = e.Payload.Digest
	case *ledger.Erasure:
		c.erase(e)
	}
	for _, digest := range entry.Addenda() {
		if err := c.addendum(leaf, digest); err != nil {
			return err
		}
	}
	return nil
}

func (c *copying) addendum(leaf, digest ledger.Hash) error {
	size, found, err := c.archive.Storage.Addenda.Size(digest)
	if err != nil {
		return err
	}
	if !found {
		c.missing[named{leaf, digest}] = true
		return nil
	}
	c.Addenda++
	had, found, err := c.to.Addenda.Size(digest)
	if err != nil || found && had == size {
		return err
	}
	r, found, err := c.archive.Storage.Addenda.Open(digest)
	if err != nil {
		return err
	}
	if !found { // erased at this moment
		c.missing[named{leaf, digest}] = true
		return nil
	}
	defer r.Close()
	c.Written++
	_, err = c.to.Addenda.Put(digest, r, ledger.MaxPayload)
	return err
}

// erase accounts for payloads that are gone.
func (c *copying) erase(e *ledger.Erasure) {
	for _, x := range e.Erased {
		if digest, live := c.segments[x.Leaf]; live && digest == x.Payload {
			delete(c.segments, x.Leaf)
			c.live[digest]--
		}
		delete(c.missing, named{x.Leaf, x.Payload})
	}
}

// erased reads the erasures that are newer than the checkpoint, whose payloads may
// be gone already, and deletes from the copy what was erased.
func (c *copying) erased() error {
	size, err := c.log.reader.IntegratedSize(c.ctx)
	if err != nil {
		return err
	}
	places := size
	if q := c.archive.Storage.Sequencer; q != nil {
		if _, places, err = q.Heads(c.ctx, endChain); err != nil {
			return err
		}
	}
	c.Waiting = places - c.Size
	skip := c.Size % layout.EntryBundleWidth
	for bundle, err := range c.bundles(c.ctx, c.Size-skip, size) {
		if err != nil {
			return err
		}
		for _, raw := range bundle[min(skip, uint64(len(bundle))):] {
			entry, err := ledger.ParseEntry(raw)
			if e, ok := entry.(*ledger.Erasure); err == nil && ok {
				c.erase(e)
			}
		}
		skip = 0
	}
	for digest, n := range c.live {
		if n > 0 {
			continue
		}
		_, found, err := c.to.Addenda.Size(digest)
		if err == nil && found {
			c.Deleted++
			err = c.to.Addenda.Delete(digest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// folder copies small files that no entry names.
func (c *copying) folder(dir string) error {
	names, err := c.Files.List(c.ctx, dir+"/")
	if err != nil {
		return err
	}
	files := tileWriter{files: c.to.Files}
	for _, name := range names {
		content, err := c.Files.Read(c.ctx, name)
		if err == nil {
			err = files.write(name, content)
		}
		if err != nil {
			return err
		}
	}
	c.Written += files.written
	return nil
}
