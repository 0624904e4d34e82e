package gather

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

// Options say what to gather.
type Options struct {
	NoPayloads bool // leave the records out: then nothing is said of them
}

// Evidence is what a ledger gave, to be checked here or written to a bundle.
type Evidence struct {
	Sources []ledger.BundleSource
	Absent  []Absent

	held  uint64   // bytes of addenda in memory
	spool *os.File // the others, one behind the other; nil for none
	end   int64    // of them in the file
}

// Absent is what an entry names and a ledger did not give.
type Absent struct {
	Leaf   ledger.Hash // of the entry
	Digest ledger.Hash // of the addendum
	Status int         // of HTTP: 401 and 403 not for the caller to read, 404 not there, 410 erased
}

// Close deletes what was kept on disk. The sources are then no longer good.
func (e *Evidence) Close() error {
	if e.spool == nil {
		return nil
	}
	f := e.spool
	e.spool = nil
	return f.Close()
}

// Open returns a file of the evidence, nil where it has none of that name.
func (e *Evidence) Open(folder string, h ledger.Hash) (io.ReadCloser, error) {
	for _, s := range e.Sources {
		if s.Folder == folder && s.Hash == h {
			return s.Open()
		}
	}
	return nil, nil
}

// inMemory is the size in bytes up to which all addenda of an evidence, and a bundle,
// are kept in memory; what is over it is in a file.
const inMemory = 4 << 20

// Check checks evidence as a stranger checks the bundle of it.
func (l *Ledger) Check(e *Evidence) (*audit.Report, error) {
	size := uint64(0)
	for _, s := range e.Sources {
		size += s.Size
	}
	var b bytes.Buffer
	var r io.ReaderAt
	if size <= inMemory {
		if err := ledger.WriteBundle(&b, e.Sources); err != nil {
			return nil, err
		}
		r, size = bytes.NewReader(b.Bytes()), uint64(b.Len())
	} else {
		f, err := unnamed()
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if err := ledger.WriteBundle(f, e.Sources); err != nil {
			return nil, err
		}
		end, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		r, size = f, uint64(end)
	}
	bundle, err := ledger.OpenBundle(r, int64(size))
	if err != nil {
		return nil, fmt.Errorf("the bundle that was made of the ledger's answers: %w", err)
	}
	return audit.CheckBundle(l.Trust, bundle)
}

