package search

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/gather"
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
