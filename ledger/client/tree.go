package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/imaledger/imaledger/ledger"
)

const (
	tileHeight = 8
	bundleSize = 1 << tileHeight // entries
	// maxTiles is how many tiles a Tree keeps, of 8 KiB each: those above the newest
	// read, and their neighbours.
	maxTiles = 256
	// maxSize is that of the largest tree that is read. The numbers that package tlog
	// gives to the hashes of a larger one overflow, and it would never end. A log can
	// claim any size, and honest witnesses cosign it: it is consistent with what was.
	maxSize = 1 << 61
)

// A Tree reads a log as it is at one checkpoint (c2sp.org/tlog-tiles): leaf hashes,
// entries and proofs, all held to the checkpoint's root. Any mirror or static server
// with the log's files will do. Its methods may be called at the same time.
type Tree struct {
	client *Client
	at     *ledger.Checkpoint

	mu    sync.Mutex
	tiles map[tlog.Tile][]byte // held to the root
}

// Tree returns a reader of the tree of a checkpoint that was verified.
func (c *Client) Tree(at *ledger.Checkpoint) *Tree {
	return &Tree{client: c, at: at, tiles: make(map[tlog.Tile][]byte)}
}

// Checkpoint returns the checkpoint that all is held to.
func (t *Tree) Checkpoint() *ledger.Checkpoint { return t.at }

// hashes returns a reader for one answer.
func (t *Tree) hashes(ctx context.Context) tlog.HashReader {
	r := &tileReader{ctx: ctx, tree: t}
	return &hashReader{r, tlog.TileHashReader(tlog.Tree{N: int64(t.at.Size), Hash: tlog.Hash(t.at.Root)}, r)}
}

// ErrTiles is a log whose tiles do not lead to the root that it signed, as against
// one whose tiles cannot be had.
var ErrTiles = errors.New("the log's tiles do not lead to the root that it signed")

// A hashReader tells a log that gives other tiles from one that gives none.
type hashReader struct {
	tiles  *tileReader
	hashes tlog.HashReader
}

func (r *hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	list, err := r.hashes.ReadHashes(indexes)
	if err != nil && !r.tiles.failed {
		return nil, fmt.Errorf("%w: %w", ErrTiles, err)
	}
	return list, err
}

// ranges make compact ranges as RFC 6962 hashes them.
var ranges = &compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// Range returns what the roots of all larger trees are made of besides the leaves
// from size on: the compact range of the entries before.
func (t *Tree) Range(ctx context.Context, size uint64) (*compact.Range, error) {
	if err := t.contains(size); err != nil {
		return nil, fmt.Errorf("range: %w", err)
	}
	if size == 0 {
		return ranges.NewEmptyRange(0), nil
	}
	var indexes []int64
	for _, n := range compact.RangeNodes(0, size, nil) {
		indexes = append(indexes, tlog.StoredHashIndex(int(n.Level), int64(n.Index)))
	}
	nodes, err := t.hashes(ctx).ReadHashes(indexes)
	if err != nil {
		return nil, fmt.Errorf("range of %d entries: %w", size, err)
	}
	list := make([][]byte, len(nodes))
	for i := range nodes {
		list[i] = nodes[i][:]
	}
	return ranges.NewRange(0, size, list)
}

// Root returns the root that the tree had when it was smaller.
func (t *Tree) Root(ctx context.Context, size uint64) (ledger.Hash, error) {
	if size == 0 {
		return ledger.Hash(rfc6962.DefaultHasher.EmptyRoot()), nil
	}
	r, err := t.Range(ctx, size)
	if err != nil {
		return ledger.Hash{}, fmt.Errorf("root: %w", err)
	}
	root, err := r.GetRootHash(nil)
	if err != nil {
		return ledger.Hash{}, fmt.Errorf("root: %w", err)
	}
	return ledger.Hash(root), nil
}

// contains is an error where the tree is too large, or had no smaller one of a size.
func (t *Tree) contains(size uint64) error {
	switch {
	case t.at.Size > maxSize:
		return fmt.Errorf("a log of size %d, and at most %d is read", t.at.Size, uint64(maxSize))
	case size > t.at.Size:
		return fmt.Errorf("size %d of a log of size %d", size, t.at.Size)
	}
	return nil
}

