package client

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/imaledger/imaledger/ledger"
)

// Consistent checks that the tree of one checkpoint continues the tree of an
// older one, from the log's tiles. Both were verified by a policy before. The
// error wraps ledger.ErrConsistency where the log signed two histories; any other
// says that it did not give what proves it.
func (c *Client) Consistent(ctx context.Context, older, newer *ledger.Checkpoint) error {
	if older.Size > newer.Size {
		return fmt.Errorf("the older checkpoint has size %d, the newer one %d", older.Size, newer.Size)
	}
	var path []ledger.Hash
	if older.Size > 0 && older.Size < newer.Size {
		var err error
		if path, err = c.ConsistencyPath(ctx, older.Size, newer.Size, newer); err != nil {
			return err
		}
	}
	return ledger.VerifyConsistency(older, newer, path)
}

// ConsistencyPath returns the RFC 6962 consistency path between the trees of two
// sizes, from the tiles of a tree that is no smaller, and is held to its root.
func (c *Client) ConsistencyPath(ctx context.Context, older, newer uint64, tree *ledger.Checkpoint) ([]ledger.Hash, error) {
	hashes := tlog.TileHashReader(tlog.Tree{N: int64(tree.Size), Hash: tlog.Hash(tree.Root)}, &tileReader{ctx, c})
	proof, err := tlog.ProveTree(int64(newer), int64(older), hashes)
	if err != nil {
		return nil, fmt.Errorf("consistency of sizes %d and %d: %w", older, newer, err)
	}
	path := make([]ledger.Hash, len(proof))
	for i, h := range proof {
		path[i] = ledger.Hash(h)
	}
	return path, nil
}

// Prove makes the proof that a checkpoint includes the entry at an index, from the
// log's tiles: a mirror, or a static server with the log's directory, gives no
// other. The checkpoint was verified before; the tiles are held to its root.
func (c *Client) Prove(ctx context.Context, index uint64, tree *ledger.Checkpoint) (*ledger.Proof, error) {
	if index >= tree.Size {
		return nil, fmt.Errorf("entry %d of a log of size %d", index, tree.Size)
	}
	hashes := tlog.TileHashReader(tlog.Tree{N: int64(tree.Size), Hash: tlog.Hash(tree.Root)}, &tileReader{ctx, c})
	path, err := tlog.ProveRecord(int64(tree.Size), int64(index), hashes)
	if err != nil {
		return nil, fmt.Errorf("proof of entry %d: %w", index, err)
	}
	p := &ledger.Proof{Index: index, Checkpoint: tree.Raw}
	for _, h := range path {
		p.Hashes = append(p.Hashes, ledger.Hash(h))
	}
	return p, nil
}

// A tileReader reads tiles: c2sp.org/tlog-tiles. TileHashReader holds them to the
// tree's root.
type tileReader struct {
	ctx    context.Context
	client *Client
}

const (
	tileHeight = 8
	bundleSize = 1 << tileHeight // entries
)

// Entry returns the entry at an index of a log of the given size. Its leaf hash,
// which the caller knows, says whether it is the right one.
func (c *Client) Entry(ctx context.Context, index, size uint64) ([]byte, error) {
	if index >= size || size > 1<<62 {
		return nil, fmt.Errorf("entry %d of a log of size %d", index, size)
	}
	t := tlog.Tile{H: tileHeight, L: -1, N: int64(index / bundleSize), W: int(min(bundleSize, size-index/bundleSize*bundleSize))}
	path := "/tile/entries/" + strings.TrimPrefix(t.Path(), fmt.Sprintf("tile/%d/data/", tileHeight))
	_, b, err := c.small(ctx, http.MethodGet, path, nil, 0, http.StatusOK)
	if err != nil {
		return nil, fmt.Errorf("entries %s: %w", path, err)
	}
	for skip := index % bundleSize; ; skip-- {
		if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return nil, fmt.Errorf("entries %s: they end before entry %d", path, index)
		}
		entry, rest := b[2:2+binary.BigEndian.Uint16(b)], b[2+binary.BigEndian.Uint16(b):]
		if skip == 0 {
			return entry, nil
		}
		b = rest
	}
}

func (r *tileReader) Height() int { return tileHeight }

func (r *tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var list [][]byte
	for _, t := range tiles {
		// The specification leaves the height out of the path.
		path := "/tile/" + strings.TrimPrefix(t.Path(), fmt.Sprintf("tile/%d/", tileHeight))
		_, b, err := r.client.small(r.ctx, http.MethodGet, path, nil, 0, http.StatusOK)
		if err != nil {
			return nil, fmt.Errorf("tile %s: %w", path, err)
		}
		if len(b) != t.W*tlog.HashSize {
			return nil, fmt.Errorf("tile %s: %d bytes, want %d", path, len(b), t.W*tlog.HashSize)
		}
		list = append(list, b)
	}
	return list, nil
}
