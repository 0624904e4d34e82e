package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// running is an agent that goes on over several rounds, as the service does.
func (w *world) running() *agent.Agent {
	w.t.Helper()
	a, err := w.open(w.config())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { a.Close() })
	return a
}

// held is how many records the kernel has.
func (k *fakeKernel) held() int { return len(k.list) + len(k.staged) }

// TestWriteFails: each file in turn that the agent writes in its directory cannot be
// written, in an agent that goes on running. Nothing is deleted that has no receipt
// on disk; when the file can be written, all goes on, and nothing is sealed twice.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour.String(), func(t *testing.T) {
			t.Parallel()
			for _, name := range []string{"state", "checkpoint", "chain/%010d.anchor", "chain/%010d.place", "chain/%010d.entry", "chain/%010d.proof"} {
				w := newWorld(t, flavour)
				k := w.kernel
				k.measure(2)
				a := w.running()
				if err := a.Once(t.Context()); err != nil {
					t.Fatal(err)
				}
				k.measure(3)
				if strings.Contains(name, "%") {
					name = fmt.Sprintf(name, a.Status().Segments)
				}
				obstacle := filepath.Join(w.dir, name+".new")
				if err := os.Mkdir(obstacle, 0o700); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					held := k.held()
					if err := a.Once(t.Context()); err == nil || !strings.Contains(err.Error(), filepath.Base(obstacle)) {
						t.Errorf("%s: %v", name, err)
					}
					// The last state is written after the deletion, and may be behind it.
					if _, err := os.Stat(filepath.Join(w.dir, fmt.Sprintf("chain/%010d.proof", a.Status().Segments-1))); err != nil && k.held() < held {
						t.Errorf("%s: %d records were deleted", name, held-k.held())
					}
					k.measure(1)
				}
				if err := os.Remove(obstacle); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if err := a.Once(t.Context()); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
				w.exported()
				if n := w.whole(); n != len(k.history[0]) {
					t.Errorf("%s: %d records sealed, want %d", name, n, len(k.history[0]))
				}
			}
		})
	}
}

// TestSplitStopsDeletion: in a round that finds out that the log signed two
// histories, nothing is deleted, not even what an older receipt covers.
func TestSplitStopsDeletion(t *testing.T) {
	t.Parallel()
	for _, flavour := range []securityfs.Flavour{securityfs.Counted, securityfs.Staging} {
		w := newWorld(t, flavour)
		k := w.kernel
		k.measure(2)
		w.round()
		k.measure(3)
		if err := w.once("receipted"); !errors.Is(err, errPower) {
			t.Fatal(err)
		}
		w.fork()
		if err := w.once(""); !errors.Is(err, agent.ErrSplit) {
			t.Fatalf("%v, want %v", err, agent.ErrSplit)
		}
		if n := k.held(); n != 3 {
			t.Errorf("%s: %d records are in the kernel, want 3", flavour, n)
		}
		w.answer(nil)
		w.round()
		if n := k.held(); n != 0 {
			t.Errorf("%s: %d records are in the kernel, want none", flavour, n)
		}
		w.whole()
	}
}

// TestKexecAtOnce: the kernel after a kexec that lost the list has listed no more
// than the one before had at its begin. That is no carried list.
func TestKexecAtOnce(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		for _, lost := range []bool{false, true} {
			w := newWorld(t, flavour)
			k := w.kernel
			k.measure(3)
			w.round()
			if lost {
				k.measure(1)
			}
			k.kexec(false)
			w.round()
			if last, _ := w.newestSegments(); lost && last.Join.Reason != "kexec-lost" || !lost && (last.Join.Kind != ledger.JoinContinues || last.Count != 1) {
				t.Errorf("%s, lost %v: %s of %d records", flavour, lost, last.Join, last.Count)
			}
			k.measure(1)
			w.round()
			if last, _ := w.newestSegments(); last.Join.Kind != ledger.JoinContinues || last.Count != 1 {
				t.Errorf("%s, lost %v: then %s of %d records", flavour, lost, last.Join, last.Count)
			}
		}
	}
}

// TestSameRecords: violations of one file are the same bytes each. Where another
// program deletes all but the last, the agent still finds its place.
func TestSameRecords(t *testing.T) {
	t.Parallel()
	for _, flavour := range []securityfs.Flavour{securityfs.Counted, securityfs.Staging} {
		w := newWorld(t, flavour)
		k := w.kernel
		w.round()
		for range 4 {
			k.violate()
		}
		a := w.running()
		if _, err := a.Due(agent.Schedule{Records: 100, Bytes: 1 << 20}); err != nil { // it reads them
			t.Fatal(err)
		}
		k.list = k.list[3:]
		if err := a.Once(t.Context()); err != nil {
			t.Errorf("%s: %v", flavour, err)
		}
		if n := w.whole(); n != 5 {
			t.Errorf("%s: %d records sealed, want 5", flavour, n)
		}
		if gap := w.gapped(); gap != "" || k.held() != 0 {
			t.Errorf("%s: %s, %d records are left", flavour, gap, k.held())
		}
	}
}

