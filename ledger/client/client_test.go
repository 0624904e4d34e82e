package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// serve runs a ledger that answers everything with h.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return &Client{Base: s.URL + "/"}
}

func TestProblem(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ProblemType+"; charset=utf-8")
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, `{"title":"t","status":200,"detail":"d","findings":[{"code":"chain-fork","subject":"h #1","text":"x"}]}`)
	})
	_, err := c.SubmitLeaf(t.Context(), []byte("leaf"), 0)
	var p *Problem
	if !errors.As(err, &p) || p.Status != http.StatusConflict || p.Detail != "d" || len(p.Findings) != 1 || p.Findings[0].Code != ledger.ChainFork {
		t.Fatalf("%+v", err)
	}
}

// What is before a ledger says no in its own words.
func TestForeignErrors(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"html": func(w http.ResponseWriter, r *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) },
		"bad json": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ProblemType)
			w.WriteHeader(502)
			io.WriteString(w, "{")
		},
		"very long": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ProblemType)
			w.WriteHeader(502)
			w.Write(bytes.Repeat([]byte(" "), 2*maxProblem))
		},
	} {
		_, err := serve(t, h).Checkpoint(t.Context())
		var p *Problem
		if !errors.As(err, &p) || p.Status != http.StatusBadGateway || p.Title != "Bad Gateway" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRedirects(t *testing.T) {
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer other.Close()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
	})
	_, err := c.SubmitLeaf(t.Context(), []byte("leaf"), 0)
	if !errors.Is(err, errRedirect) || reached {
		t.Fatalf("another host: reached %v, %v", reached, err)
	}
	c = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/checkpoint" {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return
		}
		io.WriteString(w, "here")
	})
	if b, err := c.Checkpoint(t.Context()); err != nil || string(b) != "here" {
		t.Fatalf("same host: %q, %v", b, err)
	}
	c = serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) })
	if _, err := c.Checkpoint(t.Context()); err == nil {
		t.Fatal("followed a circle")
	}
}

// An answer that is too long, or about something else, is an error.
func TestAnswersAreHeldToTheQuestion(t *testing.T) {
	answer := func(status int, body string) *Client {
		return serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status); io.WriteString(w, body) })
	}
	ctx, leaf := t.Context(), []byte("leaf")
	right := fmt.Sprintf(`{"leaf":"%x","index":7}`, ledger.LeafHash(leaf))
	if a, err := answer(202, right).SubmitLeaf(ctx, leaf, 0); err != nil || a.Index != 7 || a.Proof != "" {
		t.Errorf("%+v, %v", a, err)
	}
	for name, err := range map[string]error{
		"other leaf":      second(answer(202, right).SubmitLeaf(ctx, []byte("another"), 0)),
		"no JSON":         second(answer(202, "x").SubmitLeaf(ctx, leaf, 0)),
		"no proof":        second(answer(200, right).SubmitLeaf(ctx, leaf, 0)),
		"other host":      second(answer(200, `{"host":"b"}`).HostHead(ctx, "a")),
		"bad host":        second(answer(200, `{"host":"../x"}`).HostHead(ctx, "../x")),
		"endless":         second(answer(200, strings.Repeat("x", maxBody+1)).Checkpoint(ctx)),
		"long checkpoint": second(answer(200, strings.Repeat("x", ledger.MaxCheckpoint+1)).Checkpoint(ctx)),
		"other entry":     second(answer(201, `{"leaf":"00","entry":"AAAA"}`).Activate(ctx, Activation{}, 0)),
		"unasked status":  second(answer(204, "").Checkpoint(ctx)),
		"no URL":          second((&Client{Base: "file:///etc"}).Checkpoint(ctx)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestAddendum(t *testing.T) {
	content := []byte("ten bytes.")
	digest := ledger.Hash(sha256.Sum256(content))
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(content) })
	var b bytes.Buffer
	if err := c.Addendum(t.Context(), digest, 10, &b); err != nil || b.String() != string(content) {
		t.Fatalf("%q, %v", b.String(), err)
	}
	if err := c.Addendum(t.Context(), digest, 9, io.Discard); err == nil {
		t.Fatal("longer than allowed")
	}
	if err := c.Addendum(t.Context(), ledger.Hash{1}, 10, io.Discard); err == nil {
		t.Fatal("other bytes")
	}
}

func TestContextEnds(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // the server sees that a client left only after the body
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.SubmitLeaf(ctx, []byte("x"), MaxWait); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}
