package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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

// trustingRegistrars is the trust folder with these registrars, of whom one must sign.
func (w *world) trustingRegistrars(keys ...string) *ledger.Trust {
	w.t.Helper()
	lines := ""
	for _, key := range keys {
		lines += "registrar " + key + "\n"
	}
	trust, err := ledger.ParseTrust([]byte(w.policy), []byte(strings.Replace(w.rules, "registrar "+w.registrarKey+"\n", lines, 1)))
	if err != nil {
		w.t.Fatal(err)
	}
	return trust
}

// TestOtherRegistrar: the registrar is replaced, and his line taken out of the host's
// trust folder, before or after the ledger has the new one. The host is enrolled anew as
// soon as that can be. Until then all is sealed, and nothing is deleted.
func TestOtherRegistrar(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{false, true} {
		for _, hostFirst := range []bool{false, true} {
			w := newWorld(t, securityfs.Staging)
			k := w.kernel
			signer, key := keyPair(t, "registrar.example/2")
			both, after := w.trustingRegistrars(w.registrarKey, key), w.trustingRegistrars(key)
			if sealed {
				k.measure(2)
				w.round()
			} else if err := w.once("enrolled"); !errors.Is(err, errPower) {
				t.Fatal(err)
			}
			replace := func() {
				w.served.Registrars = []note.Signer{signer}
				w.restartLedger(both, w.signer)
			}
			if hostFirst {
				w.trust = after
				a := w.running()
				for range 3 {
					k.measure(2)
					held := k.held()
					if err := a.Once(t.Context()); !errors.Is(err, agent.ErrLedger) || !strings.Contains(err.Error(), "registrar") {
						t.Errorf("sealed %v: %v", sealed, err)
					}
					if k.held() != held {
						t.Errorf("sealed %v: %d records are in the kernel, want %d", sealed, k.held(), held)
					}
				}
				if err := a.Close(); err != nil {
					t.Fatal(err)
				}
				replace()
			} else {
				replace()
				k.measure(2)
				w.round()
				w.trust = after
			}
			k.measure(2)
			w.round()
			if k.held() != 0 {
				t.Errorf("sealed %v, host first %v: %d records are left in the kernel", sealed, hostFirst, k.held())
			}
			last, _ := w.newestSegments()
			w.round()
			if again, _ := w.newestSegments(); again.Sequence != last.Sequence || w.enrolments() > 3 {
				t.Errorf("sealed %v, host first %v: %d enrolments", sealed, hostFirst, w.enrolments())
			}
			w.trust = both
			if n := w.whole(); n != len(k.history[0]) {
				t.Errorf("sealed %v, host first %v: %d records sealed, want %d", sealed, hostFirst, n, len(k.history[0]))
			}
		}
	}
}

// enrolments is how many the host's chain has.
func (w *world) enrolments() (n int) {
	w.t.Helper()
	entries, err := filepath.Glob(filepath.Join(w.dir, "chain", "*.entry"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range entries {
		b, err := os.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		if e, err := ledger.ParseEntry(b); err != nil {
			w.t.Error(err)
		} else if _, ok := e.(*ledger.Enrolment); ok {
			n++
		}
	}
	return n
}
