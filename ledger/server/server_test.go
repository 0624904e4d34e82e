package server

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	tclient "github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

func TestMain(m *testing.M) {
	RouteLogs(nil)
	if spec := os.Getenv(childEnv); spec != "" {
		fmt.Fprintln(os.Stderr, runChild(spec))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A host is enrolled, submits three segments, and gets proofs that we and
// others' code verify; everything can be read back as a tile log.
func TestEndToEnd(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "web-1.example")
	policy, err := torchwood.ParsePolicy(l.policy)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		leaf, a := l.submit(t, h, fmt.Sprintf("/bin/%d", i), "/lib/ld.so")
		if a.Index != uint64(i+1) || a.Proof == "" {
			t.Fatalf("segment %d: index %d, proof %q", i, a.Index, a.Proof)
		}
		r, findings := audit.CheckReceipt(l.config.Trust, h.name, ledger.LeafHash(leaf), []byte(a.Proof))
		if r == nil || len(findings) > 0 || r.NotAfter == 0 {
			t.Fatalf("segment %d: receipt %v, findings %v", i, r, findings)
		}
		if err := torchwood.VerifyProof(policy, tlog.RecordHash(leaf), []byte(a.Proof)); err != nil {
			t.Fatalf("segment %d: torchwood: %v", i, err)
		}
		if err := torchwood.VerifyProof(policy, tlog.RecordHash(append(leaf, 0)), []byte(a.Proof)); err == nil {
			t.Fatal("torchwood verifies another leaf")
		}
	}
	if _, _, err := torchwood.VerifyCheckpoint(l.anchor(t).Raw, policy); err != nil {
		t.Fatalf("torchwood: %v", err)
	}
	head, err := l.HostHead(t.Context(), h.name)
	if err != nil || head.Sequence != 3 || head.Index != 3 || head.Leaf != fmt.Sprintf("%x", h.leaf) {
		t.Fatalf("head %+v, %v", head, err)
	}
	l.checkTiles(t, 4)
}

// checkTiles reads the log over HTTP with Tessera's client and checks all of it.
func (l *testLedger) checkTiles(t *testing.T, size uint64) {
	t.Helper()
	base, err := url.Parse(l.http.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	f, err := tclient.NewHTTPFetcher(base, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(l.vkey)
	if err != nil {
		t.Fatal(err)
	}
	hash := func(bundle []byte) ([][]byte, error) {
		var b api.EntryBundle
		if err := b.UnmarshalText(bundle); err != nil {
			return nil, err
		}
		var hashes [][]byte
		for _, e := range b.Entries {
			hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(e))
			if _, err := ledger.ParseEntry(e); err != nil {
				return nil, err
			}
		}
		return hashes, nil
	}
	if err := fsck.New(testOrigin, v, f, hash, fsck.Opts{N: 1}).Check(t.Context()); err != nil {
		t.Fatalf("fsck: %v", err)
	}
	cp, _, _, err := tclient.FetchCheckpoint(t.Context(), f.ReadCheckpoint, v, testOrigin)
	if err != nil || cp.Size != size {
		t.Fatalf("checkpoint %+v, %v; want size %d", cp, err, size)
	}
}

func TestSameLeafSameIndex(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	leaf, first := l.submit(t, h, "/bin/sh")
	l.submit(t, h, "/bin/ls")
	for i := range 3 {
		again, err := l.SubmitLeaf(t.Context(), leaf, client.MaxWait)
		if err != nil || again.Index != first.Index {
			t.Fatalf("again %d: %+v, %v", i, again, err)
		}
		l.restart(t)
	}
	if a, err := l.Proof(t.Context(), ledger.LeafHash(leaf), time.Second); err != nil || a.Index != first.Index || a.Proof == "" {
		t.Fatalf("proof: %+v, %v", a, err)
	}
	_, err := l.Proof(t.Context(), ledger.Hash{1}, time.Second)
	problem(t, err, http.StatusNotFound, "")
	l.checkTiles(t, 3)
}

// Entries are durable without witnesses, and the answer says that they are not
// witnessed; when the witnesses come back the proof is there.
func TestWitnessesAway(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	// One of three is no quorum.
	l.witnesses[0].away.Store(true)
	l.witnesses[1].away.Store(true)
	l.start(t)
	if _, err := l.Checkpoint(t.Context()); problem(t, err, http.StatusNotFound, "") == nil {
		t.Fatal("a checkpoint without its quorum")
	}
	h := &testHost{name: "h", tpm: newTestAK(t)}
	_, a, err := l.Enrol(t.Context(), client.EnrolRequest{Host: "h", AKPublic: h.tpm.ak}, 0)
	if err != nil || a.Proof != "" || a.Index != 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	resp, body := l.do(t, http.MethodGet, "/proof/"+a.Leaf, nil)
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("Location") != "/proof/"+a.Leaf {
		t.Fatalf("%s %s: %s", resp.Status, resp.Header.Get("Location"), body)
	}
	l.witnesses[0].away.Store(false)
	got, err := l.Proof(t.Context(), ledger.LeafHash(a.Entry), client.MaxWait)
	if err != nil || got.Proof == "" || got.Index != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestClose(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	anchor := l.anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
	l.upload(t, payload, anchor.Raw)
	a, err := l.SubmitLeaf(t.Context(), leaf, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), l.config); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("second server on the directory: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := l.server.Close(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = l.SubmitLeaf(t.Context(), leaf, 0)
	problem(t, err, http.StatusServiceUnavailable, "")
	// Close waited for the witnesses.
	if raw, err := l.Checkpoint(t.Context()); err != nil || !bytes.Contains(raw, []byte("\n2\n")) {
		t.Fatalf("%s, %v", raw, err)
	}
	l.http.Close()
	l.server = nil
	l.start(t)
	if got, err := l.Proof(t.Context(), ledger.LeafHash(leaf), client.MaxWait); err != nil || got.Index != a.Index {
		t.Fatalf("%+v, %v", got, err)
	}
}