// TestCleared: the power is cut at each step of the round that follows TPM2_Clear.
// The gap is stated once.
func TestCleared(t *testing.T) {
	t.Parallel()
	for _, boots := range []bool{false, true} {
		for _, step := range steps {
			device := newSwtpm(t)
			w := newWorldOf(t, newFakeKernelOf(t, securityfs.Staging, device))
			k := w.kernel
			k.reboot() // the counters of a TPM that was used
			k.measure(2)
			w.round()
			k.measure(2)
			device.Clear()
			if boots {
				k.reboot()
				k.measure(1)
			}
			if err := w.once(step); err != nil && !errors.Is(err, errPower) {
				t.Fatalf("boot %v, cut after %s: %v", boots, step, err)
			}
			k.measure(1)
			if err := w.try(); err != nil {
				t.Errorf("boot %v, cut after %s: %v", boots, step, err)
				continue
			}
			k.measure(1)
			w.round()
			r, _ := w.evidence()
			gaps := 0
			for _, s := range r.Segments {
				if strings.HasPrefix(s.Join, "gap") {
					gaps++
				}
			}
			if r.Class() == ledger.Contradicted || gaps != 1 {
				t.Errorf("boot %v, cut after %s: %d gaps, %v", boots, step, gaps, r.Findings)
			}
		}
	}
}

// TestClearedWhileRunning: TPM2_Clear under an agent that runs ends the key that it
// has loaded. It goes on by itself. Where records are missing besides, the gap says no less.
func TestClearedWhileRunning(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		device := newSwtpm(t)
		w := newWorldOf(t, newFakeKernelOf(t, securityfs.Staging, device))
		k := w.kernel
		k.reboot()
		k.measure(2)
		a := w.running()
		round := func() {
			t.Helper()
			if err := a.Once(t.Context()); err != nil {
				t.Errorf("lost %v: %v", lost, err)
			}
		}
		round()
		device.Clear()
		k.measure(2)
		if lost {
			k.list = k.list[1:]
		}
		round()
		k.measure(1)
		round()
		last, before := w.newestSegments()
		if before == nil || before.Join != (ledger.Join{Kind: ledger.JoinGap, Reason: "tpm-clear"}) || lost == (before.Count > 0) || last.Join.Kind != ledger.JoinContinues {
			t.Fatalf("lost %v: %+v, then %+v", lost, before, last)
		}
		if r, _ := w.evidence(); r.Class() == ledger.Contradicted {
			t.Errorf("lost %v: %v", lost, r.Findings)
		}
	}
}

// TestDamagedWhileRunning: a bit of the list's file flips under an agent that runs.
// The kernel still has the record, so it is read again.
func TestDamagedWhileRunning(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		w := newWorld(t, flavour)
		k := w.kernel
		k.measure(2)
		a := w.running()
		if err := a.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.down()
		k.measure(4)
		a.Once(t.Context()) // sealed, and not submitted
		path := filepath.Join(w.dir, "lists/000001/sha1")
		list, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		list[len(list)-100] ^= 4
		if err := os.WriteFile(path, list, 0o600); err != nil {
			t.Fatal(err)
		}
		w.answer(nil)
		held := k.held()
		for range 3 {
			a.Once(t.Context())
		}
		if err := a.Once(t.Context()); err != nil {
			t.Errorf("%s: %v", flavour, err)
		}
		if gap := w.gapped(); gap != "" || held < 4 {
			t.Errorf("%s: %s; %d records were held", flavour, gap, held)
		}
		w.exported()
		if n := w.whole(); n != 7 {
			t.Errorf("%s: %d records sealed, want 7", flavour, n)
		}
	}
}

// TestWrongCount: a state whose numbers contradict each other deletes nothing.
func TestWrongCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Counted)
	k := w.kernel
	w.round()
	k.measure(4)
	if err := w.once("receipted"); !errors.Is(err, errPower) {
		t.Fatal(err)
	}
	k.measure(3)
	w.down()
	path := filepath.Join(w.dir, "state")
	saved, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	object, _, _ := bytes.Cut(saved, []byte("\nsha256 "))
	var state map[string]any
	if err := json.Unmarshal(object, &state); err != nil {
		t.Fatal(err)
	}
	state["kernelRecord"] = 0 // so that one too many would be deleted
	if object, err = json.MarshalIndent(state, "", "  "); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, fmt.Appendf(object, "\nsha256 %x\n", sha256.Sum256(object)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.try(); err == nil || !strings.Contains(err.Error(), "nothing was deleted") {
		t.Errorf("%v", err)
	}
	if k.held() != 7 {
		t.Errorf("%d records are in the kernel, want 7", k.held())
	}
}

