package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/tessera"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

var errCrash = errors.New("crash")

// The process dies between two steps of admit: nothing is lost, nothing stands
// in the log twice, and the same leaf gets one index.
func TestCrashBetweenSteps(t *testing.T) {
	for name, test := range map[string]struct {
		add    func(tessera.AddFn) tessera.AddFn
		logged bool // whether the leaf was durable before the crash
	}{
		"before the leaf is added": {func(tessera.AddFn) tessera.AddFn {
			return func(context.Context, *tessera.Entry) tessera.IndexFuture {
				return func() (tessera.Index, error) { return tessera.Index{}, errCrash }
			}
		}, false},
		"after the leaf is added": {func(add tessera.AddFn) tessera.AddFn {
			return func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
				return func() (tessera.Index, error) {
					if _, err := add(ctx, e)(); err != nil {
						t.Error(err)
					}
					return tessera.Index{}, errCrash
				}
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := startLedger(t, ledger.GradeSoftware)
			h := l.enrolHost(t, "h")
			anchor := l.anchor(t)
			leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
			l.upload(t, payload, anchor.Raw)
			l.server.log.add = test.add(l.server.log.add)
			_, err := l.SubmitLeaf(t.Context(), leaf, 0)
			problem(t, err, http.StatusServiceUnavailable, "")
			// What the log holds is not known now, so nothing more is taken.
			_, err = l.SubmitLeaf(t.Context(), leaf, 0)
			problem(t, err, http.StatusServiceUnavailable, "")
			resp, body := l.do(t, http.MethodGet, "/healthz", nil)
			if resp.StatusCode != http.StatusServiceUnavailable || !bytes.Contains(body, []byte("stopped")) {
				t.Fatalf("healthz: %s %s", resp.Status, body)
			}

			l.restart(t)
			_, found := l.server.chains.find(ledger.LeafHash(leaf))
			if found != test.logged {
				t.Fatalf("after the restart the log has the leaf: %v, want %v", found, test.logged)
			}
			for range 2 {
				a, err := l.SubmitLeaf(t.Context(), leaf, client.MaxWait)
				if err != nil || a.Index != 1 {
					t.Fatalf("%+v, %v; want index 1", a, err)
				}
			}
			h.took(leaf)
			if _, a := l.submit(t, h, "/bin/ls"); a.Index != 2 {
				t.Fatalf("the next leaf has index %d, want 2", a.Index)
			}
			l.checkTiles(t, 3)
		})
	}
}

// A failing store keeps an entry out of the log.
type brokenStore struct {
	Addenda
	put, open, size error
}

func (b brokenStore) Put(d ledger.Hash, r io.Reader, max int64) (bool, error) {
	if b.put != nil {
		return false, b.put
	}
	return b.Addenda.Put(d, r, max)
}

func (b brokenStore) Open(d ledger.Hash) (io.ReadCloser, bool, error) {
	if b.open != nil {
		return nil, false, b.open
	}
	return b.Addenda.Open(d)
}

func (b brokenStore) Size(d ledger.Hash) (int64, bool, error) {
	if b.size != nil {
		return 0, false, b.size
	}
	return b.Addenda.Size(d)
}

func TestBrokenStore(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	anchor := l.anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
	l.upload(t, payload, anchor.Raw)
	good := l.server.addenda
	disk := errors.New("input/output error")
	for name, broken := range map[string]brokenStore{"open": {good, nil, disk, nil}, "size": {good, nil, nil, disk}} {
		l.server.addenda = broken
		_, err := l.SubmitLeaf(t.Context(), leaf, 0)
		if p := problem(t, err, http.StatusInternalServerError, ""); strings.Contains(p.Error(), "input/output") {
			t.Errorf("%s: a stranger is told %q", name, p)
		}
	}
	l.server.addenda = brokenStore{good, disk, nil, nil}
	fresh := newTestAK(t)
	_, _, err := l.Enrol(t.Context(), client.EnrolRequest{Host: "new", AKPublic: fresh.ak}, 0)
	problem(t, err, http.StatusInternalServerError, "")
	if n, err := l.server.log.reader.IntegratedSize(t.Context()); err != nil || n != 1 {
		t.Fatalf("%d entries, %v; want 1", n, err)
	}
	// The disk is back: everything goes on.
	l.server.addenda = good
	if _, err := l.SubmitLeaf(t.Context(), leaf, 0); err != nil {
		t.Fatal(err)
	}
}

// A payload that decays on disk between upload and admission is not admitted,
// nor served, and a second upload mends it.
func TestDecayedPayload(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	anchor := l.anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
	l.upload(t, payload, anchor.Raw)
	s, err := ledger.ParseSegment(leaf)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(l.config.Dir, ledger.AddendumPath(s.Payload.Digest))
	bad := bytes.Clone(payload)
	bad[len(bad)/2] ^= 4
	if err := os.WriteFile(path, bad, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = l.SubmitLeaf(t.Context(), leaf, 0)
	if err == nil {
		t.Fatal("admitted a decayed payload")
	}
	if err := l.Addendum(t.Context(), s.Payload.Digest, 1<<20, io.Discard); err == nil {
		t.Fatal("served a decayed payload")
	}
	l.upload(t, payload)
	if _, err := l.SubmitLeaf(t.Context(), leaf, 0); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := l.Addendum(t.Context(), s.Payload.Digest, 1<<20, &got); err != nil || !bytes.Equal(got.Bytes(), payload) {
		t.Fatalf("%d bytes, %v", got.Len(), err)
	}
}
