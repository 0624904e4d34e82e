// Package payload keeps the addenda of a log (c2sp.org/tlog-addenda) as files
// named by their SHA-256: <dir>/<first byte>/<second byte>/<SHA-256>, in hex, so
// that any static server can serve the directory as it stands.
//
// A file appears under its name only when all of it is on disk and has that
// digest. A reader never sees the end of a file whose bytes are no longer those
// of its name.
package payload

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/internal/durable"
)

// tempDir holds what is being written. Its name is no byte in hex, so it is
// never the directory of an addendum.
const tempDir = "incoming"

var (
	// ErrDigest reports bytes that are not those of the name they were given.
	ErrDigest = errors.New("the bytes do not have the SHA-256 that names them")
	// ErrTooLarge reports more bytes than the limit.
	ErrTooLarge = errors.New("larger than the limit")
)

// A Store is a directory of addenda. Its methods may be called at the same
// time, but one directory has one Store, but for views: opening it clears what
// an earlier process left unfinished.
type Store struct {
	dir string
	// mkdir is held while directories are made, so that nobody takes for durable
	// one that another has made and not yet synced.
	mkdir sync.Mutex
}

// Open opens the store in dir, which is made if it does not exist.
func Open(dir string) (*Store, error) {
	temp := filepath.Join(dir, tempDir)
	if err := os.RemoveAll(temp); err != nil {
		return nil, fmt.Errorf("payload store: clear unfinished uploads: %w", err)
	}
	if err := durable.MkdirAll(temp); err != nil {
		return nil, fmt.Errorf("payload store: %w", err)
	}
	return &Store{dir: dir}, nil
}

func (s *Store) path(digest ledger.Hash) string {
	return filepath.Join(s.dir, filepath.FromSlash(strings.TrimPrefix(ledger.AddendumPath(digest), "addenda/")))
}

// View returns the store in dir without clearing it: another process may write to it.
func View(dir string) *Store { return &Store{dir: dir} }

// Put stores what r gives, at most max bytes, under digest. When it returns nil
// the bytes are durable. created is false where the store had the addendum
// already: it is written again all the same, which mends one that has decayed.
// Where r gives other bytes the error is ErrDigest, where it gives more,
// ErrTooLarge, and nothing is left behind.
func (s *Store) Put(digest ledger.Hash, r io.Reader, max int64) (created bool, err error) {
	temp, err := s.writeTemp(digest, r, max)
	if err != nil {
		return false, fmt.Errorf("store addendum %x: %w", digest[:6], err)
	}
	_, had, err := s.Size(digest)
	if err == nil {
		err = s.publish(temp, s.path(digest))
	}
	if err != nil {
		os.Remove(temp)
		return false, fmt.Errorf("store addendum %x: %w", digest[:6], err)
	}
	return !had, nil
}

// writeTemp writes a file that has the digest, and makes its bytes durable.
func (s *Store) writeTemp(digest ledger.Hash, r io.Reader, max int64) (_ string, err error) {
	name := filepath.Join(s.dir, tempDir, hex.EncodeToString(digest[:])+"."+rand.Text())
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		// A view of a store that nobody has opened yet.
		if err = durable.MkdirAll(filepath.Dir(name)); err == nil {
			f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		}
	}
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			os.Remove(name)
		}
	}()
	h := sha256.New()
	// One byte over the limit is read, so that too much is told from enough.
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(r, max+1))
	switch {
	case err != nil:
		return "", err
	case n > max:
		return "", fmt.Errorf("%w of %d bytes", ErrTooLarge, max)
	case ledger.Hash(h.Sum(nil)) != digest:
		return "", fmt.Errorf("%d bytes with SHA-256 %x: %w", n, h.Sum(nil), ErrDigest)
	}
	return name, f.Sync()
}

// publish gives a finished file its name. The order is: bytes durable (before
// this), directories durable, then the name, then the name durable. A crash
// between any two leaves either nothing under the name or all of it.
func (s *Store) publish(temp, path string) error {
	s.mkdir.Lock()
	err := durable.MkdirAll(filepath.Dir(path))
	s.mkdir.Unlock()
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// Size returns an addendum's size in bytes; found is false where the store does
// not have it.
func (s *Store) Size(digest ledger.Hash) (size int64, found bool, err error) {
	info, err := os.Stat(s.path(digest))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("addendum %x: %w", digest[:6], err)
	}
	return info.Size(), true, nil
}

// Open returns a reader of an addendum; found is false where the store does not
// have it. The reader hashes as it reads and holds the last piece back until the
// digest is right: bytes that have decayed on disk end in ErrDigest, never in
// io.EOF.
func (s *Store) Open(digest ledger.Hash) (r io.ReadCloser, found bool, err error) {
	f, err := os.Open(s.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("addendum %x: %w", digest[:6], err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, false, fmt.Errorf("addendum %x: %w", digest[:6], err)
	}
	return NewReader(f, info.Size(), digest), true, nil
}

// Delete removes an addendum. When it returns nil it is gone for good; one that was
// not there is no error.
func (s *Store) Delete(digest ledger.Hash) error {
	path := s.path(digest)
	if err := os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("delete addendum %x: %w", digest[:6], err)
	}
	return durable.SyncDir(filepath.Dir(path))
}

// List gives the digest of each addendum, and the zero hash for each file that is
// none: an upload that was cut off.
func (s *Store) List() iter.Seq2[ledger.Hash, error] {
	return func(yield func(ledger.Hash, error) bool) {
		err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // an upload that has ended
			}
			if err != nil || d.IsDir() {
				return err
			}
			var digest ledger.Hash
			if b, err := hex.DecodeString(d.Name()); err == nil && len(b) == len(digest) {
				digest = ledger.Hash(b)
			}
			if !yield(digest, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(ledger.Hash{}, err)
		}
	}
}
