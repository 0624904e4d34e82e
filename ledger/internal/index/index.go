// Package index finds records in a log by what they say: a Pebble database that
// follows the log and can be made again from it at any time.
//
// A fleet measures the same files on all its hosts. So what a record says is kept
// once, as a measurement with a number, and found by its digests, path, key IDs,
// register and template; of each record there are a posting, from the measurement to
// the segment, and a place in the segment's list of measurements. A pattern of paths
// is held against each path that the fleet has, not against each record.
//
//	M                       meta: what is applied, and of which log
//	e ENTRY                 a segment: whose, which, when, and how far it was read
//	h HOST 00 ENTRY         the same by host
//	l LEAF-HASH             the same by leaf hash
//	f ENTRY RECORD          the segment's measurements, in the order of its records, from one on
//	o MEASUREMENT ENTRY     a segment that has the measurement
//	m MEASUREMENT           what it says
//	u SHA-256               the measurement's number, by the hash of what it says
//	d SIZE DIGEST MEASUREMENT, p PATH 00 MEASUREMENT, k KEYID MEASUREMENT,
//	q PCR MEASUREMENT, x TEMPLATE 00 MEASUREMENT
//	w HOST 00 ENTRY         what limits the word of absence: see Limit
//	t SIZE                  when the log had so many entries, by a segment's anchor
//	s ENTRY                 a statement, for who judges the next ones
//
// ENTRY and MEASUREMENT are numbers that sort as bytes: their size in bytes, and as
// many bytes, big-endian. The rows of an entry, the size of the tree that has it and
// the hashes that lead to its root are written in one batch, but for records of a
// large segment, which no search sees before: after a crash the index
// has some first entries of the log, all of each, and goes on from there. What it
// answers goes no further than the newest verified checkpoint whose root its entries
// have.
//
// There is no write-ahead log: it would keep for a while what is erased, and what a
// crash loses is in the ledger. Batches reach the disk in their order.
package index

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/imaledger/imaledger/ledger"
)

// format is the version of the rows: an index of another one is made again. Version 1
// had no keys of appended signatures, version 2 one row f of a segment.
const format = 3

var (
	// ErrMismatch says that the index is not of the log that it follows: Reset it.
	ErrMismatch = errors.New("the index is not of this log")
	// ErrOtherLog is an ErrMismatch of a log by another name, which contradicts nothing.
	ErrOtherLog = fmt.Errorf("%w, which has another name", ErrMismatch)
	// ErrFailed says that the database failed, and with it the index, until it is
	// opened again.
	ErrFailed = errors.New("the index's database has failed")
)

// Config is what an Index is made of.
type Config struct {
	Dir    string         // made if it does not exist
	Policy *ledger.Policy // verifies anchors, which tell the time
	// Judge reports whether an operator's statement in the log, made for it, states
	// something. It is called for each, in their order, after Open for those that were
	// applied before.
	Judge  func(entry uint64, leaf ledger.Hash, s ledger.Statement) bool
	Logger *slog.Logger // default: none

	fs vfs.FS // nil for the disk
}

// An Index is open. Update, Reset and Close must not run at the same time as one
// another; searches may at any time before Close.
type Index struct {
	config Config
	db     *pebble.DB
	meta   meta
	tree   *compact.Range
	known  map[ledger.Hash]uint64 // some measurements' numbers
	times  anchorTimes
	newest newest
	unsafe uint64 // entries that were applied since all was on disk

	mu     sync.Mutex
	failed error
}

// meta is the row M. It changes with each batch.
type meta struct {
	Format  int
	Origin  string   // of the log; empty before the first entry
	Applied uint64   // entries
	Hashes  [][]byte // of the compact range of the tree of Applied entries
	// Checkpoint is the newest one that the entries were held to.
	Checkpoint []byte
	Verified   uint64 // its size
	Next       uint64 // number of the next new measurement
	Segments   uint64 // whose records are in it
	Records    uint64 // of them
	Part       uint64 // 1 + the entry whose records are there in part, 0 for none
	Deleted    bool   // whether files may have rows that were deleted
}

