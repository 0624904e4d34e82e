package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/imaledger/imaledger/ledger"
)

// A Tree holds what it reads to the checkpoint's root, also where the log has only
// full tiles left, and proves in older trees.
func TestTree(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const size, served = 700, 1100 // of the tree that is read, and of the log by now
	tree := &testTree{}
	record := func(n int64) []byte { return fmt.Appendf(nil, "record %d", n) }
	for n := range int64(served) {
		tree.add(t, n, string(record(n)))
	}
	alter := int64(-1) // an entry
	onlyFull, requests := false, 0
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		path := strings.Replace(strings.TrimPrefix(r.URL.Path, "/tile/"), "entries/", "data/", 1)
		tile, err := tlog.ParseTilePath("tile/8/" + path)
		if err != nil {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		if onlyFull && tile.W < bundleSize && (tile.N+1)<<(tileHeight*(max(tile.L, 0)+1)) <= served {
			http.NotFound(w, r)
			return
		}
		if tile.L >= 0 {
			b, err := tlog.ReadTileData(tile, tree)
			if err != nil {
				t.Error(err)
			}
			w.Write(b)
			return
		}
		for n := tile.N * bundleSize; n < tile.N*bundleSize+int64(tile.W); n++ {
			b := record(n)
			if n == alter {
				b[0] ^= 1
			}
			w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
		}
	})
	at := tree.at(t, size)
	for _, onlyFull = range []bool{false, true} {
		r := c.Tree(at)
		for range 50 {
			n := random.Uint64N(size)
			list, err := r.Entries(t.Context(), n)
			if want := min(size, (n/bundleSize+1)*bundleSize) - n; err != nil || uint64(len(list)) != want || string(list[0]) != string(record(int64(n))) {
				t.Fatalf("entries from %d: %d, %v", n, len(list), err)
			}
			older := tree.at(t, int64(n)+1+random.Int64N(size-int64(n)))
			p, err := r.Prove(t.Context(), n, older)
			if err != nil {
				t.Fatal(err)
			}
			var path []tlog.Hash
			for _, h := range p.Hashes {
				path = append(path, tlog.Hash(h))
			}
			if err := tlog.CheckRecord(path, int64(older.Size), tlog.Hash(older.Root), int64(n), tlog.RecordHash(record(int64(n)))); err != nil {
				t.Fatalf("entry %d in size %d: %v", n, older.Size, err)
			}
		}
	}
	if requests > 300 {
		t.Errorf("%d requests: tiles are not kept", requests)
	}
	alter = 300
	var other *OtherBytesError
	if _, err := c.Tree(at).Entries(t.Context(), 260); !errors.As(err, &other) || other.What != "entry 300" {
		t.Errorf("an altered entry: %v", err)
	}
	if _, err := c.Tree(at).Entry(t.Context(), 300); !errors.As(err, &other) {
		t.Errorf("an altered entry: %v", err)
	}
	if _, err := c.Tree(&ledger.Checkpoint{Size: size}).Entries(t.Context(), 0); err == nil {
		t.Error("tiles of another root")
	}
	for _, err := range []error{second(c.Tree(at).Entries(t.Context(), size)), second(c.Tree(&ledger.Checkpoint{}).Leaf(t.Context(), 0)), second(c.Tree(at).Prove(t.Context(), 0, tree.at(t, size+1)))} {
		if err == nil {
			t.Error("beyond the tree")
		}
	}
}

// TestForgedTile: an entry that is forged together with a tile, of whichever level, is
// told from the log's. A tree whose right edge lies in few tiles, and one of several
// levels, have their tiles held to the root in other orders.
func TestForgedTile(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const most = 66_000
	tree := &testTree{}
	for n := range int64(most) {
		tree.add(t, n, fmt.Sprint(n))
	}
	sizes := []uint64{1, 2, 3, 255, 256, 257, 300, 511, 512, 513, 601, 767, 65535, 65536, 65537, 65799, 65800, 65999}
	for range 20 {
		sizes = append(sizes, 1+random.Uint64N(most))
	}
	for _, size := range sizes {
		forged := random.Uint64N(size)
		level := -1 // of the one tile, besides the entry, that is forged
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			tile, err := tlog.ParseTilePath("tile/8/" + strings.Replace(strings.TrimPrefix(r.URL.Path, "/tile/"), "entries/", "data/", 1))
			if err != nil {
				t.Errorf("%s: %v", r.URL.Path, err)
			}
			if tile.L >= 0 {
				b, err := tlog.ReadTileData(tile, tree)
				if err != nil {
					t.Error(err)
				}
				if tile.L == level && tile.N == int64(forged>>(tileHeight*(level+1))) {
					at := int64(forged>>(tileHeight*level)) % bundleSize * tlog.HashSize
					if at < int64(len(b)) {
						leaf := tlog.RecordHash([]byte("forged"))
						copy(b[at:], leaf[:])
					}
				}
				w.Write(b)
				return
			}
			for n := tile.N * bundleSize; n < tile.N*bundleSize+int64(tile.W); n++ {
				b := fmt.Append(nil, n)
				if uint64(n) == forged && level >= 0 {
					b = []byte("forged")
				}
				w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
			}
		})
		at := tree.at(t, int64(size))
		if e, err := c.Tree(at).Entry(t.Context(), forged); err != nil || string(e) != fmt.Sprint(forged) {
			t.Fatalf("entry %d of %d: %q, %v", forged, size, e, err)
		}
		for level = range 3 {
			for name, read := range map[string]func(*Tree) error{
				"Entry":   func(r *Tree) error { return second(r.Entry(t.Context(), forged)) },
				"Entries": func(r *Tree) error { return second(r.Entries(t.Context(), forged)) },
			} {
				var other *OtherBytesError
				if err := read(c.Tree(at)); !errors.Is(err, ErrTiles) && !errors.As(err, &other) {
					t.Errorf("%s %d of %d, forged with its tile of level %d: %v", name, forged, size, level, err)
				}
			}
			// What is made of other tiles too is the log's, or nothing.
			if p, err := c.Tree(at).Prove(t.Context(), forged, at); err == nil {
				var path []tlog.Hash
				for _, h := range p.Hashes {
					path = append(path, tlog.Hash(h))
				}
				err = tlog.CheckRecord(path, int64(size), tlog.Hash(at.Root), int64(forged), tlog.RecordHash(fmt.Append(nil, forged)))
				if err != nil {
					t.Errorf("proof of %d of %d, forged with its tile of level %d: %v", forged, size, level, err)
				}
			} else if !errors.Is(err, ErrTiles) {
				t.Error(err)
			}
			older := tree.at(t, int64(forged))
			if root, err := c.Tree(at).Root(t.Context(), forged); err == nil && root != older.Root || err != nil && !errors.Is(err, ErrTiles) {
				t.Errorf("root at %d of %d, forged with its tile of level %d: %x, %v", forged, size, level, root, err)
			}
			if err := c.Consistent(t.Context(), older, at); err != nil && !errors.Is(err, ErrTiles) {
				t.Errorf("size %d to %d, forged with a tile of level %d: %v", forged, size, level, err)
			}
		}
	}
}

