package search

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/gather"
	"github.com/imaledger/imaledger/tpm/ima"
)

// pageSize is how many hits are asked for at a time.
const pageSize = 1000

// maxAnswer bounds what a ledger's answer may have in all, in bytes of memory: some
// hundred thousand hits.
const maxAnswer = 256 << 20

// workers is how many segments are fetched and checked at a time.
const workers = 4

// Where several front ends serve a ledger, one may answer a search for a tree whose
// checkpoint another one sees some moments later. So long is it asked for again
// before the answer counts as one for a tree that there is not.
const (
	behindFor  = 3 * time.Second
	behindPoll = 200 * time.Millisecond
)

// A Finder finds records, and need not be right: a *client.Client, or a *Node.
type Finder interface {
	Search(ctx context.Context, q *client.SearchQuery) (*client.SearchAnswer, error)
}

// Options say how to search.
type Options struct {
	// Own says that the Finder is an index of the caller's own, which has read the
	// whole log: what it does not find is not there.
	Own bool
	// Complete has the records of all segments that the query selects read, and so
	// finds what a foreign index leaves out.
	Complete bool
	Limit    int // hits to prove; 0 for all
	Progress func(what string, done, total uint64)
}

// A Result is the answer to a search. Its hits are proven, or say why not.
type Result struct {
	Log  string `json:"log"`
	Size uint64 `json:"size"` // of the tree that the answer is for
	// TreeSize and Witnessed are of the newest checkpoint: what the log has beyond
	// Size was not searched.
	TreeSize  uint64 `json:"treeSize"`
	Witnessed uint64 `json:"witnessed,omitempty"`
	// By says who vouches that no hit was left out: the caller's own index, the
	// caller, who has read all records, or the ledger alone.
	By    string   `json:"by"`
	Hosts []string `json:"hosts"` // patterns of the hosts that were searched
	Hits  []*Hit   `json:"hits"`
	More  bool     `json:"more"` // whether there are hits beyond Options.Limit
	root  string   // that the answer says it is of, hex
	// Limits say where that nothing was found says less.
	Limits   *client.SearchLimits `json:"limits"`
	Findings []ledger.Finding     `json:"findings"`
}

// Who vouches for the absence of hits.
const (
	ByOwnIndex = "own index"
	ByReading  = "all records read"
	ByLedger   = "the ledger's word"
)

// A Hit is a record, and what is proven of it.
type Hit struct {
	client.SearchHit
	Leaf string `json:"leaf"` // leaf hash of the segment, hex
	// Proven says that the log has the segment, and that the records, this one among
	// them, replay to its TPM quote.
	Proven bool `json:"proven"`
	// Bound says that a register binds what the record says: not for a violation, nor
	// for a register that the kernel cannot extend.
	Bound    bool             `json:"bound"`
	Grade    ledger.Grade     `json:"grade,omitempty"` // of the enrolment of the host's AK
	Findings []ledger.Finding `json:"findings"`
}

// Certain reports whether that nothing else was found says that there is nothing
// else: nobody's word is needed for it, and no segment's records are missing.
func (r *Result) Certain() bool {
	l := r.Limits
	return r.By != ByLedger && slices.Equal(r.Hosts, []string{"*"}) && !r.More && (l == nil || len(l.States) == 0 && l.Gaps == 0 && l.Opaque == 0)
}

// Class returns the result's verdict: what was found must be proven; where nothing
// was, that must be certain.
func (r *Result) Class() ledger.Class {
	class := ledger.Worst(r.Findings)
	for _, h := range r.Hits {
		if c := h.class(); c == ledger.Contradicted || class == ledger.Noted {
			class = c
		}
	}
	if class == ledger.Noted && len(r.Hits) == 0 && !r.Certain() {
		return ledger.Undecided
	}
	return class
}

// class is a hit's verdict. That records are missing before its segment, or a
// register beside it, says nothing against the hit.
func (h *Hit) class() ledger.Class {
	worst := ledger.Worst(slices.DeleteFunc(slices.Clone(h.Findings), func(f ledger.Finding) bool {
		return f.Code == ledger.Gap || f.Code == ledger.BootUnquoted
	}))
	if worst == ledger.Noted && !h.Proven {
		return ledger.Undecided
	}
	return worst
}

func (r *Result) find(code ledger.Code, subject, format string, args ...any) {
	r.Findings = append(r.Findings, ledger.Finding{Code: code, Subject: subject, Text: fmt.Sprintf(format, args...)})
}

