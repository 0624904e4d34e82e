package search

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/internal/index"
	"github.com/imaledger/imaledger/tpm/ima"
)

// complete reads the records of every segment that the query's host selects, holds
// the answer to them, and returns the hits that there are. Its limits are then what
// was seen, and not what was said. Time is looked at when a hit is proven.
func (p *proof) complete(ctx context.Context, answered []client.SearchHit, limit int) ([]client.SearchHit, error) {
	said := make(map[client.SearchPosition]bool)
	for _, h := range answered {
		said[client.SearchPosition{Entry: h.Index, Record: h.Record}] = true
	}
	w := &walk{proof: p, state: audit.NewState(p.l.Trust)}
	w.state.SetOrigin(p.l.Checkpoint().Origin)
	if err := w.log(ctx); err != nil {
		return nil, err
	}
	p.covered, p.unsaid = p.Size, make(map[client.SearchPosition]bool)
	p.By, p.Size, p.Hosts = ByReading, p.TreeSize, []string{"*"}
	p.Limits = w.limits()
	for i, r := range p.Limits.Runs {
		if r.State == index.Missing.String() && i < maxOmitted {
			p.find(ledger.PayloadMissing, fmt.Sprintf("%s to #%d", ledger.Subject(r.Host, r.From), r.To), "the ledger does not give the records of %d segments, and no erasure accounts for them", r.Segments)
		}
	}
	hits := answered
	for i, h := range w.found {
		at := client.SearchPosition{Entry: h.Index, Record: h.Record}
		if said[at] {
			continue
		}
		hits = append(hits, h)
		p.unsaid[at] = true
		if p.q.Since == 0 && p.q.Until == 0 { // else its time is known when it is proven
			p.omitted(&w.found[i])
		}
	}
	slices.SortFunc(hits, func(a, b client.SearchHit) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Record, b.Record))
	})
	if limit > 0 && len(hits) > limit && p.q.Since == 0 && p.q.Until == 0 {
		p.More = true
		hits = hits[:limit]
	}
	return hits, nil
}

// omitted finds that the answer leaves a record out, unless that is newer than the
// answer.
func (p *proof) omitted(h *client.SearchHit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.Index >= p.covered {
		return
	}
	if p.missed++; p.missed <= maxOmitted {
		p.find(ledger.SearchOmitted, hitName(h), "entry %d has it, and the answer, which is for %d entries, does not", h.Index, p.covered)
	}
}

// maxOmitted is how many records that an answer leaves out, runs of segments that are
// missing, or entries that are none, are named.
const maxOmitted = 10

// A walk reads a whole log.
type walk struct {
	*proof
	state *audit.State

	mu    sync.Mutex // guards what follows, and the result's findings
	found []client.SearchHit
	runs  map[ledger.Hash]*seen // of segments in which absence is not certain, by leaf
	order []ledger.Hash
}

// seen is a segment and what could not be read of it.
type seen struct {
	client.SearchLimit
	payload ledger.Hash
}

// log reads the log's entries in order, and the records of some segments at a time.
func (w *walk) log(ctx context.Context) error {
	w.runs = make(map[ledger.Hash]*seen)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	var failed error
	slots := make(chan struct{}, workers*2)
	size := w.l.Checkpoint().Size
	entries := &remote{client: w.l.Client, trust: w.l.Trust, tree: w.l.Tree}
	malformed := 0
	for at := uint64(0); at < size; {
		list, err := entries.Entries(ctx, at, w.l.Checkpoint())
		if err != nil {
			cancel()
			work.Wait()
			return errors.Join(failed, err)
		}
		for i, raw := range list {
			entry, err := ledger.ParseEntry(raw)
			if err != nil {
				if malformed++; malformed <= maxOmitted {
					w.mu.Lock()
					w.find(ledger.EntryMalformed, fmt.Sprintf("entry %d", at+uint64(i)), "%v", err)
					w.mu.Unlock()
				}
				continue
			}
			leaf := ledger.LeafHash(raw)
			switch e := entry.(type) {
			case *ledger.Segment:
				if w.q.Host != "" && w.q.Host != e.Host {
					continue
				}
				slots <- struct{}{}
				index := at + uint64(i)
				work.Go(func() {
					defer func() { <-slots }()
					if err := w.segment(ctx, index, leaf, e); err != nil {
						w.mu.Lock()
						failed = errors.Join(failed, err)
						w.mu.Unlock()
						cancel()
					}
				})
			case ledger.HostEntry:
			case ledger.Statement:
				work.Wait() // an erasure is of segments before it
				w.statement(leaf, e)
			}
		}
		at += uint64(len(list))
		if w.progress != nil {
			w.progress("reading", at, size)
		}
	}
	work.Wait()
	if malformed > maxOmitted {
		w.find(ledger.EntryMalformed, "the log", "%d more entries are none", malformed-maxOmitted)
	}
	return failed
}