// unnamed makes a file that is gone once it is closed.
func unnamed() (*os.File, error) {
	f, err := os.CreateTemp("", "imaledger-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// A collection is evidence that grows.
type collection struct {
	*Evidence
	Options
	l       *Ledger
	have    map[ledger.File]bool
	anchors map[ledger.Hash][]byte // by digest
}

func (l *Ledger) collect(o Options) *collection {
	return &collection{Evidence: &Evidence{}, Options: o, l: l, have: make(map[ledger.File]bool), anchors: make(map[ledger.Hash][]byte)}
}

func (c *collection) add(s ledger.BundleSource) {
	name := ledger.File{Folder: s.Folder, Hash: s.Hash}
	if !c.have[name] {
		c.have[name] = true
		c.Sources = append(c.Sources, s)
	}
}

// entry collects an entry with its proof in a checkpoint.
func (c *collection) entry(ctx context.Context, e *Entry, in *ledger.Checkpoint) error {
	if c.have[ledger.File{Folder: ledger.FolderLeaves, Hash: e.Leaf}] {
		return nil
	}
	proof, err := c.l.Prove(ctx, e.Index, in)
	if err != nil {
		return err
	}
	c.add(ledger.SourceBytes(ledger.FolderLeaves, e.Raw, ledger.Hash{}))
	c.add(ledger.SourceBytes(ledger.FolderProofs, proof.Marshal(), e.Leaf))
	return nil
}

// anchor reads the checkpoint that a segment is anchored to, nil where the ledger
// does not give it.
func (c *collection) anchor(ctx context.Context, e *Entry, s *ledger.Segment) ([]byte, error) {
	if raw, read := c.anchors[s.Anchor.Note]; read {
		return raw, nil
	}
	var b bytes.Buffer
	err := c.l.Client.AddendumOf(ctx, e.Leaf, s.Anchor.Note, ledger.MaxCheckpoint, &b)
	switch {
	case notGiven(err):
		c.Absent = append(c.Absent, Absent{e.Leaf, s.Anchor.Note, status(err)})
		return nil, nil
	case err != nil:
		return nil, otherAddendum(err, e, ledger.AnchorMismatch)
	}
	c.anchors[s.Anchor.Note] = b.Bytes()
	return b.Bytes(), nil
}

// notGiven reports whether a ledger has said that there is no such thing for the
// caller.
func notGiven(err error) bool { return client.Refused(err) || client.Absent(err) }

// otherAddendum makes a finding of bytes that are not those an entry names.
func otherAddendum(err error, e *Entry, code ledger.Code) error {
	var other *client.OtherBytesError
	if !errors.As(err, &other) {
		return err
	}
	return found(code, e.subject(), "the ledger gave bytes with SHA-256 %x, the entry names %x", other.Got, other.Want)
}

// addendum collects what an entry names. The error of one that was erased is the
// ledger's *client.Problem.
func (c *collection) addendum(ctx context.Context, folder string, e *Entry, a ledger.Addendum) error {
	if c.have[ledger.File{Folder: folder, Hash: a.Digest}] {
		return nil
	}
	source, err := c.fetch(ctx, folder, e, a)
	switch n := status(err); {
	case err == nil:
		c.add(source)
		return nil
	case notGiven(err):
		c.Absent = append(c.Absent, Absent{e.Leaf, a.Digest, n})
		if n == http.StatusGone {
			return err
		}
		return nil
	}
	code := ledger.PayloadDigest
	if folder == ledger.FolderEvidence {
		code = ledger.EnrolmentEvidenceInvalid
	}
	return otherAddendum(err, e, code)
}

func (c *collection) fetch(ctx context.Context, folder string, e *Entry, a ledger.Addendum) (ledger.BundleSource, error) {
	if a.Size <= inMemory && c.held+a.Size <= inMemory {
		var b bytes.Buffer
		err := c.l.Client.AddendumOf(ctx, e.Leaf, a.Digest, int64(a.Size), &b)
		c.held += uint64(b.Len())
		return ledger.SourceBytes(folder, b.Bytes(), ledger.Hash{}), err
	}
	if c.spool == nil {
		var err error
		if c.spool, err = unnamed(); err != nil {
			return ledger.BundleSource{}, err
		}
	}
	w := io.NewOffsetWriter(c.spool, c.end)
	if err := c.l.Client.AddendumOf(ctx, e.Leaf, a.Digest, int64(a.Size), w); err != nil {
		return ledger.BundleSource{}, err // and the next one is written over it
	}
	size, err := w.Seek(0, io.SeekCurrent)
	if err != nil {
		return ledger.BundleSource{}, err
	}
	f, at := c.spool, c.end
	c.end += size
	open := func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(f, at, size)), nil }
	return ledger.BundleSource{File: ledger.File{Folder: folder, Hash: a.Digest, Size: uint64(size), Digest: a.Digest}, Open: open}, nil
}

// erasure collects the statement that accounts for erased records: the ledger names
// it, and the check holds it to its signature, its policy and the segment.
func (c *collection) erasure(ctx context.Context, e *Entry, s *ledger.Segment, gone *client.Problem) error {
	leaf, err := ledger.ParseHash(gone.Erasure)
	if err != nil {
		return nil // it names none: then the check finds that the records are missing
	}
	erasure, err := c.l.ByLeaf(ctx, leaf)
	if err != nil {
		if notGiven(err) {
			return nil
		}
		return err
	}
	x, ok := erasure.Entry.(*ledger.Erasure)
	if !ok {
		return found(ledger.StatementInvalid, ledger.Subject(s.Host, s.Sequence), "the ledger says that entry %x erased its records, and that is no erasure", leaf[:6])
	}
	if err := c.entry(ctx, erasure, c.l.Checkpoint()); err != nil {
		return err
	}
	policy, err := c.l.ByLeaf(ctx, x.Retention)
	if err != nil {
		if notGiven(err) {
			return nil
		}
		return err
	}
	return c.entry(ctx, policy, c.l.Checkpoint())
}
