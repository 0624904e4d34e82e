// Package answer answers a search as it is asked over HTTP from an index: a ledger's
// own, or an auditor's.
package answer

import (
	"context"
	"fmt"

	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/internal/index"
)

// maxRuns bounds the runs of segments in which absence is less than certain.
const maxRuns = 1000

// Search answers a query, whose Limit is set, for who may see the hosts that a function tells, nil for
// all.
func Search(ctx context.Context, x *index.Index, q *client.SearchQuery, hosts func(string) bool) (*client.SearchAnswer, error) {
	query := &index.Query{Filter: q.Filter, Host: q.Host, Hosts: hosts, Since: q.Since, Until: q.Until, Limit: q.Limit}
	if q.After != nil {
		query.After = &index.Position{Entry: q.After.Entry, Record: q.After.Record}
	}
	found, err := x.Search(ctx, query)
	if err != nil {
		return nil, err
	}
	a := &client.SearchAnswer{Log: found.Origin, Size: found.Size, Root: fmt.Sprintf("%x", found.Root), Hosts: []string{"*"}, Hits: []client.SearchHit{}}
	if q.After == nil {
		l, err := x.Limits(ctx, query, maxRuns)
		if err != nil {
			return nil, err
		}
		a.Limits = limits(l)
	}
	for _, h := range found.Hits {
		a.Hits = append(a.Hits, hit(h))
	}
	if found.More {
		last := found.Hits[len(found.Hits)-1].Position
		next := *q
		next.After, next.Size = &client.SearchPosition{Entry: last.Entry, Record: last.Record}, found.Size
		a.Next = "/search?" + next.Values().Encode()
	}
	return a, nil
}

func hit(h index.Hit) client.SearchHit {
	return client.NewSearchHit(&h.Facts, client.SearchHit{
		Host: h.Host, Sequence: h.Sequence, Index: h.Entry, Record: h.Record, InBoot: h.First + h.Record, NotBefore: h.NotBefore, NotAfter: h.NotAfter,
	})
}

func limits(l *index.Limits) *client.SearchLimits {
	a := &client.SearchLimits{States: make(map[string]uint64), Gaps: l.Gaps, Opaque: l.Opaque, Runs: []client.SearchLimit{}, More: l.More}
	for state, n := range l.Total {
		if state != index.Read {
			a.States[state.String()] = n
		}
	}
	for _, r := range l.Runs {
		a.Runs = append(a.Runs, client.SearchLimit{Host: r.Host, From: r.From, To: r.To, Segments: r.Segments, State: r.State.String(), Gaps: r.Gaps, Opaque: r.Opaque})
	}
	return a
}