func (t *Tree) has(index uint64) error {
	if index >= t.at.Size {
		return fmt.Errorf("entry %d of a log of size %d", index, t.at.Size)
	}
	return t.contains(index + 1)
}

// Leaf returns the leaf hash at an index.
func (t *Tree) Leaf(ctx context.Context, index uint64) (ledger.Hash, error) {
	if err := t.has(index); err != nil {
		return ledger.Hash{}, err
	}
	h, err := t.hashes(ctx).ReadHashes([]int64{tlog.StoredHashIndex(0, int64(index))})
	if err != nil {
		return ledger.Hash{}, fmt.Errorf("leaf hash %d: %w", index, err)
	}
	return ledger.Hash(h[0]), nil
}

// Entry returns the entry at an index.
func (t *Tree) Entry(ctx context.Context, index uint64) ([]byte, error) {
	leaf, err := t.Leaf(ctx, index)
	if err != nil {
		return nil, err
	}
	entry, err := t.client.Entry(ctx, index, t.at.Size)
	if err == nil && ledger.LeafHash(entry) != leaf {
		return nil, &OtherBytesError{fmt.Sprintf("entry %d", index), leaf, ledger.LeafHash(entry)}
	}
	return entry, err
}

// Entries returns the entries from an index to the end of the bundle that it is in.
func (t *Tree) Entries(ctx context.Context, from uint64) ([][]byte, error) {
	list, _, err := t.EntriesAndLeaves(ctx, from)
	return list, err
}

// EntriesAndLeaves is Entries with each entry's leaf hash.
func (t *Tree) EntriesAndLeaves(ctx context.Context, from uint64) ([][]byte, []ledger.Hash, error) {
	if err := t.has(from); err != nil {
		return nil, nil, err
	}
	n := from / bundleSize
	list, err := t.client.bundle(ctx, n, t.at.Size)
	if err != nil {
		return nil, nil, err
	}
	indexes, leaves := make([]int64, len(list)), make([]ledger.Hash, len(list))
	for i := range list {
		indexes[i] = tlog.StoredHashIndex(0, int64(n*bundleSize)+int64(i))
	}
	hashes, err := t.hashes(ctx).ReadHashes(indexes)
	if err != nil {
		return nil, nil, fmt.Errorf("leaf hashes from %d: %w", n*bundleSize, err)
	}
	for i, entry := range list {
		if leaves[i] = ledger.LeafHash(entry); leaves[i] != ledger.Hash(hashes[i]) {
			return nil, nil, &OtherBytesError{fmt.Sprintf("entry %d", n*bundleSize+uint64(i)), ledger.Hash(hashes[i]), leaves[i]}
		}
	}
	skip := from - n*bundleSize
	return list[skip:], leaves[skip:], nil
}

// Prove makes the proof that a checkpoint includes the entry at an index. It may be
// an older checkpoint than the tree's: one that does not belong to the same history
// gives a proof that does not verify.
func (t *Tree) Prove(ctx context.Context, index uint64, in *ledger.Checkpoint) (*ledger.Proof, error) {
	if index >= in.Size {
		return nil, fmt.Errorf("entry %d in the tree of size %d", index, in.Size)
	}
	if err := t.contains(in.Size); err != nil {
		return nil, fmt.Errorf("proof of entry %d: %w", index, err)
	}
	path, err := tlog.ProveRecord(int64(in.Size), int64(index), t.hashes(ctx))
	if err != nil {
		return nil, fmt.Errorf("proof of entry %d: %w", index, err)
	}
	p := &ledger.Proof{Index: index, Checkpoint: in.Raw}
	for _, h := range path {
		p.Hashes = append(p.Hashes, ledger.Hash(h))
	}
	return p, nil
}

// consistency returns the RFC 6962 consistency path between the trees of two sizes.
func (t *Tree) consistency(ctx context.Context, older, newer uint64) ([]ledger.Hash, error) {
	if err := t.contains(newer); err != nil {
		return nil, fmt.Errorf("consistency of sizes %d and %d: %w", older, newer, err)
	}
	proof, err := tlog.ProveTree(int64(newer), int64(older), t.hashes(ctx))
	if err != nil {
		return nil, fmt.Errorf("consistency of sizes %d and %d: %w", older, newer, err)
	}
	path := make([]ledger.Hash, len(proof))
	for i, h := range proof {
		path[i] = ledger.Hash(h)
	}
	return path, nil
}

