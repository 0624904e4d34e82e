// Package storagetest holds a server.Storage to what package server says of it.
package storagetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/internal/payload"
	"github.com/imaledger/imaledger/ledger/server"
)

// Test holds what open gives to all of it. Each call of open gives an empty storage,
// and each call of the second function the same one again, as another process would
// open it. One without a sequencer is not held to what is said of sequencers.
func Test(t *testing.T, open func(t *testing.T) (again func() *server.Storage)) {
	t.Run("files", func(t *testing.T) { testFiles(t, open(t)) })
	t.Run("log", func(t *testing.T) { testLog(t, open(t)) })
	t.Run("addenda", func(t *testing.T) { testAddenda(t, open(t)) })
	if open(t)().Holder != nil {
		t.Run("hold", func(t *testing.T) { testHold(t, open(t)) })
	}
	t.Run("tree", func(t *testing.T) { testTree(t, open(t)) })
	t.Run("driver", func(t *testing.T) { testDriver(t, open(t)) })
	if open(t)().Sequencer == nil {
		return
	}
	t.Run("sequencer", func(t *testing.T) { testSequencer(t, open(t)) })
	t.Run("race", func(t *testing.T) { testRace(t, open(t)) })
	t.Run("withhold", func(t *testing.T) { testWithhold(t, open(t)) })
	t.Run("withhold race", func(t *testing.T) { testWithholdRace(t, open(t)) })
}

func testFiles(t *testing.T, open func() *server.Storage) {
	exercise(t, func() server.Files { return open().Files })
}
func testLog(t *testing.T, open func() *server.Storage) {
	exercise(t, func() server.Files { return open().Log })
}

func exercise(t *testing.T, open func() server.Files) {
	ctx, f := t.Context(), open()
	if _, err := f.Read(ctx, "a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read what is not there: %v", err)
	}
	want := func(name, content string) {
		t.Helper()
		if got, err := open().Read(ctx, name); err != nil || string(got) != content {
			t.Errorf("%s: %q, %v; want %q", name, got, err, content)
		}
	}
	for _, content := range []string{"one", "two, which is longer", ""} {
		if err := f.Write(ctx, "a/b", []byte(content)); err != nil {
			t.Fatal(err)
		}
		want("a/b", content)
	}
	if err := f.Create(ctx, "a/b", []byte("three")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create what is there: %v", err)
	}
	want("a/b", "")
	var made atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			switch err := open().Create(ctx, "a/c/d", fmt.Append(nil, "by ", i%10)); {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Errorf("create: %v", err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d of 16 created one file", made.Load())
	}
	if err := f.Write(ctx, "b/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if names, err := f.List(ctx, "a/"); err != nil || !slices.Equal(names, []string{"a/b", "a/c/d"}) {
		t.Errorf("list: %v, %v", names, err)
	}
	if names, err := f.List(ctx, "none/"); err != nil || len(names) > 0 {
		t.Errorf("list nothing: %v, %v", names, err)
	}
	for range 2 {
		if err := f.Remove(ctx, "a/b"); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if _, err := open().Read(ctx, "a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read what was removed: %v", err)
	}
}

type unseekable struct{ io.Reader }

