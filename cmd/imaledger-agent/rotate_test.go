package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/ledger/server"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// trusting is the trust folder with these lines for the log.
func (w *world) trusting(keys ...string) *ledger.Trust {
	w.t.Helper()
	lines := ""
	for _, key := range keys {
		lines += "log " + key + "\n"
	}
	trust, err := ledger.ParseTrust([]byte(strings.Replace(w.policy, "log "+w.logKey+"\n", lines, 1)), []byte(w.rules))
	if err != nil {
		w.t.Fatal(err)
	}
	return trust
}

// restartLedger starts the ledger again, by other keys and another trust folder.
func (w *world) restartLedger(trust *ledger.Trust, signers ...note.Signer) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := w.server.Close(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.served.Trust, w.served.Signer, w.served.MoreSigners = trust, signers[0], signers[1:]
	var err error
	if w.server, err = server.New(w.t.Context(), w.served); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.server.Close(context.Background()) })
}

// TestRotation: a host crosses a change of the log's key, whichever of ledger and
// host has the new trust folder first, and loses nothing. One that was forgotten
// deletes nothing more, and goes on when it is told.
func TestRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	k := w.kernel
	before, both, after := w.trusting(w.logKey), w.trusting(w.logKey, w.nextKey), w.trusting(w.nextKey)
	round := func(trust *ledger.Trust) {
		t.Helper()
		k.measure(4)
		w.trust = trust
		w.round()
		if left := len(k.list) + len(k.staged); left != 0 {
			t.Errorf("%d records are left in the kernel", left)
		}
	}
	round(before)
	round(both) // the host is first

	w.restartLedger(both, w.signer, w.nextSigner)
	round(before) // the ledger is first
	round(both)

	w.restartLedger(both, w.nextSigner)
	k.measure(4)
	w.trust = before
	if err := w.once(""); !errors.Is(err, agent.ErrLedger) {
		t.Errorf("a host that was not told: %v", err)
	}
	if left := len(k.list) + len(k.staged); left != 4 {
		t.Errorf("%d records are left in the kernel, want 4", left)
	}
	w.trust = both
	w.round() // what it has waiting
	round(both)
	round(after)

	// An auditor who keeps the old key's line verifies all of it, and no other.
	w.trust = both
	if r, _ := w.evidence(); r.Class() != ledger.Noted || len(r.Segments) < 6 {
		t.Errorf("%d segments, %v", len(r.Segments), r.Findings)
	}
	w.trust = after
	if r, _ := w.evidence(); r.Class() != ledger.Contradicted {
		t.Error("evidence by the old key verifies without its line")
	}
}
