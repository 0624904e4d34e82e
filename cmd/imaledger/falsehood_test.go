package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// A falsehood alters an answer of a ledger.
type falsehood func(path string, status int, body []byte) (int, []byte)

// A liar stands before an honest ledger and alters its answers.
type liar struct {
	url  string
	lie  atomic.Pointer[falsehood] // nil for the truth
	told atomic.Int64              // answers that were altered

	requests atomic.Int64
	off      atomic.Bool // no request is answered
}

func startLiar(t *testing.T, ledgerURL string) *liar {
	t.Helper()
	to, err := url.Parse(ledgerURL)
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Header.Del("Accept-Encoding")
	}}
	proxy.ModifyResponse = func(r *http.Response) error {
		f := l.lie.Load()
		if f == nil {
			return nil
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		status, altered := (*f)(r.Request.URL.Path, r.StatusCode, bytes.Clone(body))
		if status != r.StatusCode || !bytes.Equal(altered, body) {
			l.told.Add(1)
			r.Header.Set("Cache-Control", "no-store")
		}
		r.StatusCode, r.Status = status, fmt.Sprintf("%d %s", status, http.StatusText(status))
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(altered)), int64(len(altered))
		r.Header.Set("Content-Length", fmt.Sprint(len(altered)))
		return nil
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.requests.Add(1)
		if l.off.Load() {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	l.url = server.URL
	return l
}

// tell has it lie from now on.
func (l *liar) tell(f falsehood) {
	l.told.Store(0)
	l.lie.Store(&f)
}

func (l *liar) honest() { l.lie.Store(nil) }

func lieAt(prefix string, f func([]byte) []byte) falsehood {
	return func(path string, status int, body []byte) (int, []byte) {
		if strings.HasPrefix(path, prefix) && status == http.StatusOK && len(body) > 0 {
			body = f(body)
		}
		return status, body
	}
}

func answers(prefix string, code int) falsehood {
	return func(path string, status int, body []byte) (int, []byte) {
		if strings.HasPrefix(path, prefix) {
			return code, nil
		}
		return status, body
	}
}

func flipped(b []byte) []byte { b[len(b)/2] ^= 1; return b }

// unsigned takes the lines of some keys from a checkpoint.
func unsigned(key string) func([]byte) []byte {
	return func(b []byte) []byte {
		var kept []byte
		for _, line := range bytes.SplitAfter(b, []byte("\n")) {
			if !bytes.HasPrefix(line, []byte("— "+key)) {
				kept = append(kept, line...)
			}
		}
		return kept
	}
}

// forkedCheckpoint is one of another history: the log's owner can sign it, and honest
// witnesses do not.
func (d *demo) forkedCheckpoint(t *testing.T, size int) []byte {
	t.Helper()
	text := fmt.Sprintf("%s\n%d\n%s\n", demoOrigin, size, base64.StdEncoding.EncodeToString(make([]byte, 32)))
	signed, err := note.Sign(&note.Note{Text: text}, d.logSigner)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// lieInEntries alters entries, wherever they are served.
func lieInEntries(f func([]byte) []byte) falsehood {
	return func(path string, status int, body []byte) (int, []byte) {
		if status == http.StatusOK && (strings.HasPrefix(path, "/leaf/") || strings.HasPrefix(path, "/tile/entries/")) {
			body = f(body)
		}
		return status, body
	}
}
