package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/imaledger/imaledger/ledger/client"
)

// lies are what a ledger does to what it answers, by name. Each changes the body of
// an answer that it applies to.
var lies = map[string]func(path string, body []byte) []byte{
	// Of searches.
	"foreign-record": inSearch(func(a *client.SearchAnswer) { a.Hits[0].Record++; a.Hits[0].InBoot++ }),
	"foreign-host":   inSearch(func(a *client.SearchAnswer) { a.Hits[0].Host = "victim.example" }),
	"foreign-entry":  inSearch(func(a *client.SearchAnswer) { a.Hits[0].Index = 0 }),
	"invented":       inSearch(func(a *client.SearchAnswer) { a.Hits[0].Record = 1 << 40 }),
	"beyond":         inSearch(func(a *client.SearchAnswer) { a.Hits[0].Index = 1 << 40 }),
	"twice":          inSearch(func(a *client.SearchAnswer) { a.Hits = append(a.Hits, a.Hits[0]) }),
	"omitted":        inSearch(func(a *client.SearchAnswer) { a.Hits = a.Hits[1:] }),
	"all-omitted":    inSearch(func(a *client.SearchAnswer) { a.Hits = nil }),
	"other-root":     inSearch(func(a *client.SearchAnswer) { a.Root = strings.Repeat("0", 64) }),
	"other-log":      inSearch(func(a *client.SearchAnswer) { a.Log = "another.example" }),
	"larger":         inSearch(func(a *client.SearchAnswer) { a.Size += 1000 }),
	// Of everything else.
	"payload": under("/addenda/", func(body []byte) []byte { // records; anchors are checkpoints
		if bytes.HasPrefix(body, []byte(demoOrigin)) {
			return body
		}
		return flip(body)
	}),
	"anchor": under("/addenda/", func(body []byte) []byte {
		if bytes.HasPrefix(body, []byte(demoOrigin)) {
			return flip(body)
		}
		return body
	}),
	"leaf":       under("/leaf/", flip),
	"tile":       under("/tile/0/", flip),
	"entries":    under("/tile/entries/", flip),
	"checkpoint": under("/checkpoint", flip),
	"other-leaf": under("/leaf/", func(body []byte) []byte { // a leaf of the log, but not the one that was asked for
		return bytes.Replace(body, []byte("\nsequence "), []byte("\nsequence 1"), 1)
	}),
}

func inSearch(change func(a *client.SearchAnswer)) func(string, []byte) []byte {
	return under("/search", func(body []byte) []byte {
		var a client.SearchAnswer
		if json.Unmarshal(body, &a) != nil || len(a.Hits) == 0 {
			return body
		}
		change(&a)
		body, err := json.Marshal(a)
		if err != nil {
			panic(err)
		}
		return body
	})
}

func under(prefix string, change func([]byte) []byte) func(string, []byte) []byte {
	return func(path string, body []byte) []byte {
		if !strings.HasPrefix(path, prefix) {
			return body
		}
		return change(body)
	}
}

// flip alters a byte in the middle.
func flip(body []byte) []byte {
	if len(body) > 0 {
		body[len(body)/2] ^= 1
	}
	return body
}

// lie serves what another server serves, but for what it alters.
func lie(base string, change func(path string, body []byte) []byte) *httptest.Server {
	to, err := url.Parse(base)
	if err != nil {
		panic(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = func(r *http.Response) error {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != http.StatusOK {
			r.Body = io.NopCloser(bytes.NewReader(body))
			return err
		}
		body = change(r.Request.URL.Path, body)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Length", fmt.Sprint(len(body)))
		return nil
	}
	return httptest.NewServer(proxy)
}

// scriptLiar serves the script's ledger with a lie, at $LIAR: liar LIE.
func scriptLiar(ts *testscript.TestScript, neg bool, args []string) {
	l, _ := ts.Value(scriptedLedgerKey{}).(**scriptedLedger)
	if neg || len(args) != 1 || *l == nil || lies[args[0]] == nil {
		ts.Fatalf("usage, after ledger start: liar LIE, one of those in liar_test.go")
	}
	s := lie((*l).url, lies[args[0]])
	ts.Defer(s.Close)
	ts.Setenv("LIAR", s.URL)
}
