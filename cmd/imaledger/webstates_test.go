package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// everyTheme looks at the state that is shown in each theme.
func (b *browser) everyTheme(name string) {
	b.t.Helper()
	for _, th := range themes {
		b.look(th)
		b.accessible(name + ", " + th.name)
		if wide := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
			b.t.Errorf("%s, %s: %d pixels wider than the window", name, th.name, wide)
		}
		b.shoot(name + "-" + th.name)
	}
	b.look(themes[0])
}

// TestWebStates: what is empty, loading, not public, absent or out of reach is said so,
// with what to do.
func TestWebStates(t *testing.T) {
	s, b := startSite(t), startBrowser(t)
	l := startLiar(t, s.url)
	b.open(l.url, "#/")
	b.pin(s)
	problem := func(prefix string, status int, title string) falsehood {
		return func(path string, was int, body []byte) (int, []byte) {
			if strings.HasPrefix(path, prefix) {
				return status, fmt.Appendf(nil, `{"title":%q,"status":%d}`, title, status)
			}
			return was, body
		}
	}
	for _, row := range []struct {
		name, hash string
		lie        falsehood
		want       string
	}{
		{"forbidden-segment", "#/hosts/web1.example/2", problem("/addenda/", 401, "this is not public"), "The records are not public"},
		{"forbidden-record", "#/hosts/web1.example/2/4", problem("/addenda/", 403, "not for this"), "This is not public"},
		{"forbidden-hosts", "#/hosts", problem("/hosts", 401, "this is not public"), "Show a token"},
		{"forbidden-host", "#/hosts/web1.example", problem("/host/", 401, "this is not public"), "Show a token"},
		{"failing-hosts", "#/hosts", problem("/hosts", 503, "try again in a moment"), "The server answers with a problem"},
		{"unreachable", "#/", answers("/checkpoint", 502), "The server answers with a problem"},
		{"absent-host", "#/hosts/nobody.example", nil, "It is not there"},
		{"absent-segment", "#/hosts/web1.example/77", nil, "the host's chain goes to 5"},
		{"absent-record", "#/hosts/web1.example/2/999", nil, "the segment has 67 records"},
		{"absent-entry", "#/entries/999", nil, "the checkpoint has 10 entries"},
		{"no-host-found", "#/hosts?query=nobody", nil, "None is called so"},
		{"hosts-by-state", "#/hosts?state=gap&sort=newest", nil, "None is called so, or is in that state"},
	} {
		if row.lie == nil {
			l.honest()
		} else {
			l.tell(row.lie)
		}
		b.run(reload)
		b.open(l.url, row.hash)
		if text := b.text("main"); !strings.Contains(text, row.want) || b.count(".verdict > .mark.verified") > 0 {
			t.Errorf("%s: want %q in\n%s", row.name, row.want, text)
		}
		b.everyTheme("state-" + row.name)
	}
	l.honest()

	// Loading: the answer is held back until the page was looked at.
	held := make(chan struct{})
	l.tell(func(path string, status int, body []byte) (int, []byte) {
		if strings.HasPrefix(path, "/hosts") {
			<-held
		}
		return status, body
	})
	eval[int](b, `location.hash = "#/hosts"; 0`)
	b.until(`!!document.querySelector("main .loading")`)
	b.everyTheme("state-loading")
	close(held)
	b.settled()
	b.clean(l.url)
}

// TestWebEmpty: a log in which nothing is yet.
func TestWebEmpty(t *testing.T) {
	s, b := newSite(t, time.Now), startBrowser(t)
	b.open(s.url, "#/trust")
	b.pin(s)
	for hash, want := range map[string]string{"#/": "The log is empty", "#/hosts": "No host was enrolled in this log yet", "#/status": "Witness quorum"} {
		b.open(s.url, hash)
		if text := b.text("main"); !strings.Contains(text, want) {
			t.Errorf("%s: want %q in\n%s", hash, want, text)
		}
		b.shoot("empty-" + strings.Trim(hash, "#/"))
	}
	b.clean(s.url)
}

