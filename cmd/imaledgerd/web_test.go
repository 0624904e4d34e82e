package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A ledger has pages for people at /, and offers its trust folder there, unless it is
// told not to; what programs ask it is answered as before.
func TestPages(t *testing.T) {
	get := func(url string) (*http.Response, string) {
		t.Helper()
		r, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r, string(b)
	}
	vkey, url := serve(t, setup(t, ""))
	if r, body := get(url); r.StatusCode != http.StatusOK || !strings.Contains(body, "<title>imaledger</title>") || !strings.Contains(r.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%s %v\n%s", r.Status, r.Header, body)
	}
	if _, body := get(url + "trust.json"); !strings.Contains(body, vkey) {
		t.Errorf("the offered trust folder has not the log's key: %s", body)
	}
	for path, want := range map[string]int{"hosts": 200, "healthz": 200, "nowhere": 404, "refusals": 401} {
		if r, body := get(url + path); r.StatusCode != want || strings.Contains(body, "<html") {
			t.Errorf("%s: %s, want %d: %s", path, r.Status, want, body)
		}
	}
	_, url = serve(t, append(setup(t, ""), "--web=false"))
	for _, path := range []string{"", "app.js", "trust.json"} {
		if r, _ := get(url + path); r.StatusCode != http.StatusNotFound {
			t.Errorf("/%s with --web=false: %s", path, r.Status)
		}
	}
}
