package server

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/ima"
)

// find searches for a path, once the index has all that the log has, and returns
// host and place of each hit.
func (l *testLedger) find(t testing.TB, path string) (hits string, a *client.SearchAnswer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l.server.search.wait(ctx, 0)
	a, err := l.Search(t.Context(), &client.SearchQuery{Filter: ima.Filter{Path: path}})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range a.Hits {
		hits += fmt.Sprintf("%s/%d.%d ", h.Host, h.Sequence, h.Record)
	}
	return strings.TrimSpace(hits), a
}

// The index follows the log through restarts, is made again where it is not of this
// log, and forgets what is erased.
func TestSearchFollows(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	l.config.Search = true
	l.start(t)
	h, g := l.enrolHost(t, "h"), l.enrolHost(t, "g")
	first, _ := l.submit(t, h, "/bin/sh", "/bin/secret")
	l.submit(t, g, "/bin/sh")
	want := func(path, hits string) *client.SearchAnswer {
		t.Helper()
		got, a := l.find(t, path)
		if got != hits {
			t.Errorf("%s: %q, want %q", path, got, hits)
		}
		return a
	}
	a := want("/bin/sh", "h/1.1 g/1.1")
	if at := l.anchor(t); a.Size != at.Size || a.Root != fmt.Sprintf("%x", at.Root) || a.Log != testOrigin || a.Hosts[0] != "*" || a.Hits[0].NotBefore == 0 || a.Hits[0].NotAfter == 0 {
		t.Errorf("%+v", a)
	}
	l.restart(t)
	l.submit(t, h, "/bin/sh")
	want("/bin/sh", "h/1.1 g/1.1 h/2.0")

	// One that is damaged, and one of another log.
	dir := filepath.Join(l.config.Dir, indexDir)
	l.kill()
	other := newConfig(t, ledger.GradeSoftware)
	other.config.Search = true
	other.start(t)
	other.submit(t, other.enrolHost(t, "stranger"), "/bin/sh")
	other.find(t, "/bin/sh")
	other.kill()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(other.config.Dir, indexDir), dir); err != nil {
		t.Fatal(err)
	}
	l.start(t)
	want("/bin/sh", "h/1.1 g/1.1 h/2.0")

	policy := l.mustState(t, &ledger.Retention{Log: testOrigin, Policy: 1, Days: 30, Statement: "thirty days", Time: 1})
	l.pass(t, day, h)
	l.pass(t, 40*day, h)
	l.mustState(t, erasureOf(policy, first))
	a = want("/bin/secret", "")
	if a.Limits.States["erased"] != 1 || len(a.Limits.Runs) != 1 || a.Limits.Runs[0] != (client.SearchLimit{Host: "h", From: 1, To: 1, Segments: 1, State: "erased"}) {
		t.Errorf("%+v", a.Limits)
	}
	want("/bin/sh", "g/1.1 h/2.0")
	// The ledger names the erasure where the records were.
	if p := l.there(t, first); p == nil || len(p.Erasure) != 64 {
		t.Errorf("%+v", p)
	}
}

// A caller sees the hosts whose records he may read, and no others.
func TestSearchAccess(t *testing.T) {
	const all, web, nobody = "token of one who reads all", "token of one who reads web", "token of nobody at all"
	l := closedLedger(t, func(c *Config) {
		c.PublicUploads, c.Search = true, true
		c.Access = access(t, "auditor all token %s hosts *\nauditor web token %s hosts web-*\n", all, web)
	})
	for _, host := range []string{"web-1", "db-1"} {
		l.submit(t, l.enrolHost(t, host), "/bin/sh", "/bin/"+host)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l.server.search.wait(ctx, 0)
	for _, c := range []struct {
		token, query string
		status, hits int
	}{
		{"", "", http.StatusUnauthorized, 0}, {nobody, "", http.StatusForbidden, 0}, {all, "path=/bin/sh", http.StatusOK, 2}, {web, "path=/bin/sh", http.StatusOK, 1},
		{web, "path=/bin/db-1", http.StatusOK, 0}, {web, "", http.StatusOK, 3}, {all, "", http.StatusOK, 6}, {web, "host=db-1", http.StatusForbidden, 0},
		{web, "host=web-1&pattern=/bin/*", http.StatusOK, 2}, {all, "paht=/bin/sh", http.StatusBadRequest, 0}, {all, "limit=0", http.StatusBadRequest, 0},
	} {
		var resp *http.Response
		var b []byte
		if c.token == "" {
			resp, b = l.do(t, "GET", "/search?"+c.query, nil)
		} else {
			resp, b = l.as(t, c.token, "GET", "/search?"+c.query, nil)
		}
		if resp.StatusCode != c.status || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%q of %q: %s, want %d: %s", c.query, c.token, resp.Status, c.status, b)
			continue
		}
		if c.status == http.StatusOK {
			var a client.SearchAnswer
			decode(t, b, &a)
			if len(a.Hits) != c.hits {
				t.Errorf("%q of %q: %d hits, want %d", c.query, c.token, len(a.Hits), c.hits)
			}
		}
	}
	// Pages.
	resp, b := l.as(t, all, "GET", "/search?limit=4", nil)
	var a client.SearchAnswer
	decode(t, b, &a)
	if len(a.Hits) != 4 || a.Next == "" || !strings.Contains(resp.Header.Get("Link"), a.Next) || a.Limits == nil {
		t.Fatalf("%s", b)
	}
	_, b = l.as(t, all, "GET", a.Next, nil)
	var rest client.SearchAnswer
	decode(t, b, &rest)
	if len(rest.Hits) != 2 || rest.Next != "" || rest.Limits != nil {
		t.Errorf("%s", b)
	}
	// A ledger without an index says so, to those who may ask.
	plain := startLedger(t, ledger.GradeSoftware)
	_, err := plain.Search(t.Context(), &client.SearchQuery{})
	if p := problem(t, err, http.StatusNotFound, ""); !strings.Contains(p.Detail, "--search") {
		t.Errorf("%+v", p)
	}
}