// TestWebErased: records that an operator erased are shown as erased by policy, and the
// policy, a hold and a gap for what they are.
func TestWebErased(t *testing.T) {
	var ahead atomic.Int64
	s := newSite(t, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	host := s.hosts[0]
	seal := func() {
		t.Helper()
		if _, err := host.measure(20); err != nil {
			t.Fatal(err)
		}
		if _, err := host.seal(t.Context(), s.demo, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := host.boot(); err != nil {
		t.Fatal(err)
	}
	if err := host.enrol(t.Context(), s.demo); err != nil {
		t.Fatal(err)
	}
	seal()
	seal()
	key := filepath.Join(t.TempDir(), "operator.key")
	if err := os.WriteFile(key, []byte(s.operatorKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	operate := func(args ...string) {
		t.Helper()
		args = append(args, "--ledger", s.url, "--trust", filepath.Join(s.dir, "trust"), "--key", key)
		if code, out, talk := tool(t, args...); code != 0 {
			t.Fatalf("%q: %d\n%s%s", args, code, out, talk)
		}
	}
	operate("retention", "set", "--days", "30", "--statement", "thirty days <b>bold</b>")
	operate("hold", "--host", "db1.example", "--reason", "case 4711")
	for _, days := range []int64{1, 40} { // the witnesses must have seen the segments, and then the end of their days
		ahead.Store(days * int64(24*time.Hour))
		seal()
	}
	operate("erase", "--host", host.name, "--reason", "thirty days are over")

	b := startBrowser(t)
	b.open(s.url, "#/")
	b.pin(s)
	b.open(s.url, "#/hosts/web1.example/1")
	if text := b.text("main"); !strings.Contains(text, "The records were erased") || !strings.Contains(text, string(ledger.PayloadErased)) || b.count(".verdict > .mark.undecided") != 1 {
		t.Errorf("an erased segment:\n%s", text)
	}
	b.everyTheme("erased-segment")
	b.open(s.url, "#/hosts/web1.example")
	if text := b.text("main"); !strings.Contains(text, "3 erased by policy") || b.count(".blocks .erased") != 3 {
		t.Errorf("a host with erased segments:\n%s", text)
	}
	b.everyTheme("erased-host")
	b.open(s.url, "#/hosts?state=erased")
	if text := b.text("main"); !strings.Contains(text, "3 erased") {
		t.Errorf("the list:\n%s", text)
	}
	b.open(s.url, "#/status")
	if text := b.text("main"); !strings.Contains(text, "30 days") || !strings.Contains(text, "case 4711") || !strings.Contains(text, "<b>bold</b>") || b.count("main dd .mark.verified, main td .mark.verified") < 3 {
		t.Errorf("the status:\n%s", text)
	}
	b.everyTheme("status-retention")
	b.clean(s.url)

	// What the ledger says of a policy is not what is shown: its entry is.
	l := startLiar(t, s.url)
	l.tell(lieAt("/retention", func(body []byte) []byte {
		return bytes.ReplaceAll(bytes.ReplaceAll(body, []byte(`"days":30`), []byte(`"days":3000`)), []byte("case 4711"), []byte("case 9999"))
	}))
	b.open(l.url, "#/")
	b.pin(s)
	b.open(l.url, "#/status")
	if text := b.text("main"); l.told.Load() == 0 || strings.Contains(text, "3,000") || strings.Contains(text, "case 9999") || !strings.Contains(text, "30 days") {
		t.Errorf("another policy than the log has:\n%s", text)
	}
	holds := regexp.MustCompile(`"leaf":"[0-9a-f]{64}"`)
	l.tell(lieAt("/retention", func(body []byte) []byte {
		all := holds.FindAll(body, -1)
		return bytes.Replace(body, all[0], all[len(all)-1], 1) // the hold's
	}))
	b.open(l.url, "#/status")
	if text := b.text("main"); l.told.Load() == 0 || b.count("main p .mark.contradicted") != 1 || strings.Contains(text, "30 days") {
		t.Errorf("a hold for a policy:\n%s", text)
	}
}

// TestWebStatic: a file server with the log's files and the pages beside them is enough
// to find a host and verify it.
func TestWebStatic(t *testing.T) {
	s, b := startSite(t), startBrowser(t)
	files := http.NewServeMux()
	files.Handle("/", http.FileServer(http.Dir(filepath.Join(s.dir, "ledger", "log"))))
	files.Handle("/addenda/", http.FileServer(http.Dir(filepath.Join(s.dir, "ledger"))))
	files.Handle("/app/", http.StripPrefix("/app", http.FileServer(http.Dir("../../web/static"))))
	mirror := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := os.Stat(filepath.Join("../../web/static", filepath.Clean(r.URL.Path))); err == nil {
			r.URL.Path = "/app" + r.URL.Path
		}
		files.ServeHTTP(w, r)
	})}
	url, err := s.serve(mirror.Handler)
	if err != nil {
		t.Fatal(err)
	}
	b.open(url, "#/")
	b.pin(s)
	b.open(url, "#/hosts")
	if text := b.text("main"); !strings.Contains(text, "This server keeps no list") || b.count(".hosts tbody tr") != 2 {
		t.Errorf("hosts:\n%s", text)
	}
	for _, hash := range []string{"#/hosts/web1.example", "#/hosts/db1.example/3"} {
		b.open(url, hash)
		if mark := b.text(".verdict > .mark > summary"); mark != "✓ verified" {
			t.Errorf("%s: %q\n%s", hash, mark, b.text("main"))
		}
	}
	for hash, want := range map[string]string{"#/search?path=/bin/sh": "It serves the files of a log alone", "#/status": "This server does not say"} {
		b.open(url, hash)
		if text := b.text("main"); !strings.Contains(text, want) {
			t.Errorf("%s: want %q in\n%s", hash, want, text)
		}
	}
	b.clean(url)
}