// Entry returns the entry at an index of a log of the given size. Its leaf hash,
// which the caller knows, says whether it is the right one.
func (c *Client) Entry(ctx context.Context, index, size uint64) ([]byte, error) {
	if index >= size || size > maxSize {
		return nil, fmt.Errorf("entry %d of a log of size %d", index, size)
	}
	list, err := c.bundle(ctx, index/bundleSize, size)
	if err != nil {
		return nil, err
	}
	return list[index%bundleSize], nil
}

// bundle returns a bundle of entries, all that a log of the given size has in it.
func (c *Client) bundle(ctx context.Context, n, size uint64) ([][]byte, error) {
	t := tlog.Tile{H: tileHeight, L: -1, N: int64(n), W: int(min(bundleSize, size-n*bundleSize))}
	b, err := c.tile(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("entries from %d: %w", n*bundleSize, err)
	}
	list := make([][]byte, 0, t.W)
	for len(list) < t.W {
		if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return nil, fmt.Errorf("%w: entries from %d end before entry %d", ErrTiles, n*bundleSize, n*bundleSize+uint64(len(list)))
		}
		end := 2 + int(binary.BigEndian.Uint16(b))
		list, b = append(list, b[2:end:end]), b[end:]
	}
	return list, nil
}

// maxBundle is the size in bytes of 256 entries of 65,535 bytes each.
const maxBundle = bundleSize * (2 + 1<<16)

// tile gets a tile, or the full one in its place where a log no longer has the
// partial one (c2sp.org/tlog-tiles allows to delete it).
func (c *Client) tile(ctx context.Context, t tlog.Tile) ([]byte, error) {
	get := func(t tlog.Tile) ([]byte, error) {
		// The specification leaves the height out of the path, and says entries for
		// data.
		path, ok := strings.CutPrefix(t.Path(), fmt.Sprintf("tile/%d/data/", tileHeight))
		if ok {
			path = "entries/" + path
		} else {
			path = strings.TrimPrefix(path, fmt.Sprintf("tile/%d/", tileHeight))
		}
		_, b, err := c.sized(ctx, http.MethodGet, "/tile/"+path, nil, 0, maxBundle, http.StatusOK)
		return b, err
	}
	b, err := get(t)
	if isProblem(err, http.StatusNotFound) && t.W < bundleSize {
		full := t
		full.W = bundleSize
		if b, fullErr := get(full); fullErr == nil {
			return b, nil
		}
	}
	return b, err
}

// A tileReader reads tiles for a Tree. TileHashReader holds them to its root.
type tileReader struct {
	ctx    context.Context
	tree   *Tree
	failed bool // whether a tile could not be had
}

func (r *tileReader) Height() int { return tileHeight }

// SaveTiles keeps what was held to the root.
func (r *tileReader) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	r.tree.mu.Lock()
	defer r.tree.mu.Unlock()
	for i, t := range tiles {
		if len(r.tree.tiles) >= maxTiles {
			clear(r.tree.tiles)
		}
		r.tree.tiles[t] = data[i]
	}
}

func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var list [][]byte
	for _, t := range tiles {
		r.tree.mu.Lock()
		b, kept := r.tree.tiles[t]
		r.tree.mu.Unlock()
		if kept {
			list = append(list, b)
			continue
		}
		b, err := r.tree.client.tile(r.ctx, t)
		if err != nil {
			r.failed = true
			return nil, fmt.Errorf("tile %s: %w", t.Path(), err)
		}
		if len(b) < t.W*tlog.HashSize || len(b) > bundleSize*tlog.HashSize {
			return nil, fmt.Errorf("tile %s: %d bytes, want %d", t.Path(), len(b), t.W*tlog.HashSize)
		}
		list = append(list, b[:t.W*tlog.HashSize])
	}
	return list, nil
}

// An OtherBytesError is an answer that is not what was asked for by its hash: the
// ledger's, or what is before it.
type OtherBytesError struct {
	What      string
	Want, Got ledger.Hash
}

func (e *OtherBytesError) Error() string {
	return fmt.Sprintf("%s: the ledger gave bytes with hash %x, asked for by %x", e.What, e.Got, e.Want)
}
