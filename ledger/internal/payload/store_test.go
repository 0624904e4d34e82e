package payload

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/imaledger/imaledger/ledger"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "a", "addenda"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// files lists what is under the store's directory.
func files(t *testing.T, s *Store) (list []string) {
	t.Helper()
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func put(t *testing.T, s *Store, content []byte) ledger.Hash {
	t.Helper()
	digest := ledger.Hash(sha256.Sum256(content))
	if _, err := s.Put(digest, bytes.NewReader(content), int64(len(content))); err != nil {
		t.Fatal(err)
	}
	return digest
}

func read(s *Store, digest ledger.Hash) ([]byte, error) {
	r, found, err := s.Open(digest)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fs.ErrNotExist
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestPutAndOpen(t *testing.T) {
	s := open(t)
	for _, size := range []int{0, 1, 511, 512, 513, 100_000} {
		content := bytes.Repeat([]byte{0xa7}, size)
		digest := ledger.Hash(sha256.Sum256(content))
		if _, found, err := s.Size(digest); found || err != nil {
			t.Fatalf("size %d: before: found %v, %v", size, found, err)
		}
		for i := range 2 {
			created, err := s.Put(digest, bytes.NewReader(content), int64(size))
			if err != nil || created != (i == 0) {
				t.Fatalf("size %d, put %d: created %v, %v", size, i, created, err)
			}
		}
		if n, found, err := s.Size(digest); n != int64(size) || !found || err != nil {
			t.Fatalf("size %d: Size gives %d, %v, %v", size, n, found, err)
		}
		got, err := read(s, digest)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("size %d: read %d bytes, %v", size, len(got), err)
		}
	}
	// The layout is the one that a static server serves.
	digest := put(t, s, []byte("layout"))
	if _, err := os.Stat(filepath.Join(filepath.Dir(s.dir), ledger.AddendumPath(digest))); err != nil {
		t.Fatal(err)
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

func TestRefusedPutLeavesNothing(t *testing.T) {
	broken := errors.New("connection lost")
	content := []byte("ten bytes.")
	digest := ledger.Hash(sha256.Sum256(content))
	for name, test := range map[string]struct {
		r    io.Reader
		max  int64
		want error
	}{
		"other bytes":   {strings.NewReader("ten bytes!"), 10, ErrDigest},
		"fewer bytes":   {strings.NewReader("ten byte"), 10, ErrDigest},
		"one too many":  {strings.NewReader("ten bytes.."), 10, ErrTooLarge},
		"over limit":    {bytes.NewReader(content), 9, ErrTooLarge},
		"broken upload": {io.MultiReader(strings.NewReader("ten"), failingReader{broken}), 10, broken},
	} {
		s := open(t)
		if _, err := s.Put(digest, test.r, test.max); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if list := files(t, s); len(list) > 0 {
			t.Errorf("%s: left %v", name, list)
		}
	}
}

// A refused put must not harm what is stored already.
func TestRefusedPutKeepsStored(t *testing.T) {
	s := open(t)
	digest := put(t, s, []byte("good"))
	if _, err := s.Put(digest, strings.NewReader("bad"), 100); !errors.Is(err, ErrDigest) {
		t.Fatal(err)
	}
	if got, err := read(s, digest); err != nil || string(got) != "good" {
		t.Fatalf("%q, %v", got, err)
	}
}

// Every bit of a file, flipped on disk, keeps a reader from the file's end.
func TestDecayIsNeverServed(t *testing.T) {
	s := open(t)
	content := []byte("records that a kernel made")
	digest := put(t, s, content)
	path := s.path(digest)
	for i := range content {
		for bit := range 8 {
			bad := bytes.Clone(content)
			bad[i] ^= 1 << bit
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			if got, err := read(s, digest); !errors.Is(err, ErrDigest) || len(got) == len(content) {
				t.Fatalf("byte %d bit %d: %d bytes, %v", i, bit, len(got), err)
			}
		}
	}
	for name, bad := range map[string][]byte{"cut": content[:9], "empty": {}, "longer": append(bytes.Clone(content), 0)} {
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := read(s, digest); !errors.Is(err, ErrDigest) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	// A second upload mends it.
	put(t, s, content)
	if got, err := read(s, digest); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("after mending: %q, %v", got, err)
	}
}

// The held-back end: whoever copies a decayed file of many pieces gets a part of
// it and an error.
func TestDecayInManyPieces(t *testing.T) {
	s := open(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	digest := put(t, s, content)
	bad := bytes.Clone(content)
	bad[5] ^= 1
	if err := os.WriteFile(s.path(digest), bad, 0o644); err != nil {
		t.Fatal(err)
	}
	r, _, err := s.Open(digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, r)
	if !errors.Is(err, ErrDigest) || n >= int64(len(content)) {
		t.Fatalf("%d of %d bytes, %v", n, len(content), err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, ErrDigest) {
		t.Fatalf("read after the failure: %v", err)
	}
}

func TestOpenClearsUnfinished(t *testing.T) {
	s := open(t)
	digest := put(t, s, []byte("stays"))
	// What a killed process leaves.
	if err := os.WriteFile(filepath.Join(s.dir, tempDir, "unfinished"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := Open(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if list := files(t, s); len(list) != 1 || list[0] != s.path(digest) {
		t.Fatalf("left %v", list)
	}
}

func TestConcurrentPuts(t *testing.T) {
	s := open(t)
	content := bytes.Repeat([]byte("same"), 5000)
	digest := ledger.Hash(sha256.Sum256(content))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := s.Put(digest, bytes.NewReader(content), 1<<20); err != nil {
				t.Error(err)
			}
			if got, err := read(s, digest); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	if list := files(t, s); len(list) != 1 {
		t.Fatalf("left %v", list)
	}
}
