package server

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"os"
	"path/filepath"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/internal/payload"
)

// A Storage is what a ledger stands on: a Directory, or what several front ends
// share. Package storagetest holds one to what is said here.
type Storage struct {
	Name    string // for people: a directory, a URL
	Log     Files  // the log, by the paths of c2sp.org/tlog-tiles
	Tree    Tree
	Addenda Addenda
	Files   Files  // the checkpoints of days, evidence, and how far holds are
	Holder  Holder // nil where nothing keeps addenda from the storage's own operator

	// Driver gives Tessera what it integrates and publishes by. The client is for
	// its requests to witnesses.
	Driver func(ctx context.Context, client *http.Client) (tessera.Driver, error)
	// Sequencer is where front ends meet. With none, one process at a time writes
	// the log, by Tessera's own.
	Sequencer Sequencer
	// Lock keeps others from writing, where the storage is one process's.
	Lock func() (io.Closer, error)
}

// Files are small files by name; a name has slashes between its parts.
type Files interface {
	// Read returns a file; the error is fs.ErrNotExist where there is none.
	Read(ctx context.Context, name string) ([]byte, error)
	// Write writes a file whole, in place of one that was there. When it returns nil
	// the file is durable.
	Write(ctx context.Context, name string, content []byte) error
	// Create is Write, unless there is a file of the name: then the error is
	// fs.ErrExist. Of several at once one succeeds.
	Create(ctx context.Context, name string, content []byte) error
	// List returns the names that begin with prefix, which ends in a slash, in
	// alphabetical order.
	List(ctx context.Context, prefix string) ([]string, error)
	// Remove removes a file; one that is not there is no error.
	Remove(ctx context.Context, name string) error
}

// Addenda are the log's addenda by their digests.
type Addenda interface {
	// Put stores what r gives, at most max bytes. When it returns nil the bytes are
	// durable. created is false where they were there. Bytes that do not have the
	// digest are payload.ErrDigest, more of them payload.ErrTooLarge.
	Put(digest ledger.Hash, r io.Reader, max int64) (created bool, err error)
	// Open returns a reader that ends in payload.ErrDigest, and not in io.EOF, where
	// the bytes have decayed.
	Open(digest ledger.Hash) (r io.ReadCloser, found bool, err error)
	Size(digest ledger.Hash) (size int64, found bool, err error)
	// Delete removes an addendum for good; one that is not there is no error.
	Delete(digest ledger.Hash) error
	// List gives each addendum; the zero hash stands for what is none.
	List() iter.Seq2[ledger.Hash, error]
}

// A Holder keeps addenda from being deleted, by anybody who may delete there.
type Holder interface {
	// Hold keeps an addendum, in each version that there is, from being deleted, or no
	// longer does. One that is not there is no error.
	Hold(ctx context.Context, digest ledger.Hash, on bool) error
}

// A Tree is the state of the tree as far as it is durable.
type Tree interface {
	// State returns the number of entries and the root over them; fs.ErrNotExist
	// where there is no state.
	State(ctx context.Context) (size uint64, root []byte, err error)
	// Set has the log go on from here: heads are the ends of the chains of all its
	// entries. It fails where the storage has given places beyond size.
	Set(ctx context.Context, size uint64, root []byte, heads map[string]Head) error
}

// A Head is where a chain of entries ends: the newest entry's leaf hash, and its
// index in the log.
type Head = struct {
	Leaf  ledger.Hash
	Index uint64
}

// A Sequencer gives entries their places in the log, and so decides between front
// ends. What each of them knows of the log is what it has read there: an entry is
// given a place only where the chains still end where its front end judged it.
type Sequencer interface {
	// Append gives an entry the next place, if each chain of expect ends in the leaf
	// that stands there, or, with the zero hash, is empty, and none of needs is
	// withheld. The chains of sets then end in this entry. ok is false, and nothing
	// is done, where that is not so. When it returns ok the entry is durable, and
	// becomes part of the tree by itself. An entry that has its place already keeps
	// it. After an error the entry may have one or not: asked again, Append goes on.
	Append(ctx context.Context, entry []byte, expect map[string]ledger.Hash, sets []string, needs []ledger.Hash) (index uint64, ok bool, err error)
	// Heads returns where chains end, all of them where no name is given, and how
	// many places were given.
	Heads(ctx context.Context, names ...string) (heads map[string]Head, next uint64, err error)
	// Withhold lets no entry have a place that needs an addendum, which is about to
	// be removed, until Release. Entries that need it have places below next. ok is
	// false where another withholds it.
	Withhold(ctx context.Context, digest ledger.Hash) (next uint64, ok bool, err error)
	Release(ctx context.Context, digest ledger.Hash) error
}

// Directory is the storage of one process: everything is in one directory, which is
// made if it does not exist once something is written.
func Directory(dir string) *Storage {
	log := dirFiles(filepath.Join(dir, logDir))
	return &Storage{
		Name: dir, Log: log, Tree: dirTree{log}, Files: dirFiles(dir), Addenda: payload.View(filepath.Join(dir, addendaDir)),
		Driver: func(ctx context.Context, client *http.Client) (tessera.Driver, error) {
			return posix.New(ctx, posix.Config{Path: string(log), HTTPClient: client})
		},
		Lock: func() (io.Closer, error) {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return nil, err
			}
			return lockFile(filepath.Join(dir, "lock"))
		},
	}
}

// dirFiles implements Files in a directory.
type dirFiles string

func (d dirFiles) path(name string) string { return filepath.Join(string(d), filepath.FromSlash(name)) }

func (d dirFiles) Read(_ context.Context, name string) ([]byte, error) {
	return os.ReadFile(d.path(name))
}

func (d dirFiles) Write(_ context.Context, name string, content []byte) error {
	return replaceFile(d.path(name), content, os.Rename)
}

func (d dirFiles) Create(_ context.Context, name string, content []byte) error {
	return replaceFile(d.path(name), content, func(from, to string) error {
		// A link, unlike a rename, takes nobody's place.
		if err := os.Link(from, to); err != nil {
			return err
		}
		return os.Remove(from)
	})
}

func (d dirFiles) List(_ context.Context, prefix string) (names []string, err error) {
	err = filepath.WalkDir(d.path(prefix), func(path string, e fs.DirEntry, err error) error {
		switch {
		case os.IsNotExist(err):
			return nil
		case err != nil:
			return err
		case e.IsDir() || e.Name()[0] == '.':
			return nil
		}
		name, err := filepath.Rel(string(d), path)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	return names, err
}

func (d dirFiles) Remove(_ context.Context, name string) error {
	if err := os.Remove(d.path(name)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// lock takes the storage's lock, if it has one.
func (s *Storage) lock() (unlock func() error, err error) {
	if s.Lock == nil {
		return func() error { return nil }, nil
	}
	l, err := s.Lock()
	if err != nil {
		return nil, err
	}
	return l.Close, nil
}
