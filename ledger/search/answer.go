package search

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/gather"
)

// pageSize is how many hits are asked for at a time.
const pageSize = 1000

// maxAnswer bounds what a ledger's answer may have in all, in bytes of memory: some
// hundred thousand hits.
const maxAnswer = 256 << 20

// Where several front ends serve a ledger, one may answer a search for a tree whose
// checkpoint another one sees some moments later. So long is it asked for again
// before the answer counts as one for a tree that there is not.
const (
	behindFor  = 3 * time.Second
	behindPoll = 200 * time.Millisecond
)

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
