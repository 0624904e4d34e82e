package search

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/gather"
	"github.com/imaledger/imaledger/tpm/ima"
)

// workers is how many segments are fetched and checked at a time.
const workers = 4

// A proof is the work on a result's hits.
type proof struct {
	*Result
	l        *gather.Ledger
	q        *client.SearchQuery
	progress func(what string, done, total uint64)

	// Of a search whose segments were all read:
	covered uint64                         // entries that the answer is for
	unsaid  map[client.SearchPosition]bool // records that it does not name
	mu      sync.Mutex                     // guards what follows, and findings of the result
	missed  int                            // of them, those that it should
}

// prove fetches the segments of the hits and checks them, some at a time.
func (p *proof) prove(ctx context.Context, found []client.SearchHit) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	groups := make([][]client.SearchHit, 0, len(found))
	for i, h := range found {
		if i == 0 || h.Index != found[i-1].Index {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], h)
	}
	results := make([][]*Hit, len(groups))
	errs := make([]error, len(groups))
	next, done, mu := 0, 0, sync.Mutex{}
	var work sync.WaitGroup
	for range min(workers, len(groups)) {
		work.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= len(groups) || ctx.Err() != nil {
					return
				}
				results[i], errs[i] = p.segment(ctx, groups[i])
				mu.Lock()
				if done++; p.progress != nil {
					p.progress("proving", uint64(done), uint64(len(groups)))
				}
				mu.Unlock()
				if errs[i] != nil {
					cancel()
				}
			}
		})
	}
	work.Wait()
	for i, list := range results {
		if errs[i] != nil && !errors.Is(errs[i], context.Canceled) {
			return errs[i]
		}
		p.Hits = append(p.Hits, list...)
	}
	return errors.Join(errs...)
}

// segment proves the hits in one segment.
func (p *proof) segment(ctx context.Context, found []client.SearchHit) ([]*Hit, error) {
	var hits []*Hit
	for _, h := range found {
		hits = append(hits, &Hit{SearchHit: h, Findings: []ledger.Finding{}})
	}
	foreign := func(h *Hit, format string, args ...any) {
		h.Findings = append(h.Findings, ledger.Finding{Code: ledger.SearchForeign, Subject: hitName(&h.SearchHit), Text: fmt.Sprintf(format, args...)})
	}
	if found[0].Index >= p.l.Checkpoint().Size {
		return hits, nil // hold has found it
	}
	seg, report, ev, err := p.gather(ctx, found[0].Index)
	var finding *gather.FindingError
	switch {
	case errors.As(err, &finding):
		for _, h := range hits {
			h.Findings = append(h.Findings, finding.Finding)
		}
		return hits, nil
	case err != nil:
		return nil, err
	case seg == nil:
		for _, h := range hits {
			foreign(h, "entry %d is no segment", h.Index)
		}
		return hits, nil
	}
	defer ev.Close()
	leaf := fmt.Sprintf("%x", ledger.LeafHash(seg.Marshal()))
	var proven *audit.Segment
	for _, s := range report.Segments {
		if s.Leaf == leaf {
			proven = s
		}
	}
	for i, h := range hits {
		h.Leaf = leaf
		for _, f := range report.Findings {
			if f.Code != ledger.HistoryPartial { // one segment is shown, and not the chain
				h.Findings = append(h.Findings, f)
			}
		}
		if h.Host != seg.Host || h.Sequence != seg.Sequence {
			foreign(h, "entry %d is %s #%d", h.Index, seg.Host, seg.Sequence)
		}
		if h.Record >= seg.Count {
			foreign(h, "the segment has %d records", seg.Count)
		}
		if p.q.Host != "" && p.q.Host != seg.Host {
			foreign(h, "host %s was asked for", p.q.Host)
		}
		outside := proven != nil && (p.q.Until > 0 && proven.NotBefore > p.q.Until || proven.NotAfter > 0 && proven.NotAfter < p.q.Since)
		unsaid := p.unsaid[client.SearchPosition{Entry: h.Index, Record: h.Record}]
		switch {
		case outside && unsaid: // what was read is not asked for
			hits[i] = nil
		case outside:
			foreign(h, "its quote was made not before %s and not after %s, which is not when was asked for", audit.Time(proven.NotBefore), audit.Time(proven.NotAfter))
		case unsaid && (p.q.Since > 0 || p.q.Until > 0) && p.certainly(proven):
			p.omitted(&h.SearchHit)
		}
	}
	hits = slices.DeleteFunc(hits, func(h *Hit) bool { return h == nil })
	content, err := ev.Open(ledger.FolderPayloads, seg.Payload.Digest)
	if err != nil || content == nil {
		return hits, err // the report says what is missing
	}
	defer content.Close()
	// What is wrong with the list stands in the report.
	_ = each(seg, content, func(record uint64, rec *ima.Record) bool {
		for _, h := range hits {
			if h.Record != record {
				continue
			}
			facts := rec.Facts()
			if !p.q.Match(&facts) {
				foreign(h, "the record is %s, PCR %d, template %s, %s, which is not what was asked for", ima.Printable([]byte(facts.Path)), facts.PCR, ima.Printable([]byte(facts.Template)), digests(&facts))
			}
			// What is shown is what the record says, not what the index did.
			h.SearchHit = client.NewSearchHit(&facts, client.SearchHit{Host: seg.Host, Sequence: seg.Sequence, Index: h.Index, Record: record, InBoot: seg.First + record})
			h.Bound = rec.Bound()
			if proven != nil {
				h.Proven, h.Grade, h.NotBefore, h.NotAfter = proven.Replayed && report.Class() != ledger.Contradicted, proven.Grade, proven.NotBefore, proven.NotAfter
			}
		}
		return true
	})
	return hits, nil
}

// gather fetches the segment at an index, and checks it; nil for an entry that is
// none.
func (p *proof) gather(ctx context.Context, at uint64) (*ledger.Segment, *audit.Report, *gather.Evidence, error) {
	e, err := p.l.Entry(ctx, at)
	if err != nil {
		return nil, nil, nil, err
	}
	seg, ok := e.Entry.(*ledger.Segment)
	if !ok {
		return nil, nil, nil, nil
	}
	ev, err := p.l.SegmentOf(ctx, e, gather.Options{})
	if err != nil {
		return nil, nil, nil, err
	}
	report, err := p.l.Check(ev)
	if err != nil {
		return nil, nil, nil, errors.Join(err, ev.Close())
	}
	return seg, report, ev, nil
}

// certainly reports whether a segment's quote was made within the times that were
// asked for, whatever its clock.
func (p *proof) certainly(s *audit.Segment) bool {
	return s != nil && s.NotBefore > 0 && s.NotAfter > 0 && s.NotBefore >= p.q.Since && (p.q.Until == 0 || s.NotAfter <= p.q.Until)
}

func digests(f *ima.Facts) string {
	if len(f.Digests) == 0 {
		return "no digest"
	}
	return f.Digests[0].String()
}

// each reads a segment's records.
func each(seg *ledger.Segment, content io.Reader, f func(record uint64, rec *ima.Record) bool) error {
	list, err := audit.NewListReader(seg, content)
	if err != nil {
		return err
	}
	for n := uint64(0); ; n++ {
		rec, err := list.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !f(n, rec) {
			return nil
		}
	}
}
