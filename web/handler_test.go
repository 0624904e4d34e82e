package web

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// The pages are small enough for a slow link, though they are served as they are
// written: nobody builds them. What is over is most of it the verifier's comments.
const (
	maxPages    = 180_000 // bytes of all that is not the verifier, before compression
	maxVerifier = 225_000
	maxSent     = 150_000 // bytes of all of it as they are sent
)

func TestSize(t *testing.T) {
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	pages, verifier, sent := 0, 0, 0
	for name, f := range h.files {
		switch {
		case name == "/":
			continue
		case strings.HasPrefix(name, "/verify/"):
			verifier += len(f.content)
		default:
			pages += len(f.content)
		}
		sent += len(f.gzip)
	}
	t.Logf("%d bytes of pages, %d of the verifier; %d as sent", pages, verifier, sent)
	if pages > maxPages || verifier > maxVerifier || sent > maxSent {
		t.Errorf("want at most %d, %d and %d", maxPages, maxVerifier, maxSent)
	}
}

// Each file is served with its type, under a policy that lets the page load nothing
// else and run nothing that is no file; all else is the next handler's.
func TestHandler(t *testing.T) {
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h, err := New(Config{Next: next, Trust: &Trust{Policy: "p", Rules: "r"}})
	if err != nil {
		t.Fatal(err)
	}
	get := func(method, path string, header ...string) *http.Response {
		r := httptest.NewRequest(method, path, nil)
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	for path, mediaType := range map[string]string{
		"/": "text/html; charset=utf-8", "/index.html": "text/html; charset=utf-8", "/app.js": "text/javascript; charset=utf-8", "/style.css": "text/css; charset=utf-8",
		"/icon.svg": "image/svg+xml", "/trust.json": "application/json", "/verify/hash.js": "text/javascript; charset=utf-8",
	} {
		r := get("GET", path)
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != mediaType || r.Header.Get("Content-Security-Policy") != Policy || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %s %v", path, r.Status, r.Header)
		}
		plain, err := io.ReadAll(r.Body)
		if err != nil || len(plain) == 0 {
			t.Fatalf("%s: %d bytes, %v", path, len(plain), err)
		}
		if r := get("GET", path, "If-None-Match", r.Header.Get("ETag")); r.StatusCode != http.StatusNotModified {
			t.Errorf("%s again: %s", path, r.Status)
		}
		small := get("GET", path, "Accept-Encoding", "gzip, br")
		z, err := gzip.NewReader(small.Body)
		if err != nil || small.Header.Get("Content-Encoding") != "gzip" || small.Header.Get("ETag") == r.Header.Get("ETag") {
			t.Fatalf("%s, compressed: %v %v", path, err, small.Header)
		}
		if b, err := io.ReadAll(z); err != nil || string(b) != string(plain) {
			t.Errorf("%s, compressed: %d bytes of %d, %v", path, len(b), len(plain), err)
		}
	}
	if b, err := io.ReadAll(get("GET", "/trust.json").Body); err != nil || string(b) != `{"policy":"p","rules":"r","roots":[]}` {
		t.Errorf("trust.json: %s, %v", b, err)
	}
	for _, request := range []string{"POST /", "GET /checkpoint", "GET /../web.go", "GET /pages", "GET /verify/", "GET /web.go"} {
		method, path, _ := strings.Cut(request, " ")
		if r := get(method, path); r.StatusCode != http.StatusTeapot {
			t.Errorf("%s: %s", request, r.Status)
		}
	}
	if !strings.Contains(string(h.files["/"].content), `<meta http-equiv="Content-Security-Policy" content="`+inPage+`">`) {
		t.Error("the page does not say its policy itself")
	}
	for _, directive := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:", "worker-src 'self'"} {
		if !strings.Contains(Policy, directive+";") {
			t.Errorf("the policy has no %s", directive)
		}
	}
}

// The pages' own code has none of the ways by which text becomes markup or code, and
// names no other origin. The policy forbids the same; this finds it sooner.
func TestStatic(t *testing.T) {
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc|setAttribute\('style|<[a-z]+[^>]* style=|<[a-z]+[^>]* on[a-z]+=`)
	seen := 0
	err := fs.WalkDir(Static(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(name, "vendor/") {
			return err
		}
		b, err := fs.ReadFile(Static(), name)
		if err != nil {
			return err
		}
		seen++
		if m := forbidden.Find(b); m != nil {
			t.Errorf("%s has %q", name, m)
		}
		for _, m := range regexp.MustCompile(`https?://[a-z0-9./]+`).FindAllString(string(b), -1) {
			if !strings.HasPrefix(m, "http://www.w3.org/2000/svg") {
				t.Errorf("%s names %s", name, m)
			}
		}
		return nil
	})
	if err != nil || seen < 40 {
		t.Fatalf("%d files, %v", seen, err)
	}
}
