package server

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/search"
	"github.com/imaledger/imaledger/ledger/server/s3mysql/s3mysqltest"
	"github.com/imaledger/imaledger/tpm/ima"
)

// TestSearchNodes: of front ends that share a ledger some answer searches, each from
// an index of its own that follows the log, whichever of them took the entries.
func TestSearchNodes(t *testing.T) {
	c := s3mysqltest.Start(t).Config(t)
	list := startShared(t, c, 3)
	for _, l := range list[1:] {
		l.kill()
		l.config.Search = true
		l.start(t)
	}
	h, g := list[0].enrolHost(t, "h"), list[0].enrolHost(t, "g")
	first, _ := list[0].submit(t, h, "/bin/sh", "/bin/secret")
	list[1].submit(t, g, "/bin/sh")
	_, err := list[0].Search(t.Context(), &client.SearchQuery{})
	problem(t, err, http.StatusNotFound, "")
	found := func(l *testLedger, path, hits string) {
		t.Helper()
		var got string
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if got, _ = l.find(t, path); got == hits {
				return
			}
		}
		t.Errorf("%s: %q, want %q", path, got, hits)
	}
	for _, l := range list[1:] {
		found(l, "/bin/sh", "h/1.1 g/1.1")
	}

	// A page that follows another one's is for no smaller tree.
	q := &client.SearchQuery{Filter: ima.Filter{Path: "/bin/sh"}, Limit: 1}
	a, err := list[1].Search(t.Context(), q)
	if err != nil || len(a.Hits) != 1 || a.Next == "" {
		t.Fatalf("%+v, %v", a, err)
	}
	resp, b := list[2].do(t, http.MethodGet, a.Next, nil)
	var next client.SearchAnswer
	decode(t, b, &next)
	if resp.StatusCode != http.StatusOK || len(next.Hits) != 1 || next.Hits[0].Host != "g" {
		t.Errorf("%s: %s", a.Next, b)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	list[2].server.search.wait(ctx, a.Size+1)
	if resp, _ = list[2].do(t, http.MethodGet, fmt.Sprintf("/search?path=/bin/sh&size=%d", a.Size+1), nil); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("of a tree that it does not have: %s", resp.Status)
	}

	// All end, and the next to start sees an older checkpoint for some moments: that of
	// a front end that stood still while it was writing.
	older := list[1].anchor(t).Raw
	list[1].submit(t, h, "/bin/sh")
	for _, l := range list[1:] {
		found(l, "/bin/sh", "h/1.1 g/1.1 h/2.0")
	}
	// Who asks all of them is not told that the answer is of a tree that there is not.
	var asked atomic.Int64
	balancer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/checkpoint" && asked.Add(1) <= 2 {
			w.Write(older)
			return
		}
		list[2].server.ServeHTTP(w, r)
	}))
	defer balancer.Close()
	all := &client.Client{Base: balancer.URL}
	result, err := search.Run(t.Context(), all, all, list[0].config.Trust, &client.SearchQuery{Filter: ima.Filter{Path: "/bin/sh"}}, search.Options{Complete: true})
	if err != nil || len(result.Findings) != 0 || len(result.Hits) != 3 || asked.Load() < 3 {
		t.Errorf("%+v, %v", result, err)
	}
	for _, l := range list {
		l.kill()
	}
	if err := shared(t, c).Log.Write(t.Context(), "checkpoint", older); err != nil {
		t.Fatal(err)
	}
	same := filepath.Join(list[1].config.Dir, indexDir, "same")
	if err := os.WriteFile(same, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		l.config.Storage = shared(t, c)
		l.start(t)
	}
	list[0].submit(t, g, "/bin/sh")
	for _, l := range list[1:] {
		found(l, "/bin/sh", "h/1.1 g/1.1 h/2.0 g/2.0")
	}
	if _, err := os.Stat(same); err != nil {
		t.Errorf("the index was made anew: %v", err)
	}

	// What is erased at one is forgotten at all.
	policy := list[0].mustState(t, &ledger.Retention{Log: testOrigin, Policy: 1, Days: 2, Statement: "two days", Time: 1})
	list[0].pass(t, day, h)
	list[0].pass(t, 3*day, h)
	list[0].mustState(t, erasureOf(policy, first))
	for _, l := range list[1:] {
		found(l, "/bin/secret", "")
	}
}
