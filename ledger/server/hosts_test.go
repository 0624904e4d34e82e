package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

func (l *testLedger) hosts(t *testing.T, query string, header ...string) (page client.HostList, names []string) {
	t.Helper()
	resp, b := l.doWith(t, "GET", "/hosts?"+query, nil, header...)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s", query, resp.Status, b)
	}
	decode(t, b, &page)
	for _, h := range page.Hosts {
		names = append(names, h.Host)
	}
	return page, names
}

// Hosts are listed by name and by their newest entry, narrowed by name and state,
// over pages; a rebuilt ledger lists the same.
func TestHosts(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	if page, _ := l.hosts(t, ""); page.Total != 0 || page.Hosts == nil {
		t.Errorf("%+v of an empty log", page)
	}
	a, b := l.enrolHost(t, "web-a"), l.enrolHost(t, "db-b")
	l.enrol(t, "web-c")
	l.submit(t, b, "/bin/1", "/bin/2")
	other := a.fork()
	l.submit(t, a, "/bin/1")
	anchor := l.anchor(t)
	twin, _ := other.segment(t, testOrigin, anchor, "/bin/2")
	if resp, _ := l.do(t, "POST", "/leaf", bytes.NewReader(twin)); resp.StatusCode != http.StatusConflict {
		t.Fatalf("a fork: %s", resp.Status)
	}
	check := func(conflict, whole string) {
		t.Helper()
		for query, want := range map[string]string{
			"": "db-b web-a web-c", "query=web": "web-a web-c", "query=nobody": "", "sort=newest": "web-a db-b web-c",
			"state=conflict": conflict, "state=enrolled": "web-c", "state=whole": whole, "state=gap": "", "state=erased": "",
			"sort=name&query=b": "db-b web-a web-c",
		} {
			page, names := l.hosts(t, query)
			if strings.Join(names, " ") != want || page.Total != uint64(len(names)) {
				t.Errorf("%s: %v of %d, want %s", query, names, page.Total, want)
			}
		}
		page, _ := l.hosts(t, "state=whole")
		if got := page.Hosts[0]; got.Segments != 1 || got.Records != 3 || got.Sequence != 1 || got.Grade != "software" {
			t.Errorf("%+v", got)
		}
	}
	check("web-a", "db-b")
	for _, sort := range []string{"name", "newest"} {
		var seen []string
		for after := ""; ; {
			page, names := l.hosts(t, url.Values{"limit": {"1"}, "sort": {sort}, "after": {after}}.Encode())
			if page.Total != 3 || len(names) != 1 {
				t.Fatalf("%+v", page)
			}
			if seen = append(seen, names...); page.Next == "" {
				break
			}
			after = page.Next
		}
		if _, whole := l.hosts(t, "sort="+sort); !slices.Equal(seen, whole) {
			t.Errorf("by %s, page by page: %v, want %v", sort, seen, whole)
		}
	}
	for _, bad := range []string{"state=x", "sort=x", "limit=0", "sort=newest&after=x", "query=" + strings.Repeat("x", 254)} {
		if resp, _ := l.do(t, "GET", "/hosts?"+bad, nil); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", bad, resp.Status)
		}
	}
	l.restart(t)
	check("", "db-b web-a") // a crash loses what was refused lately
}

// Where entries are private, a caller is told of his hosts as if there were no others.
func TestHostsPrivate(t *testing.T) {
	const auditor = "the web auditor's token"
	l := closedLedger(t, func(c *Config) {
		c.PrivateEntries = true
		c.Access = access(t, "auditor web token %s hosts web-*\n", auditor)
	})
	l.enrolHost(t, "web-1")
	l.enrolHost(t, "db-1")
	if resp, _ := l.do(t, "GET", "/hosts", nil); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger: %s", resp.Status)
	}
	if page, names := l.hosts(t, "", "Authorization", "Bearer "+auditor); page.Total != 1 || names[0] != "web-1" {
		t.Errorf("%+v", page)
	}
}

// BenchmarkHosts: a page of 10^5 hosts, by the dearest of its ways.
func BenchmarkHosts(b *testing.B) {
	r := newRoster()
	for i := range 100_000 {
		r.commit(ledger.Hash{}, &ledger.Enrolment{Host: fmt.Sprintf("host-%06d.example", i*7919%100_000), Grade: ledger.GradePinned}, uint64(i), nil)
	}
	c := &chains{roster: r}
	for b.Loop() {
		if list := c.listed("1.example"); len(list) != 10_000 {
			b.Fatal(len(list))
		}
	}
	if _, err := json.Marshal(c.listed("")); err != nil {
		b.Fatal(err)
	}
}
