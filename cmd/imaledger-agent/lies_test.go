package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// rewrite has f change the proofs that the ledger gives; an empty one says that
// there are not enough witnesses yet.
func (w *world) rewrite(f func(proof string) string) {
	w.answer(func(rw http.ResponseWriter, r *http.Request) bool {
		entry, err := io.ReadAll(r.Body)
		if err != nil {
			w.t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(entry))
		recorded := httptest.NewRecorder()
		w.server.ServeHTTP(recorded, r)
		for name, values := range recorded.Header() {
			if name != "Content-Length" {
				rw.Header()[name] = values
			}
		}
		body := recorded.Body.String()
		if _, err := ledger.ParseProof([]byte(body)); err == nil && recorded.Code == http.StatusOK {
			if body = f(body); body == "" {
				recorded.Code, body = http.StatusAccepted, fmt.Sprintf(`{"leaf": "%x", "index": 0}`, ledger.LeafHash(entry))
			}
		}
		rw.WriteHeader(recorded.Code)
		fmt.Fprint(rw, body)
		return true
	})
}

// newestProof is the last receipt that the host got.
func (w *world) newestProof() string {
	w.t.Helper()
	proofs, err := filepath.Glob(filepath.Join(w.dir, "chain", "*.proof"))
	if err != nil || len(proofs) == 0 {
		w.t.Fatalf("no proofs: %v", err)
	}
	b, err := os.ReadFile(proofs[len(proofs)-1])
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// TestLies: a ledger that answers with what proves nothing. No record leaves the
// kernel by it, the segment is kept, and all goes on when the ledger does.
func TestLies(t *testing.T) {
	t.Parallel()
	other := newWorld(t, securityfs.Staging)
	other.kernel.measure(1)
	other.round()
	others := other.newestProof()
	proof := func(f func(string) string) func(*world) { return func(w *world) { w.rewrite(f) } }
	answer := func(f func(rw http.ResponseWriter, r *http.Request)) func(*world) {
		return func(w *world) {
			w.answer(func(rw http.ResponseWriter, r *http.Request) bool { f(rw, r); return true })
		}
	}
	for _, lie := range []struct {
		name string
		tell func(*world)
		says string
	}{
		{"another log's proof", proof(func(string) string { return others }), agent.ErrLedger.Error()},
		{"a truncated proof", proof(func(p string) string { return p[:len(p)-20] }), "malformed checkpoint"},
		{"a proof over another leaf", func(w *world) {
			before := w.newestProof()
			w.rewrite(func(string) string { return before })
		}, agent.ErrLedger.Error()},
		{"too few witnesses", proof(func(p string) string {
			lines := strings.SplitAfter(p, "\n")
			return strings.Join(lines[:len(lines)-2], "")
		}), agent.ErrLedger.Error()},
		{"not witnessed in time", proof(func(string) string { return "" }), agent.ErrUnwitnessed.Error()},
		{"HTML", answer(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/html")
			fmt.Fprint(rw, "<html><body>Please log in</body></html>")
		}), "ledger"},
		{"a redirect to another host", answer(func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "http://127.0.0.2:9/", http.StatusTemporaryRedirect)
		}), "redirect to another host refused"},
		{"nothing", answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), "deadline"},
	} {
		t.Run(lie.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, securityfs.Staging)
			k := w.kernel
			k.measure(2)
			w.round()
			k.measure(4)
			lie.tell(w)
			within := time.Minute // what comes at once on a machine that is not busy
			if lie.says == "deadline" {
				within = 3 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			if err := w.onceWithin(ctx, ""); err == nil || !strings.Contains(err.Error(), lie.says) {
				t.Errorf("%v, want %q", err, lie.says)
			}
			if n := len(k.list) + len(k.staged); n != 4 {
				t.Errorf("%d records are in the kernel, want 4", n)
			}
			w.answer(nil)
			w.round()
			if n := w.whole(); n != len(k.history[0]) || len(k.list)+len(k.staged) != 0 {
				t.Errorf("%d records sealed, want %d; %d in the kernel", n, len(k.history[0]), len(k.list)+len(k.staged))
			}
		})
	}
}

// TestStrangersEnrolment: a ledger whose enrolment no registrar of the trust folder has
// signed. Nobody who trusts those would believe a segment under it: the host makes none,
// and goes on when the ledger has their signature.
func TestStrangersEnrolment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	_, stranger := keyPair(t, "registrar.example")
	trust, err := ledger.ParseTrust([]byte(w.policy), []byte(strings.Replace(w.rules, w.registrarKey, stranger, 1)))
	if err != nil {
		t.Fatal(err)
	}
	w.kernel.measure(3)
	w.change = func(c *agent.Config) { c.Trust = trust }
	if err := w.once(""); !errors.Is(err, agent.ErrLedger) || !strings.Contains(err.Error(), "registrar") {
		t.Errorf("%v", err)
	}
	if n := len(w.kernel.list) + len(w.kernel.staged); n != len(w.kernel.history[0]) {
		t.Errorf("%d records are in the kernel, want all %d", n, len(w.kernel.history[0]))
	}
	w.change = nil
	w.round()
	w.whole()
}