// Open opens the index in config.Dir, or starts an empty one. One of another format
// is begun anew.
func Open(config Config) (*Index, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Judge == nil || config.Policy == nil {
		return nil, errors.New("index: a policy, and a judge of statements, are needed")
	}
	x := &Index{config: config, known: make(map[ledger.Hash]uint64), times: newAnchorTimes(config.Policy)}
	options := &pebble.Options{
		Logger: logger{config.Logger}, CacheSize: cacheSize, MemTableSize: memTableSize, FormatMajorVersion: pebble.FormatNewest,
		DisableWAL: true, MaxManifestFileSize: manifestSize, FS: config.fs,
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // bits a key; one in a hundred new measurements is looked for in vain
	}
	options.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionGood })
	var err error
	if x.db, err = pebble.Open(config.Dir, options); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	if err := x.load(); err != nil {
		return nil, errors.Join(err, x.db.Close())
	}
	return x, nil
}

// Sizes in bytes, of a ledger with some 10^8 records.
const (
	cacheSize    = 64 << 20
	memTableSize = 32 << 20
	manifestSize = 1 << 20 // it has keys, and so names that are erased, until it is begun anew
)

func (x *Index) load() error {
	value, found, err := get(x.db, []byte{rowMeta})
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	x.meta = meta{Format: format}
	if found {
		if err := unmarshalMeta(value, &x.meta); err != nil {
			return x.Reset()
		}
	}
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	if x.tree, err = factory.NewRange(0, x.meta.Applied, x.meta.Hashes); err != nil {
		return x.Reset()
	}
	return x.rejudge()
}

func unmarshalMeta(b []byte, m *meta) error {
	if err := json.Unmarshal(b, m); err != nil || m.Format != format {
		return errors.Join(errRow, err)
	}
	return nil
}

// rejudge shows the judge the statements that were applied before.
func (x *Index) rejudge() error {
	return scan(x.db, []byte{rowStatement}, func(key, value []byte) error {
		entry, _, err := number(key[1:])
		if err != nil {
			return err
		}
		e, err := ledger.ParseEntry(value)
		if err != nil {
			return fmt.Errorf("index: statement %d: %w", entry, err)
		}
		if s, ok := e.(ledger.Statement); ok && s.LogOrigin() == x.meta.Origin {
			x.config.Judge(entry, ledger.LeafHash(value), s)
		}
		return nil
	})
}

// Reset forgets everything. The judge must then be a new one: open the index again.
func (x *Index) Reset() error {
	batch := x.db.NewBatch()
	if err := batch.DeleteRange([]byte{0}, []byte{0xff}, nil); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	if err := batch.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	x.meta = meta{Format: format}
	clear(x.known)
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	x.tree = factory.NewEmptyRange(0)
	return nil
}

// Close closes the index.
func (x *Index) Close() error {
	if err := x.Failed(); err != nil {
		return err // its locks may be held for ever
	}
	if err := errors.Join(x.db.Flush(), x.db.Close()); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}

// Failed returns why the database failed, nil while it works.
func (x *Index) Failed() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failed
}

// fail notes that what is in memory is no longer what is on disk.
func (x *Index) fail(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.failed = fmt.Errorf("%w: %w", ErrFailed, err)
	return x.failed
}

// A Status says how far an index is.
type Status struct {
	Origin       string `json:"origin"`
	Size         uint64 `json:"size"`         // of the tree that searches answer for
	Applied      uint64 `json:"applied"`      // entries that were read
	Segments     uint64 `json:"segments"`     // whose records are in it
	Records      uint64 `json:"records"`      // of them
	Measurements uint64 `json:"measurements"` // that were told apart, since it was begun
	Bytes        uint64 `json:"bytes"`        // on disk
}

// Status returns how far the index is. It must not run at the same time as Update.
func (x *Index) Status() Status {
	return Status{x.meta.Origin, x.meta.Verified, x.meta.Applied, x.meta.Segments, x.meta.Records, x.meta.Next, x.db.Metrics().DiskSpaceUsage()}
}

// logger passes on what Pebble says.
type logger struct{ *slog.Logger }

func (l logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) { l.Error("index: " + fmt.Sprintf(format, args...)) }

// Fatalf is not expected to return: a commit failed. It must not end a ledger that
// can go on without searches, and so is caught where the commit was made.
func (l logger) Fatalf(format string, args ...any) {
	panic(&fatal{fmt.Errorf(format, args...)})
}

type fatal struct{ err error }

// caught turns the panic of Fatalf into an error.
func (x *Index) caught(err *error) {
	r := recover()
	if r == nil {
		return
	}
	f, ok := r.(*fatal)
	if !ok {
		panic(r)
	}
	*err = x.fail(f.err)
}
