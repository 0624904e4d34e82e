package gather

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sort"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// Segments gathers the segments of a host's chain from one sequence number to
// another, both included, with the enrolment that they stand under, and all that
// the entries name. Entries between that are no segments are part of it.
func (l *Ledger) Segments(ctx context.Context, host string, from, to uint64, o Options) (*Evidence, error) {
	c := l.collect(o)
	var list []*Entry
	for n := from; n <= to; {
		limit := int(min(to-n, chainPage-1)) + 1
		page, err := l.Client.HostChain(ctx, host, n, limit)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		if len(page.Entries) == 0 {
			return nil, errors.Join(found(ledger.EntryMissing, ledger.Subject(host, n), "the ledger's list of the host's chain does not have it"), c.Close())
		}
		for _, named := range page.Entries[:min(len(page.Entries), limit)] {
			e, err := l.chained(ctx, host, n, named)
			if err != nil {
				return nil, errors.Join(err, c.Close())
			}
			list = append(list, e)
			n++
		}
	}
	if err := c.segments(ctx, list); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c.Evidence, nil
}

// chainPage is how many entries of a chain are asked for at a time.
const chainPage = 1000

// Segment gathers one segment by its index in the log: see Segments.
func (l *Ledger) Segment(ctx context.Context, index uint64, o Options) (*Evidence, error) {
	e, err := l.Entry(ctx, index)
	if err != nil {
		return nil, err
	}
	if _, ok := e.Entry.(*ledger.Segment); !ok {
		return nil, found(ledger.EntryMissing, fmt.Sprintf("entry %d", index), "it is no segment, and the ledger says it is")
	}
	return l.SegmentOf(ctx, e, o)
}

// SegmentOf is Segment for an entry that was read.
func (l *Ledger) SegmentOf(ctx context.Context, e *Entry, o Options) (*Evidence, error) {
	c := l.collect(o)
	if err := c.segments(ctx, []*Entry{e}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c.Evidence, nil
}

// segments collects entries of one host's chain, which follow one another.
func (c *collection) segments(ctx context.Context, list []*Entry) error {
	for i, e := range list {
		switch s := e.Entry.(type) {
		case *ledger.Enrolment:
			if err := c.enrolment(ctx, e); err != nil {
				return err
			}
		case *ledger.Segment:
			if i == 0 {
				enrolment, err := c.l.enrolmentOf(ctx, s)
				if err != nil {
					return err
				}
				if err := c.enrolment(ctx, enrolment); err != nil {
					return err
				}
			}
			if err := c.segment(ctx, e, s, list[i+1:]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *collection) enrolment(ctx context.Context, e *Entry) error {
	if err := c.entry(ctx, e, c.l.Checkpoint()); err != nil {
		return err
	}
	s, ok := e.Entry.(*ledger.Enrolment)
	if !ok {
		return found(ledger.AKNotEnrolled, fmt.Sprintf("entry %d", e.Index), "it is no enrolment")
	}
	return c.addendum(ctx, ledger.FolderEvidence, e, s.Evidence)
}

// segment collects a segment. Its proof leads to the checkpoint that the host's next
// segment is anchored to, if there is one and it has this one: the earlier a
// checkpoint, the closer above it bounds the time. Else it leads to the newest.
func (c *collection) segment(ctx context.Context, e *Entry, s *ledger.Segment, later []*Entry) error {
	anchor, err := c.anchor(ctx, e, s)
	if err != nil {
		return err
	}
	if anchor != nil {
		c.add(ledger.SourceBytes(ledger.FolderAnchors, anchor, ledger.Hash{}))
	}
	in, err := c.newer(ctx, e, s, later)
	if err != nil {
		return err
	}
	if err := c.entry(ctx, e, in); err != nil {
		return err
	}
	if c.NoPayloads {
		return nil
	}
	err = c.addendum(ctx, ledger.FolderPayloads, e, s.Payload)
	var gone *client.Problem
	if errors.As(err, &gone) && gone.Status == http.StatusGone {
		return c.erasure(ctx, e, s, gone)
	}
	return err
}

// newer returns the checkpoint to prove an entry in.
func (c *collection) newer(ctx context.Context, e *Entry, s *ledger.Segment, later []*Entry) (*ledger.Checkpoint, error) {
	at := c.l.Checkpoint()
	var following *Entry
	for _, l := range later {
		if _, ok := l.Entry.(*ledger.Segment); ok {
			following = l
			break
		}
	}
	if len(later) == 0 {
		var err error
		following, err = c.l.HostEntry(ctx, s.Host, s.Sequence+1)
		var f *FindingError
		switch {
		case errors.As(err, &f) && f.Finding.Class() == ledger.Contradicted, ctx.Err() != nil:
			return nil, err
		case err != nil: // none, or not for us to read: the newest checkpoint will do
			return at, nil
		}
	}
	if following == nil {
		return at, nil
	}
	next, ok := following.Entry.(*ledger.Segment)
	if !ok || next.Anchor.Size <= e.Index || next.Anchor.Size > at.Size || next.Log != at.Origin {
		return at, nil
	}
	raw, err := c.anchor(ctx, following, next)
	if err != nil || raw == nil {
		return at, err
	}
	if checkpoint, err := c.l.Trust.Policy.Verify(raw); err == nil {
		return checkpoint, nil
	}
	return at, nil
}

// enrolmentOf returns the enrolment that a segment's AK was enrolled by.
func (l *Ledger) enrolmentOf(ctx context.Context, s *ledger.Segment) (*Entry, error) {
	l.mu.Lock()
	e := l.enrolments[s.AK]
	l.mu.Unlock()
	if e != nil && e.Entry.(*ledger.Enrolment).Host == s.Host {
		return e, nil
	}
	// A host has one AK at a time. So the entries under one stand together, and the
	// enrolment is the first of them.
	var failed error
	of := func(n uint64) ledger.Name {
		if failed != nil {
			return ""
		}
		if e, failed = l.HostEntry(ctx, s.Host, n); failed != nil {
			return ""
		}
		switch h := e.Entry.(type) {
		case *ledger.Segment:
			return h.AK
		case *ledger.Enrolment:
			return h.AK
		}
		return ""
	}
	first := uint64(0)
	if of(0) != s.AK {
		first = 1 + uint64(sort.Search(int(s.Sequence-1), func(i int) bool { return of(uint64(i)+1) == s.AK }))
	}
	if of(first) == s.AK {
		if h, ok := e.Entry.(*ledger.Enrolment); ok && h.Host == s.Host {
			l.mu.Lock()
			l.enrolments[s.AK] = e
			l.mu.Unlock()
			return e, nil
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, found(ledger.AKNotEnrolled, ledger.Subject(s.Host, s.Sequence), "the host's chain has no enrolment of AK %.16s… before it", s.AK)
}

// Proven gathers one entry of any kind by its index in the log, with all that it
// names: of a segment what Segment gathers.
func (l *Ledger) Proven(ctx context.Context, index uint64) (*Evidence, error) {
	e, err := l.Entry(ctx, index)
	if err != nil {
		return nil, err
	}
	c := l.collect(Options{})
	switch x := e.Entry.(type) {
	case *ledger.Segment:
		err = c.segments(ctx, []*Entry{e})
	case *ledger.Enrolment:
		err = c.enrolment(ctx, e)
	case *ledger.Appraisal:
		if err = c.entry(ctx, e, l.Checkpoint()); err == nil {
			err = c.addendum(ctx, ledger.FolderEvidence, e, x.Report)
		}
	default:
		err = c.entry(ctx, e, l.Checkpoint())
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c.Evidence, nil
}
