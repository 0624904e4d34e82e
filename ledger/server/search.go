package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/tessera/api/layout"
	tessera "github.com/transparency-dev/tessera/client"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/internal/answer"
	"github.com/imaledger/imaledger/ledger/internal/index"
	"github.com/imaledger/imaledger/ledger/internal/payload"
)

const (
	// indexDir is the index's folder in the ledger's directory. It may be deleted.
	indexDir = "index"
	// maxSearches bounds the searches at work: each may read much of the index.
	maxSearches = 8
	// searchTime bounds one of them.
	searchTime = 20 * time.Second
	// indexInterval is how often the index looks for new entries, and indexRetry how
	// long after a failure.
	indexInterval = 500 * time.Millisecond
	indexRetry    = 10 * time.Second
)

var errNoSearch = fmt.Errorf("%w: this ledger answers no searches (imaledgerd serve --search)", errNotFound)

// A searcher is the index that follows the ledger's own log. What becomes of it
// touches nothing else: a ledger without it takes entries all the same.
type searcher struct {
	source logSource
	dir    string
	slots  chan struct{}
	size   atomic.Uint64 // of the tree that it answers for
	cancel context.CancelFunc
	ended  chan struct{}

	mu sync.RWMutex // held to search, and to replace what follows
	x  *index.Index // nil while it cannot be opened
}

// openSearch starts the index, if the ledger is to answer searches.
func (s *Server) openSearch() {
	if !s.config.Search {
		return
	}
	ctx, cancel := context.WithCancel(s.log.ctx)
	s.search = &searcher{source: logSource{s}, dir: filepath.Join(s.config.Dir, indexDir), slots: make(chan struct{}, maxSearches), cancel: cancel, ended: make(chan struct{})}
	go s.search.follow(ctx)
}