// statement notes which segments an erasure that the policy bears out accounts for.
func (w *walk) statement(leaf ledger.Hash, s ledger.Statement) {
	j := w.state.Judge(leaf, s, nil)
	w.state.Commit(j)
	e, ok := s.(*ledger.Erasure)
	if !ok || ledger.Worst(j.Findings) == ledger.Contradicted {
		return
	}
	for _, x := range e.Erased {
		if r := w.runs[x.Leaf]; r != nil && r.State == index.Missing.String() && r.payload == x.Payload {
			r.State = index.Erased.String()
		}
	}
}

// segment reads one segment's records.
func (w *walk) segment(ctx context.Context, at uint64, leaf ledger.Hash, seg *ledger.Segment) error {
	limit := client.SearchLimit{Host: seg.Host, From: seg.Sequence, To: seg.Sequence, Segments: 1, State: index.Read.String()}
	if seg.Join.Kind == ledger.JoinGap {
		limit.Gaps = 1
	}
	r := &remote{client: w.l.Client, trust: w.l.Trust}
	content, err := r.Addendum(ctx, leaf, seg.Payload)
	if err != nil {
		return err
	}
	defer content.Close()
	digest := sha256.New()
	in := io.TeeReader(content, digest)
	var found []client.SearchHit
	n := uint64(0)
	err = each(seg, in, func(record uint64, rec *ima.Record) bool {
		facts := rec.Facts()
		if facts.Opaque {
			limit.Opaque++
		}
		if w.q.Match(&facts) {
			found = append(found, client.NewSearchHit(&facts, client.SearchHit{Host: seg.Host, Sequence: seg.Sequence, Index: at, Record: record, InBoot: seg.First + record}))
		}
		n++
		return true
	})
	var syntax *ima.SyntaxError
	if err == nil || errors.As(err, &syntax) {
		if _, copyErr := io.Copy(io.Discard, in); copyErr != nil {
			err = copyErr
		}
	}
	subject := ledger.Subject(seg.Host, seg.Sequence)
	var absent *index.AbsentError
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case errors.As(err, &absent):
		limit.State, found = absent.State.String(), nil
		if absent.State == index.Altered {
			w.find(ledger.PayloadDigest, subject, "%s", absent.Text)
		}
	case err != nil && !errors.As(err, &syntax):
		return fmt.Errorf("records of %s: %w", subject, err)
	case ledger.Hash(digest.Sum(nil)) != seg.Payload.Digest:
		limit.State, found = index.Altered.String(), nil
		w.find(ledger.PayloadDigest, subject, "the records are not the bytes that the leaf names")
	case err != nil || n != seg.Count:
		limit.State, found = index.Malformed.String(), nil
		w.find(ledger.ListMalformed, subject, "%d records can be read of %d: %v", n, seg.Count, err)
	}
	w.found = append(w.found, found...)
	if limit.State != index.Read.String() || limit.Gaps > 0 || limit.Opaque > 0 {
		w.runs[leaf] = &seen{limit, seg.Payload.Digest}
		w.order = append(w.order, leaf)
	}
	return nil
}

// limits sums up what could not be read.
func (w *walk) limits() *client.SearchLimits {
	l := &client.SearchLimits{States: make(map[string]uint64), Runs: []client.SearchLimit{}}
	var list []client.SearchLimit
	for _, leaf := range w.order {
		list = append(list, w.runs[leaf].SearchLimit)
	}
	slices.SortFunc(list, func(a, b client.SearchLimit) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.From, b.From))
	})
	for _, r := range list {
		l.Gaps, l.Opaque = l.Gaps+r.Gaps, l.Opaque+r.Opaque
		if r.State != index.Read.String() {
			l.States[r.State]++
		}
		if n := len(l.Runs); n > 0 && r.State != index.Read.String() {
			if last := &l.Runs[n-1]; last.Host == r.Host && last.State == r.State && last.To+1 == r.From {
				last.To, last.Segments, last.Gaps, last.Opaque = r.To, last.Segments+1, last.Gaps+r.Gaps, last.Opaque+r.Opaque
				continue
			}
		}
		l.Runs = append(l.Runs, r)
	}
	return l
}
