package search

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/testlog"
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

// A silent index finds nothing.
type silent struct{ *testlog.Log }

func (s silent) Search(context.Context, *client.SearchQuery) (*client.SearchAnswer, error) {
	return &client.SearchAnswer{Log: s.Origin, Hosts: []string{"*"}}, nil
}

// TestMany: of a log of many entries each is read, the first of each file and the last,
// and of many that are none some are named.
func TestMany(t *testing.T) {
	l, err := testlog.New("log.example/many", 1)
	if err != nil {
		t.Fatal(err)
	}
	h, err := l.AddHost("a")
	if err != nil {
		t.Fatal(err)
	}
	const size = 2000
	for n := len(l.Entries); n < size; n = len(l.Entries) {
		switch n {
		case 255, 256, 1023, 1024, size - 1:
			if err := h.Measure(testlog.Files("/bin/sh")...); err != nil {
				t.Fatal(err)
			}
			_, err = l.Seal(h)
		default:
			_, err = l.Add(fmt.Append(nil, n))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s := httptest.NewServer(l.Ledger())
	defer s.Close()
	q := &client.SearchQuery{}
	q.Path = "/bin/sh"
	r, err := Run(t.Context(), silent{l}, &client.Client{Base: s.URL}, l.Trust, q, Options{Complete: true})
	if err != nil {
		t.Fatal(err)
	}
	malformed := 0
	for _, f := range r.Findings {
		if f.Code == ledger.EntryMalformed {
			malformed++
		}
	}
	if len(r.Hits) != 5 || r.Hits[4].Index != size-1 || malformed != maxOmitted+1 {
		t.Errorf("%d hits, %d entries are named that are none", len(r.Hits), malformed)
	}
}
