package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

func TestAddenda(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	l.config.MaxPayload = 1000
	l.start(t)
	content := []byte("ten bytes.")
	digest := sha256.Sum256(content)
	path := "/" + ledger.AddendumPath(digest)
	status := func(method, path string, body string, want int) {
		t.Helper()
		resp, b := l.do(t, method, path, strings.NewReader(body))
		if resp.StatusCode != want {
			t.Errorf("%s %s: %s, want %d: %s", method, path, resp.Status, want, b)
		}
		if want >= 400 && want != http.StatusMethodNotAllowed && resp.Header.Get("Content-Type") != client.ProblemType && len(b) > 0 {
			t.Errorf("%s %s: %s, want a problem: %s", method, path, resp.Header.Get("Content-Type"), b)
		}
	}
	status("GET", path, "", http.StatusNotFound)
	status("HEAD", path, "", http.StatusNotFound)
	status("PUT", path, "ten bytes!", http.StatusBadRequest)
	status("PUT", path, "", http.StatusBadRequest)
	status("PUT", path, strings.Repeat("x", 1001), http.StatusRequestEntityTooLarge)
	// The same without a Content-Length to tell it from.
	resp, _ := l.do(t, "PUT", path, io.MultiReader(strings.NewReader(strings.Repeat("x", 2000))))
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("chunked: %s", resp.Status)
	}
	status("PUT", path, string(content), http.StatusCreated)
	status("PUT", path, string(content), http.StatusOK)
	status("HEAD", path, "", http.StatusOK)
	resp, b := l.do(t, "GET", path, nil)
	if !bytes.Equal(b, content) || resp.Header.Get("Cache-Control") != cacheAddendum || resp.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%q, %v", b, resp.Header)
	}

	full := strings.Repeat("y", 1000)
	status("PUT", "/"+ledger.AddendumPath(sha256.Sum256([]byte(full))), full, http.StatusCreated)

	hex := fmt.Sprintf("%x", digest)
	for _, bad := range []string{
		"/addenda/" + hex[:2] + "/" + hex[2:4] + "/" + strings.ToUpper(hex),
		"/addenda/" + hex[2:4] + "/" + hex[:2] + "/" + hex,
		"/addenda/" + hex[:2] + "/" + hex[2:4] + "/" + hex[:62],
		"/addenda/" + hex[:2] + "/" + hex[2:4] + "/" + hex + "00",
		"/addenda/incoming/x/" + hex,
		"/addenda/%2e%2e/%2e%2e/" + hex,
		"/addenda/" + hex[:2] + "/" + hex[2:4] + "/..%2f..%2f..%2flock",
	} {
		status("GET", bad, "", http.StatusNotFound)
		status("PUT", bad, string(content), http.StatusNotFound)
	}
	resp, b = l.do(t, "GET", "/addenda.v1", nil)
	if resp.StatusCode != http.StatusOK || len(b) != 0 {
		t.Errorf("marker: %s %q", resp.Status, b)
	}

	// Private payloads: whoever uploads can ask whether he has to.
	l.kill()
	l.config.PublicPayloads = false
	l.start(t)
	status("GET", path, "", http.StatusUnauthorized)
	status("HEAD", path, "", http.StatusOK)
}

func TestBrokenUpload(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	digest := sha256.Sum256([]byte("never comes"))
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.http.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PUT /%s HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nnever", ledger.AddendumPath(digest))
	conn.Close()
	time.Sleep(50 * time.Millisecond)
	if _, found, err := l.HasAddendum(t.Context(), digest); found || err != nil {
		t.Fatalf("found %v, %v", found, err)
	}
	left, err := os.ReadDir(filepath.Join(l.config.Dir, "addenda", "incoming"))
	if err != nil || len(left) > 0 {
		t.Fatalf("left %v, %v", left, err)
	}
}

func TestPathsAreStrict(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	l.enrolHost(t, "h")
	for _, path := range []string{
		"/tile/0/000", "/tile/0/000.p/2", "/tile/0/000.p/0", "/tile/0/000.p/256", "/tile/0/000.p/01", "/tile/0/0", "/tile/00/000.p/1", "/tile/64/000.p/1",
		"/tile/0/x000/000.p/1", "/tile/0/000.p/1/", "/tile/0/", "/tile/", "/tile/entries/000", "/tile/entries/001.p/1", "/tile/entries/000.p/-1", "/tile/-1/000.p/1",
		"/tile/0/..%2f..%2f.state%2ftreeState", "/tile/..%2f.state/treeState", "/tile/entries/..%2f..%2flock", "/tile/1/000.p/1", "/tile/63/000",
		"/tile/0/x999/x999/x999/x999/x999/x999/999", "/.state/treeState", "/lock", "/evidence/conflicts", "/log/checkpoint", "/",
		"/host/h", "/host/H/head", "/host/%2e%2e/head", "/host/unknown/head", "/proof/", "/proof/xyz", "/proof/" + strings.Repeat("0", 63), "/proof/" + strings.Repeat("0", 64),
	} {
		if resp, body := l.do(t, "GET", path, nil); resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusMovedPermanently && resp.StatusCode != http.StatusTemporaryRedirect {
			t.Errorf("%s: %s %q", path, resp.Status, body)
		}
	}
	for path, media := range map[string]string{
		"/tile/0/000.p/1": "application/octet-stream", "/tile/entries/000.p/1": "application/octet-stream",
		"/checkpoint": "text/plain; charset=utf-8", "/host/h/head": "application/json", "/healthz": "application/json",
	} {
		resp, _ := l.do(t, "GET", path, nil)
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != media || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %s %v", path, resp.Status, resp.Header)
		}
		if tile := strings.HasPrefix(path, "/tile"); tile != (resp.Header.Get("Cache-Control") == immutable) {
			t.Errorf("%s: Cache-Control %q", path, resp.Header.Get("Cache-Control"))
		}
	}
	if resp, _ := l.do(t, "POST", "/checkpoint", nil); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /checkpoint: %s", resp.Status)
	}
}

