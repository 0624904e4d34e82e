package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// inMemory is the size in bytes up to which an addendum is read before it is looked
// at: a connection that breaks is then tried again. attempts is how often.
const (
	inMemory = 1 << 20
	attempts = 4
)

// A source gives what one entry names, from the ledger. It implements audit.Addenda,
// which hashes what it gets.
type source struct {
	w      *walk
	leaf   ledger.Hash
	denied bool // whether the caller may not read something of it
}

func (s *source) Open(digest ledger.Hash) (io.ReadCloser, bool, error) {
	r, err := s.w.open(s.leaf, digest)
	switch {
	case client.Refused(err):
		s.denied = true
		return nil, false, nil
	case client.Absent(err):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	return r, true, nil
}

// open reads an addendum, or the begin of a large one. What the ledger would say
// again it is not asked again.
func (w *walk) open(leaf, digest ledger.Hash) (r io.ReadCloser, err error) {
	for attempt := range attempts {
		if attempt > 0 {
			select {
			case <-w.ctx.Done():
				return nil, w.ctx.Err()
			case <-time.After(time.Duration(attempt) * 500 * time.Millisecond):
			}
		}
		if r, err = w.openOnce(w.ctx, leaf, digest); err == nil {
			return r, nil
		}
		var p *client.Problem
		if errors.As(err, &p) && p.Status < http.StatusInternalServerError && p.Status != http.StatusTooManyRequests {
			return r, err
		}
	}
	return nil, fmt.Errorf("addendum %x: tried %d times: %w", digest[:6], attempts, err)
}

func (w *walk) openOnce(ctx context.Context, leaf, digest ledger.Hash) (io.ReadCloser, error) {
	body, err := w.Ledger.OpenAddendum(ctx, leaf, digest)
	if err != nil {
		return nil, err
	}
	a := &addendum{walk: w, body: body, begin: w.buffers.Get().(*bytes.Buffer)}
	a.begin.Reset()
	n, err := io.Copy(a.begin, io.LimitReader(body, inMemory))
	if err != nil {
		a.Close()
		return nil, err
	}
	a.Reader = a.begin
	if n == inMemory {
		a.Reader = io.MultiReader(a.begin, body)
	}
	return a, nil
}

// An addendum is one that is being read. Its begin, which mostly is all of it, is in
// memory that the next one gets.
type addendum struct {
	io.Reader
	walk  *walk
	body  io.Closer
	begin *bytes.Buffer
}

// Close gives the memory back, so nothing may be read after it.
func (a *addendum) Close() error {
	if a.begin != nil {
		a.walk.buffers.Put(a.begin)
		a.begin, a.Reader = nil, nil
	}
	return a.body.Close()
}
