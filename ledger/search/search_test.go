package search

import (
	"context"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger/client"
)

// An endless answer has hits for whoever asks for more.
type endless struct {
	pages int
	stop  func()
}

func (e *endless) Search(ctx context.Context, q *client.SearchQuery) (*client.SearchAnswer, error) {
	if e.pages++; e.pages > 300 {
		e.stop()
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	a := &client.SearchAnswer{Log: "log.example", Size: 1 << 60, Hosts: []string{"*"}, Next: "/search?"}
	at := client.SearchPosition{}
	if q.After != nil {
		at = *q.After
	}
	for range q.Limit {
		at.Record++
		a.Hits = append(a.Hits, client.SearchHit{Host: "h", Index: at.Entry, Record: at.Record, Path: strings.Repeat("x", client.MaxSearchText)})
	}
	return a, nil
}

// TestEndless: an answer that has no end is given up, and one of which some hits are
// wanted is read no further than to these.
func TestEndless(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &Result{}
	e := &endless{stop: cancel}
	if hits, err := r.ask(ctx, e, &client.SearchQuery{}, Options{}); err == nil || ctx.Err() != nil {
		t.Errorf("%d hits of %d pages: %v", len(hits), e.pages, err)
	}
	e.pages = 0
	if hits, err := r.ask(ctx, e, &client.SearchQuery{}, Options{Limit: 1500}); err != nil || len(hits) != 1500 || e.pages != 2 || !r.More {
		t.Errorf("%d hits of %d pages, more: %v; %v", len(hits), e.pages, r.More, err)
	}
}