// TestEndlessAnswer: of a body without end no more is read than an answer can
// have.
func TestEndlessAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	w.round()
	w.kernel.measure(1)
	var sent atomic.Int64
	w.answer(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			return true // an answer to it has no body
		}
		b := make([]byte, 64<<10)
		for {
			n, err := rw.Write(b)
			if sent.Add(int64(n)); err != nil || sent.Load() > 1<<30 {
				return true
			}
		}
	})
	if err := w.once(""); err == nil {
		t.Error("an endless answer is taken")
	}
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d bytes of it were read", n)
	}
}

// TestOlderCheckpoint: a ledger that shows an older checkpoint than before.
func TestOlderCheckpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	w.round()
	old, err := w.client.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.kernel.measure(1)
	w.round()
	w.kernel.measure(1)
	w.answer(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/checkpoint" {
			rw.Write(old)
		}
		return r.URL.Path == "/checkpoint"
	})
	if err := w.once(""); !errors.Is(err, agent.ErrLedger) {
		t.Errorf("%v, want %v", err, agent.ErrLedger)
	}
	w.answer(nil)
	w.round()
	w.whole()
}

// fork has another ledger answer, which with the same keys signed another history
// that is longer.
func (w *world) fork() {
	w.t.Helper()
	fork, _ := w.newLedger()
	s := httptest.NewServer(fork)
	defer s.Close()
	c := &client.Client{Base: s.URL}
	for i := range 6 { // more entries than the true log has
		ak, err := newFakeKernel(w.t, w.kernel.flavour).tpm.AK()
		if err == nil {
			_, _, err = c.Enrol(w.t.Context(), client.EnrolRequest{Host: fmt.Sprintf("h%d.example", i), AKPublic: ak}, 10*time.Second)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	w.answer(func(rw http.ResponseWriter, r *http.Request) bool { fork.ServeHTTP(rw, r); return true })
}

// TestFork: a log and its witnesses that all sign a second history are found out
// by any host. Its records stay, and the two checkpoints are kept: together they
// prove it.
func TestFork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	k := w.kernel
	k.measure(2)
	w.round()
	k.measure(3)
	w.fork()
	if err := w.once(""); !errors.Is(err, agent.ErrSplit) {
		t.Fatalf("%v, want %v", err, agent.ErrSplit)
	}
	if n := len(k.list) + len(k.staged); n != 3 {
		t.Errorf("%d records are in the kernel, want 3", n)
	}
	kept, err := filepath.Glob(filepath.Join(w.dir, "evidence", "*"))
	if err != nil || len(kept) != 2 {
		t.Fatalf("evidence: %q, %v", kept, err)
	}
	for _, name := range kept {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := w.trust.Policy.Verify(b); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if c.Origin != "log.example/agent" {
			t.Errorf("%s: of log %s", name, c.Origin)
		}
	}
	w.answer(nil)
	w.round()
	w.whole()
}

// TestForkAtNewPolicy: the trust folder is another one, by which what the host has seen of
// the log does not verify any more, and in that moment the log shows another history.
func TestForkAtNewPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	k := w.kernel
	both := w.trust
	w.trust = w.oneWitness()
	w.withoutWitness(w.witnesses[1].Name())
	k.measure(2)
	w.round()
	w.trust = both
	k.measure(3)
	w.down()
	w.once("") // the new folder is read, and nothing is there that verifies by it
	w.fork()
	if err := w.once(""); !errors.Is(err, agent.ErrSplit) {
		t.Errorf("%v, want %v", err, agent.ErrSplit)
	}
	if n := k.held(); n != 3 {
		t.Errorf("%d records are in the kernel, want 3", n)
	}
	w.answer(nil)
	w.round()
	if k.held() != 0 {
		t.Errorf("%d records are in the kernel, want none", k.held())
	}
}

// TestLedgerDown: a boot in which the ledger never answers is sealed and spooled,
// and submitted in the next.
func TestLedgerDown(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		w := newWorld(t, flavour)
		k := w.kernel
		w.round()
		w.down()
		for range 3 {
			k.measure(2)
			if err := w.once(""); err == nil {
				t.Fatal("no error while the ledger is down")
			}
		}
		k.reboot()
		k.measure(2)
		if err := w.once(""); err == nil {
			t.Fatal("no error while the ledger is down")
		}
		w.answer(nil)
		w.round()
		if n := w.whole(); n != 1+6+1+2 {
			t.Errorf("%s: %d records sealed, want 10", flavour, n)
		}
	}
}