// TestRoots: a tree gives its roots at smaller sizes, and tells tiles that do not
// fit from tiles that it cannot have.
func TestRoots(t *testing.T) {
	const size = 700
	tree := &testTree{}
	for n := range int64(size) {
		tree.add(t, n, fmt.Sprint(n))
	}
	alter, away := false, false
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		tile, err := tlog.ParseTilePath("tile/8/" + strings.TrimPrefix(r.URL.Path, "/tile/"))
		if err != nil || away {
			http.Error(w, "away", http.StatusBadGateway)
			return
		}
		b, err := tlog.ReadTileData(tile, tree)
		if err != nil {
			t.Error(err)
		}
		if alter {
			b[0] ^= 1
		}
		w.Write(b)
	})
	for n := range uint64(size + 1) {
		if root, err := c.Tree(tree.at(t, size)).Root(t.Context(), n); err != nil || root != tree.at(t, int64(n)).Root {
			t.Fatalf("root at %d: %x, %v", n, root, err)
		}
		// A range grows into the whole tree by the leaves after it.
		grown, err := c.Tree(tree.at(t, size)).Range(t.Context(), n)
		for i := int64(n); err == nil && i < size; i++ {
			leaf := tlog.RecordHash([]byte(fmt.Sprint(i)))
			err = grown.Append(leaf[:], nil)
		}
		if err != nil {
			t.Fatalf("range of %d: %v", n, err)
		}
		if root, err := grown.GetRootHash(nil); err != nil || ledger.Hash(root) != tree.at(t, size).Root {
			t.Fatalf("range of %d, grown to %d: %x, %v", n, size, root, err)
		}
	}
	if _, err := c.Tree(tree.at(t, size)).Root(t.Context(), size+1); err == nil {
		t.Error("a root beyond the tree")
	}
	if _, err := c.Tree(tree.at(t, size)).Range(t.Context(), size+1); err == nil {
		t.Error("a range beyond the tree")
	}
	alter = true
	if _, err := c.Tree(tree.at(t, size)).Root(t.Context(), 300); !errors.Is(err, ErrTiles) {
		t.Errorf("tiles altered: %v", err)
	}
	if _, err := c.Tree(tree.at(t, size)).Range(t.Context(), 300); !errors.Is(err, ErrTiles) {
		t.Errorf("range, tiles altered: %v", err)
	}
	away = true
	if _, err := c.Tree(tree.at(t, size)).Root(t.Context(), 300); err == nil || errors.Is(err, ErrTiles) {
		t.Errorf("tiles away: %v", err)
	}
}

// TestHugeTree: a tree that is larger than its hashes can be numbered is an error, of
// whatever is asked of it, and the largest that is read is asked for.
func TestHugeTree(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	for _, size := range []uint64{maxSize, maxSize + 1, 1 << 62, 1<<62 + 1, 1<<63 - 1} {
		at := &ledger.Checkpoint{Size: size}
		r := c.Tree(at)
		for what, err := range map[string]error{
			"Consistent": c.Consistent(t.Context(), &ledger.Checkpoint{Size: 700}, at), "Leaf": second(r.Leaf(t.Context(), size-1)), "Entries": second(r.Entries(t.Context(), 0)),
			"Entry": second(c.Entry(t.Context(), size-1, size)), "Root": second(r.Root(t.Context(), 700)), "Range": second(r.Range(t.Context(), 700)),
			"Prove": second(r.Prove(t.Context(), 5, at)),
		} {
			if err == nil || isProblem(err, http.StatusNotFound) != (size == maxSize) {
				t.Errorf("%s of size %d: %v", what, size, err)
			}
		}
	}
}