// TestForeignDirectory: a directory that others may write to, that belongs to
// somebody else, or that is another host's or another log's, is refused, with what
// to do; and taken once that is done.
func TestForeignDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	w.kernel.measure(2)
	w.round()
	refused := func(what, says string) {
		t.Helper()
		err := w.try()
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), w.dir) {
			t.Errorf("%s: %v, want %q", what, err, says)
		}
	}
	for _, part := range []string{"", "lists", "chain", "evidence"} {
		dir := filepath.Join(w.dir, part)
		if err := os.Chmod(dir, 0o722); err != nil {
			t.Fatal(err)
		}
		refused("mode", "chmod go-w "+dir)
		if err := os.Chmod(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		w.round()
		if os.Geteuid() == 0 { // nobody else can give a file away
			if err := os.Chown(dir, 4711, -1); err != nil {
				t.Fatal(err)
			}
			refused("owner", "chown 0 "+dir)
			if err := os.Chown(dir, 0, -1); err != nil {
				t.Fatal(err)
			}
			w.round()
		}
	}
	w.change = func(c *agent.Config) { c.Host = "other.example" }
	refused("host", "h.example")
	_, key := keyPair(t, "log.example/other")
	trust, err := ledger.ParseTrust([]byte(strings.Replace(w.policy, w.logKey, key, 1)), []byte(w.rules))
	if err != nil {
		t.Fatal(err)
	}
	w.change = func(c *agent.Config) { c.Trust = trust }
	refused("log", "log.example/agent")
	w.change = nil
	w.kernel.measure(2)
	w.round()
	if n := w.whole(); n != 5 {
		t.Errorf("%d records sealed, want 5", n)
	}
}

// TestBusyBetween: the list is opened by another program after each step, for the
// rest of the round. Nothing is lost, and the next round goes on.
func TestBusyBetween(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		for _, step := range steps[2:] {
			w := newWorld(t, flavour)
			k := w.kernel
			k.measure(2)
			w.round()
			k.measure(3)
			w.change = func(c *agent.Config) {
				c.Step = func(s string) {
					if s == step {
						k.busy = &securityfs.BusyError{Path: "binary_runtime_measurements", Holders: []securityfs.Holder{{PID: 7, Name: "reader"}}}
					}
				}
			}
			err := w.try()
			came := k.busy != nil
			var busy *securityfs.BusyError
			if came && step != "deleted" && flavour != securityfs.ReadOnly && !errors.As(err, &busy) {
				t.Errorf("%s, busy after %s: %v", flavour, step, err)
			}
			if !came && (flavour == securityfs.Staging || step != "staged") && (flavour != securityfs.ReadOnly || step != "deleted") {
				t.Errorf("%s: no round came to %s", flavour, step)
			}
			w.change, k.busy = nil, nil
			k.measure(1)
			w.round()
			w.exported()
			if n := w.whole(); n != 7 {
				t.Errorf("%s, busy after %s: %d records sealed, want 7", flavour, step, n)
			}
			if gap := w.gapped(); gap != "" || flavour != securityfs.ReadOnly && k.held() != 0 {
				t.Errorf("%s, busy after %s: %s; %d records are left", flavour, step, gap, k.held())
			}
		}
	}
}

// deadlines lets no request go out that could wait for ever.
type deadlines struct {
	t    *testing.T
	seen int
}

func (d *deadlines) RoundTrip(r *http.Request) (*http.Response, error) {
	d.seen++
	if at, ok := r.Context().Deadline(); !ok || time.Until(at) > 3*time.Minute {
		d.t.Errorf("%s %s has no deadline: a ledger that is silent would stop the agent", r.Method, r.URL.Path)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestDeadlines: each request of the agent ends by itself, so that a ledger which
// says nothing for ever does not keep the next round from being made.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	d := &deadlines{t: t}
	w.client.HTTP = &http.Client{Transport: d}
	for range 3 {
		w.kernel.measure(2)
		w.round()
	}
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	w.kernel.measure(2)
	w.round() // which asks for the host's chain
	if d.seen < 20 {
		t.Errorf("%d requests only", d.seen)
	}
}

// TestOneList: only the newest list is kept, and the agent is started anew each time,
// also after its directory was lost.
func TestOneList(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		w := newWorld(t, flavour)
		w.change = func(c *agent.Config) { c.Lists = 1 }
		k := w.kernel
		for range 3 {
			for range 2 {
				k.measure(1)
				w.round()
			}
			k.reboot()
		}
		if err := os.RemoveAll(w.dir); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			k.measure(1)
			w.round()
		}
		k.reboot()
		for range 2 {
			k.measure(1)
			w.round()
		}
		w.exported()
		lists, err := filepath.Glob(filepath.Join(w.dir, "lists", "0*"))
		if err != nil || len(lists) != 1 {
			t.Errorf("%s: lists %q, %v", flavour, lists, err)
		}
	}
}
