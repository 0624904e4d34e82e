package server

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/internal/durable"
)

// A tileWriter makes the tiles of a tree (c2sp.org/tlog-tiles) from its leaf
// hashes, and writes those that a log does not have in that form.
type tileWriter struct {
	files   Files
	levels  []tileLevel
	written uint64 // files
}

// tileLevel is the newest tile of a level, while it fills.
type tileLevel struct {
	index uint64
	nodes []byte // hashes
}

func (w *tileWriter) add(leaf ledger.Hash) error { return w.push(0, leaf[:]) }

func (w *tileWriter) push(level int, node []byte) error {
	if level == len(w.levels) {
		w.levels = append(w.levels, tileLevel{})
	}
	l := &w.levels[level]
	l.nodes = append(l.nodes, node...)
	if len(l.nodes) < layout.TileWidth*rfc6962.DefaultHasher.Size() {
		return nil
	}
	if err := w.write(layout.TilePath(uint64(level), l.index, 0), l.nodes); err != nil {
		return err
	}
	root := subtree(l.nodes)
	l.index, l.nodes = l.index+1, nil
	return w.push(level+1, root)
}

// end writes the tiles that are not full.
func (w *tileWriter) end() error {
	for level, l := range w.levels {
		if n := len(l.nodes) / rfc6962.DefaultHasher.Size(); n > 0 {
			if err := w.write(layout.TilePath(uint64(level), l.index, uint8(n)), l.nodes); err != nil {
				return err
			}
		}
	}
	return nil
}

// subtree returns the root over the hashes of a full tile.
func subtree(nodes []byte) []byte {
	size := rfc6962.DefaultHasher.Size()
	for len(nodes) > size {
		var above []byte
		for ; len(nodes) > 0; nodes = nodes[2*size:] {
			above = append(above, rfc6962.DefaultHasher.HashChildren(nodes[:size], nodes[size:2*size])...)
		}
		nodes = above
	}
	return nodes
}

// write writes a file unless it is there as it should be.
func (w *tileWriter) write(name string, content []byte) error {
	ctx := context.Background()
	had, err := w.files.Read(ctx, name)
	if err == nil && bytes.Equal(had, content) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w.written++
	return w.files.Write(ctx, name, content)
}

// replaceFile writes a file whole, or leaves the one that was there; when it
// returns nil the file is durable. place gives it its name.
func replaceFile(path string, content []byte, place func(from, to string) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = place(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return durable.SyncDir(dir)
}
