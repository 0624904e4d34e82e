package main

import (
	"errors"
	"net/http"
	"os"
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