func testAddenda(t *testing.T, open func() *server.Storage) {
	a := open().Addenda
	read := func(digest ledger.Hash) ([]byte, error) {
		r, found, err := open().Addenda.Open(digest)
		if err != nil || !found {
			return nil, errors.Join(err, fs.ErrNotExist)
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := mathrand.NewChaCha8(sha256.Sum256(fmt.Append(nil, seed)))
	stored := make(map[ledger.Hash]bool)
	for _, size := range []int{0, 1, 4096, 1 << 20, 1<<20 + 1, 3<<20 + 5} {
		content := make([]byte, size)
		random.Read(content)
		digest := ledger.Hash(sha256.Sum256(content))
		if _, found, err := a.Size(digest); found || err != nil {
			t.Fatalf("size %d: before: %v, %v", size, found, err)
		}
		if _, err := a.Put(digest, unseekable{bytes.NewReader(append(content, 1))}, int64(size)); !errors.Is(err, payload.ErrTooLarge) {
			t.Errorf("size %d: one byte more: %v", size, err)
		}
		if _, err := a.Put(digest, unseekable{bytes.NewReader(append(content, 1))}, int64(size)+1); !errors.Is(err, payload.ErrDigest) {
			t.Errorf("size %d: other bytes: %v", size, err)
		}
		if _, found, err := a.Size(digest); found || err != nil {
			t.Fatalf("size %d: refused, and there: %v, %v", size, found, err)
		}
		for i := range 2 {
			created, err := a.Put(digest, unseekable{bytes.NewReader(content)}, int64(size))
			if err != nil || created != (i == 0) {
				t.Fatalf("size %d, put %d: created %v, %v", size, i, created, err)
			}
		}
		if n, found, err := a.Size(digest); n != int64(size) || !found || err != nil {
			t.Errorf("size %d: %d, %v, %v", size, n, found, err)
		}
		if got, err := read(digest); err != nil || !bytes.Equal(got, content) {
			t.Errorf("size %d: read %d bytes, %v", size, len(got), err)
		}
		stored[digest] = true
	}
	for digest, err := range open().Addenda.List() {
		if err != nil || !stored[digest] {
			t.Errorf("list: %x, %v", digest, err)
		}
		delete(stored, digest)
	}
	if len(stored) > 0 {
		t.Errorf("%d are not listed", len(stored))
	}
	content := []byte("deleted, and stored again")
	digest := ledger.Hash(sha256.Sum256(content))
	for range 2 {
		if created, err := a.Put(digest, bytes.NewReader(content), 100); err != nil || !created {
			t.Fatalf("created %v, %v", created, err)
		}
		for range 2 {
			if err := a.Delete(digest); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := read(digest); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read what was deleted: %v", err)
		}
	}
}

// testHold: what is held cannot be deleted, nor anything that was put over it.
func testHold(t *testing.T, open func() *server.Storage) {
	ctx := t.Context()
	put := func(content string) ledger.Hash {
		t.Helper()
		digest := ledger.Hash(sha256.Sum256([]byte(content)))
		if _, err := open().Addenda.Put(digest, strings.NewReader(content), 100); err != nil {
			t.Fatal(err)
		}
		return digest
	}
	hold := func(digest ledger.Hash, on bool) {
		t.Helper()
		for range 2 {
			if err := open().Holder.Hold(ctx, digest, on); err != nil {
				t.Fatal(err)
			}
		}
	}
	held, free := put("held"), put("free")
	hold(held, true)
	hold(ledger.Hash{9}, true) // what is not there
	hold(ledger.Hash{9}, false)
	if err := open().Addenda.Delete(held); err == nil {
		t.Error("deleted what is held")
	}
	if size, found, err := open().Addenda.Size(held); err != nil || !found || size != 4 {
		t.Errorf("of what is held: %d, %v, %v", size, found, err)
	}
	if err := open().Addenda.Delete(free); err != nil {
		t.Error(err)
	}
	hold(held, false)
	if err := open().Addenda.Delete(held); err != nil {
		t.Error(err)
	}
	if _, found, err := open().Addenda.Size(held); err != nil || found {
		t.Errorf("what was let go is there after it was deleted: %v, %v", found, err)
	}
}

func testTree(t *testing.T, open func() *server.Storage) {
	ctx := t.Context()
	if _, _, err := open().Tree.State(ctx); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before: %v", err)
	}
	heads := map[string]server.Head{"h": {Leaf: ledger.Hash{7}, Index: 299}}
	for range 2 {
		if err := open().Tree.Set(ctx, 300, bytes.Repeat([]byte{5}, 32), heads); err != nil {
			t.Fatal(err)
		}
	}
	size, root, err := open().Tree.State(ctx)
	if err != nil || size != 300 || !bytes.Equal(root, bytes.Repeat([]byte{5}, 32)) {
		t.Errorf("%d, %x, %v", size, root, err)
	}
	q := open().Sequencer
	if q == nil {
		return
	}
	got, next, err := q.Heads(ctx)
	if err != nil || next != 300 || len(got) != 1 || got["h"] != heads["h"] {
		t.Errorf("%v, %d, %v", got, next, err)
	}
	index, ok, err := q.Append(ctx, []byte("the next"), map[string]ledger.Hash{"h": {7}}, []string{"h"}, nil)
	if err != nil || !ok || index != 300 {
		t.Fatalf("%d, %v, %v", index, ok, err)
	}
	if err := open().Tree.Set(ctx, 300, root, heads); err == nil {
		t.Error("a place that was given is taken back")
	}
}

// appender starts Tessera on a storage, until the test ends.
func appender(t *testing.T, s *server.Storage, signer note.Signer) (*tessera.Appender, tessera.LogReader) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); time.Sleep(50 * time.Millisecond) })
	d, err := s.Driver(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, _, reader, err := tessera.NewAppender(ctx, d, tessera.NewAppendOptions().WithCheckpointSigner(signer).
		WithCheckpointInterval(server.SharedCheckpointInterval).WithBatching(256, 10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	return a, reader
}

func newSigner(t *testing.T) note.Signer {
	t.Helper()
	secret, _, err := note.GenerateKey(rand.Reader, "storage.example/test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testDriver: what was appended is published, and stands where Log says.
func testDriver(t *testing.T, open func() *server.Storage) {
	ctx := t.Context()
	a, _ := appender(t, open(), newSigner(t))
	add := func(entry []byte) uint64 {
		t.Helper()
		if q := open().Sequencer; q != nil {
			index, ok, err := q.Append(ctx, entry, nil, []string{string(entry)}, nil)
			if err != nil || !ok {
				t.Fatalf("%v, %v", ok, err)
			}
			return index
		}
		index, err := a.Add(ctx, tessera.NewEntry(entry))()
		if err != nil {
			t.Fatal(err)
		}
		return index.Index
	}
	for i := range uint64(3) {
		if index := add(fmt.Append(nil, "entry ", i)); index != i {
			t.Fatalf("entry %d has index %d", i, index)
		}
	}
	var text string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if b, err := open().Log.Read(ctx, "checkpoint"); err == nil {
			if text = string(b); strings.HasPrefix(text, "storage.example/test\n3\n") {
				break
			}
		}
	}
	if !strings.HasPrefix(text, "storage.example/test\n3\n") {
		t.Fatalf("published: %q", text)
	}
	bundle, err := open().Log.Read(ctx, "tile/entries/000.p/3")
	if err != nil || !bytes.Contains(bundle, []byte("entry 1")) {
		t.Errorf("bundle: %q, %v", bundle, err)
	}
	tile, err := open().Log.Read(ctx, "tile/0/000.p/3")
	if err != nil || !bytes.HasPrefix(tile, rfc6962.DefaultHasher.HashLeaf([]byte("entry 0"))) {
		t.Errorf("tile: %x, %v", tile, err)
	}
	if size, _, err := open().Tree.State(ctx); err != nil || size != 3 {
		t.Errorf("state: %d, %v", size, err)
	}
}