// What the published checkpoint does not imply is not served, though it is on
// disk: after a crash it may come to be something else.
func TestUnpublishedTilesAreNotServed(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	l.enrolHost(t, "h")
	for _, path := range []string{"tile/entries/000.p/2", "tile/0/000.p/2"} {
		name := filepath.Join(l.config.Dir, "log", filepath.FromSlash(path))
		if err := os.WriteFile(name, []byte("a write that a crash cut off"), 0o644); err != nil {
			t.Fatal(err)
		}
		if resp, body := l.do(t, "GET", "/"+path, nil); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s %q", path, resp.Status, body)
		}
	}
}

func TestParseTilePath(t *testing.T) {
	for path, want := range map[string]uint64{
		"0/000": 256, "0/000.p/1": 1, "0/001.p/3": 259, "1/000": 65536, "1/000.p/2": 512, "entries/000.p/7": 7, "entries/x001/234": 1235 * 256,
	} {
		if name, _, end, ok := parseTilePath(path); !ok || end != want || name != "tile/"+path {
			t.Errorf("%s: %q, %d, %v; want %d", path, name, end, ok, want)
		}
	}
}

func FuzzParseTilePath(f *testing.F) {
	for _, s := range []string{"0/000", "entries/x001/234.p/5", "63/x001/000", "0/000.p/256", "../lock"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		name, level, end, ok := parseTilePath(path)
		if ok && (name != "tile/"+path || strings.Contains(name, "..") || !filepath.IsLocal(name) || end == 0 || level > maxLevel) {
			t.Errorf("%q: %q, level %d, end %d", path, name, level, end)
		}
	})
}

func TestPreferredWait(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": DefaultWait, "wait=0": 0, "wait=3": 3 * time.Second, "respond-async, wait=5": 5 * time.Second, `WAIT = "7"; foo`: 7 * time.Second,
		"wait=9999": MaxWait, "wait=-1": DefaultWait, "wait=x": DefaultWait, "wait=99999999999999999999": DefaultWait, "handling=lenient": DefaultWait,
	} {
		h := http.Header{}
		h.Set("Prefer", value)
		if got := preferredWait(h); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestBadRequests(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	for _, test := range []struct {
		path, body string
		want       int
	}{
		{"/leaf", strings.Repeat("x", ledger.MaxStatement+1), http.StatusRequestEntityTooLarge},
		{"/leaf", strings.Repeat("x", ledger.MaxStatement), http.StatusUnprocessableEntity},
		{"/enrol", "", http.StatusBadRequest},
		{"/enrol", "[]", http.StatusBadRequest},
		{"/enrol", `{"host":"h"}{}`, http.StatusBadRequest},
		{"/enrol", `{"host":"h","nonsense":1}`, http.StatusBadRequest},
		{"/enrol", `{"host":"h"}`, http.StatusUnprocessableEntity},
		{"/enrol", `{"host":"h","ak_public":"` + strings.Repeat("AAAA", 1000) + `"}`, http.StatusBadRequest},
		{"/enrol", strings.Repeat(" ", maxEnrolRequest+1), http.StatusRequestEntityTooLarge},
		{"/enrol/activate", `{}`, http.StatusForbidden},
	} {
		resp, body := l.do(t, "POST", test.path, strings.NewReader(test.body))
		var p client.Problem
		if err := json.Unmarshal(body, &p); err != nil || resp.StatusCode != test.want || p.Status != test.want || p.Title == "" || resp.Header.Get("Content-Type") != client.ProblemType {
			t.Errorf("%s %.40q: %s %s, want %d", test.path, test.body, resp.Status, body, test.want)
		}
	}
}

func TestBusy(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	for range maxSubmissions {
		if err := l.server.begin(); err != nil {
			t.Fatal(err)
		}
	}
	resp, _ := l.do(t, "POST", "/leaf", strings.NewReader("x"))
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	for range maxSubmissions {
		l.server.end()
	}
	if resp, _ := l.do(t, "POST", "/leaf", strings.NewReader("x")); resp.StatusCode != http.StatusUnprocessableEntity {
		t.Fatal(resp.Status)
	}
}

// Whoever waits for witnesses is let go when the ledger ends.
func TestDrainLetsWaitersGo(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	for _, w := range l.witnesses {
		w.away.Store(true)
	}
	l.start(t)
	h := newTestAK(t)
	done := make(chan error, 1)
	go func() {
		_, a, err := l.Enrol(t.Context(), client.EnrolRequest{Host: "h", AKPublic: h.ak}, client.MaxWait)
		if err == nil && a.Proof != "" {
			err = fmt.Errorf("a proof without witnesses")
		}
		done <- err
	}()
	for l.server.chains.host("h") == nil {
		time.Sleep(time.Millisecond)
	}
	l.server.Drain()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("still waiting")
	}
}

func BenchmarkAdmit(b *testing.B) {
	l := startLedger(b, ledger.GradeSoftware)
	h := l.enrolHost(b, "h")
	anchor := l.anchor(b)
	l.upload(b, anchor.Raw)
	for i := 0; b.Loop(); i++ {
		leaf, payload := h.segment(b, testOrigin, anchor, fmt.Sprint("/bin/", i))
		digest := sha256.Sum256(payload)
		if _, err := l.server.addenda.Put(digest, bytes.NewReader(payload), 1<<20); err != nil {
			b.Fatal(err)
		}
		if _, _, err := l.server.admit(leaf); err != nil {
			b.Fatal(err)
		}
		h.took(leaf)
	}
}