// follow keeps the index at the log's newest checkpoint until the context ends.
func (x *searcher) follow(ctx context.Context) {
	defer close(x.ended)
	logger := x.source.config.Logger
	for ctx.Err() == nil {
		err := x.update(ctx)
		wait := indexInterval
		if err != nil && ctx.Err() == nil {
			wait = indexRetry
			logger.Error("the search index does not follow the log", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	x.replace(nil)
}

// replace closes the index that there is, and puts another in its place.
func (x *searcher) replace(with *index.Index) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.x != nil {
		if err := x.x.Close(); err != nil {
			x.source.config.Logger.Error("the search index does not close", "error", err)
		}
	}
	x.x = with
}

// update opens the index if it is not open, makes it anew if it is not of this log
// (after a restore it may be of entries that the log does not have), and
// follows the log.
func (x *searcher) update(ctx context.Context) error {
	if x.x == nil {
		opened, err := index.Open(index.Config{
			Dir: x.dir, Policy: x.source.config.Trust.Policy, Logger: x.source.config.Logger,
			// Admission has judged every statement of the log.
			Judge: func(uint64, ledger.Hash, ledger.Statement) bool { return true },
		})
		if err != nil {
			return err
		}
		x.replace(opened)
	}
	if x.source.log.newest.checkpoint() == nil {
		return nil
	}
	err := x.x.Update(ctx, x.source, nil)
	if errors.Is(err, index.ErrMismatch) || errors.Is(err, ledger.ErrConsistency) {
		x.source.config.Logger.Warn("the search index is not of this log and is made anew", "error", err)
		x.size.Store(0)
		x.replace(nil)
		return os.RemoveAll(x.dir)
	}
	x.size.Store(x.x.Status().Size)
	return err
}

func (x *searcher) close() {
	if x == nil {
		return
	}
	x.cancel()
	<-x.ended
}

// wait waits until the index has what the log had, or size entries where those are
// more, or the context ends.
func (x *searcher) wait(ctx context.Context, size uint64) {
	if at := x.source.log.newest.checkpoint(); at != nil {
		size = max(size, at.Size)
	}
	for x.size.Load() < size {
		select {
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// logSource is the ledger's own log. It implements index.Source.
type logSource struct{ *Server }

// Checkpoint implements index.Source. Where front ends share a log, one that has just
// started may see an older checkpoint than the one that its index has: the tree
// decides whether the index is of this log, and the index waits.
func (s logSource) Checkpoint(ctx context.Context, since *ledger.Checkpoint) (*ledger.Checkpoint, error) {
	at := s.log.newest.checkpoint()
	if since == nil {
		return at, nil
	}
	root, found, err := s.log.root(ctx, since.Size)
	if err != nil {
		return nil, err
	}
	if !found || root != since.Root {
		return nil, fmt.Errorf("the index is of a tree of %d entries that this log does not have: %w", since.Size, ledger.ErrConsistency)
	}
	return at, nil
}

// Entries implements index.Source.
func (s logSource) Entries(ctx context.Context, from uint64, of *ledger.Checkpoint) ([][]byte, error) {
	b, err := tessera.GetEntryBundle(ctx, s.log.reader.ReadEntryBundle, from/layout.EntryBundleWidth, of.Size)
	if err != nil {
		return nil, err
	}
	skip := from % layout.EntryBundleWidth
	if skip >= uint64(len(b.Entries)) {
		return nil, fmt.Errorf("entry %d: its bundle has %d entries", from, len(b.Entries))
	}
	return b.Entries[skip:], nil
}

// Addendum implements index.Source.
func (s logSource) Addendum(_ context.Context, _ ledger.Hash, a ledger.Addendum) (io.ReadCloser, error) {
	r, found, err := s.addenda.Open(a.Digest)
	if err == nil && !found {
		return nil, &index.AbsentError{State: index.Missing, Text: fmt.Sprintf("addendum %x", a.Digest[:6])}
	}
	return decaying{r}, err
}

// decaying tells the index of bytes that are no longer those of their name.
type decaying struct{ io.ReadCloser }

func (d decaying) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if errors.Is(err, payload.ErrDigest) {
		err = &index.AbsentError{State: index.Altered, Text: err.Error()}
	}
	return n, err
}

// getSearch answers a search: a caller sees the hosts whose records he may read.
func (s *Server) getSearch(w http.ResponseWriter, r *http.Request) error {
	q, err := client.ParseSearchQuery(r.URL.Query())
	if err != nil {
		return badRequest("%v", err)
	}
	if q.Limit, err = pageLimit(r.URL.Query().Get("limit")); err != nil {
		return err
	}
	var hosts func(string) bool
	patterns := []string{"*"}
	if !s.config.PublicPayloads || s.config.PrivateEntries {
		c, err := s.caller(r)
		switch {
		case err != nil:
			return err
		case c.grant == nil:
			return errNoCredentials
		case q.Host != "" && !c.grant.reads(q.Host):
			return errToldNobody
		}
		hosts, patterns = c.grant.reads, c.grant.hosts
	}
	if s.search == nil {
		return errNoSearch
	}
	wait, cancel := context.WithTimeout(r.Context(), preferredWait(r.Header))
	s.search.wait(wait, q.Size)
	cancel()
	a, err := s.search.answer(r.Context(), q, hosts)
	if err != nil {
		return err
	}
	a.Hosts = patterns
	if a.Next != "" {
		w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", a.Next))
	}
	writeJSON(w, http.StatusOK, "application/json", a)
	return nil
}

func (x *searcher) answer(ctx context.Context, q *client.SearchQuery, hosts func(string) bool) (*client.SearchAnswer, error) {
	select {
	case x.slots <- struct{}{}:
		defer func() { <-x.slots }()
	default:
		return nil, errBusy
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.x == nil {
		return nil, errBusy // it is being opened, or made anew
	}
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	a, err := answer.Search(ctx, x.x, q, hosts)
	if errors.Is(err, index.ErrBroad) || errors.Is(err, context.DeadlineExceeded) {
		return nil, badRequest("the search takes too long: name a host, a digest, or the begin of the path (%v)", err)
	}
	if err == nil && a.Size < q.Size {
		// The page before came from another front end, and here its end would lack.
		return nil, errBusy
	}
	return a, err
}