// Run searches, and proves each hit from what the ledger gives. The error is for a
// ledger that does not answer; what it answers wrong is a finding of the result, or
// a *gather.FindingError where nothing can be said without.
func Run(ctx context.Context, f Finder, c *client.Client, trust *ledger.Trust, q *client.SearchQuery, o Options) (*Result, error) {
	r := &Result{By: ByLedger, Hits: []*Hit{}, Findings: []ledger.Finding{}}
	if o.Own {
		r.By = ByOwnIndex
	}
	found, err := r.ask(ctx, f, q, o)
	if err != nil {
		return nil, err
	}
	// After the search, so that the tree has what the index had.
	l, err := gather.Open(ctx, c, trust)
	for end := time.Now().Add(behindFor); err == nil && r.Size > l.Checkpoint().Size && time.Now().Before(end); {
		select {
		case <-time.After(behindPoll):
			l, err = gather.Open(ctx, c, trust)
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		return nil, err
	}
	at := l.Checkpoint()
	r.TreeSize, r.Witnessed = at.Size, trust.Policy.NotAfter(at)
	if err := r.hold(ctx, l, found); err != nil {
		return nil, err
	}
	p := &proof{Result: r, l: l, q: q, progress: o.Progress}
	if o.Complete {
		if found, err = p.complete(ctx, found, o.Limit); err != nil {
			return nil, err
		}
	}
	return r, p.prove(ctx, found)
}

// ask collects hits, as many as are wanted or, to hold them against what is read,
// all. They are somebody's word.
func (r *Result) ask(ctx context.Context, f Finder, q *client.SearchQuery, o Options) ([]client.SearchHit, error) {
	asked := *q
	var hits []client.SearchHit
	held := 0
	for first := true; ; first = false {
		asked.Limit = pageSize
		if o.Limit > 0 && !o.Complete {
			asked.Limit = min(pageSize, o.Limit-len(hits))
		}
		a, err := f.Search(ctx, &asked)
		if err != nil {
			return nil, err
		}
		if first {
			r.Log, r.Size, r.root, r.Hosts, r.Limits = a.Log, a.Size, a.Root, a.Hosts, a.Limits
		}
		for _, h := range a.Hits {
			at := client.SearchPosition{Entry: h.Index, Record: h.Record}
			if asked.After != nil && (at.Entry < asked.After.Entry || at.Entry == asked.After.Entry && at.Record <= asked.After.Record) {
				r.find(ledger.SearchForeign, hitName(&h), "the answer is not in the order of the log, or names a record twice")
				return hits, nil
			}
			if held += hitSize(&h); held > maxAnswer && !o.Own {
				return nil, fmt.Errorf("the ledger's answer goes on after %d hits: search for less, or prove the first of them (--limit)", len(hits))
			}
			asked.After, asked.Size = &at, max(asked.Size, a.Size)
			hits = append(hits, h)
		}
		switch {
		case a.Next == "" || len(a.Hits) == 0:
			return hits, nil
		case o.Limit > 0 && len(hits) >= o.Limit && !o.Complete:
			r.More = true
			return hits, nil
		}
	}
}

// hitSize is what a hit takes in memory, about.
func hitSize(h *client.SearchHit) int {
	n := 256 + len(h.Host) + len(h.Template) + len(h.Path)
	for _, list := range [][]string{h.Digests, h.KeyIDs} {
		for _, text := range list {
			n += 16 + len(text)
		}
	}
	return n
}

// hold compares what the answer says it is of with the log.
func (r *Result) hold(ctx context.Context, l *gather.Ledger, found []client.SearchHit) error {
	at := l.Checkpoint()
	switch {
	case r.Log == "" && r.Size == 0: // an index that has read nothing yet
		r.Log = at.Origin
	case r.Log != at.Origin:
		r.find(ledger.SearchForeign, "the answer", "it is of log %.64q, the checkpoint of %s", r.Log, at.Origin)
	case r.Size > at.Size:
		r.find(ledger.SearchForeign, "the answer", "it is for a tree of %d entries, and the newest checkpoint has %d", r.Size, at.Size)
	case r.Size > 0:
		root, err := ledger.ParseHash(r.root)
		if err == nil {
			err = l.Client.Consistent(ctx, &ledger.Checkpoint{Origin: at.Origin, Size: r.Size, Root: root}, at)
		}
		switch {
		case errors.Is(err, ledger.ErrConsistency):
			r.find(ledger.SearchForeign, "the answer", "it is for a tree of %d entries and root %.12s…, which the log does not have", r.Size, r.root)
		case err != nil:
			return err
		}
	}
	for i, h := range found {
		if h.Index >= min(r.Size, at.Size) {
			r.find(ledger.SearchForeign, hitName(&found[i]), "it is in entry %d, and the answer is for %d entries", h.Index, r.Size)
		}
	}
	return nil
}

func hitName(h *client.SearchHit) string {
	return fmt.Sprintf("%.64s #%d, record %d", h.Host, h.Sequence, h.Record)
}

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
