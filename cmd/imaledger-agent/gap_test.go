package main

import (
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// TestGaps: what loses records becomes a gap with its reason, once; what follows is
// sealed again, and nothing is sealed twice.
func TestGaps(t *testing.T) {
	t.Parallel()
	for _, gap := range []struct {
		name, reason string
		flavours     []securityfs.Flavour
		lose         func(k *fakeKernel)
	}{
		{"kexec without the list", "kexec-lost", flavours, func(k *fakeKernel) { k.measure(2); k.kexec(false) }},
		{"hibernated", "resumed", flavours, func(k *fakeKernel) { k.tpm.Restart() }},
		{"hibernated without a word to the TPM", "resumed", flavours, func(k *fakeKernel) { k.tpm.Reset() }},
		{"deleted by another", "unknown", []securityfs.Flavour{securityfs.Counted, securityfs.Staging}, func(k *fakeKernel) {
			k.measure(3)
			k.list = k.list[2:]
		}},
		{"staged and deleted by another", "unknown", []securityfs.Flavour{securityfs.Staging}, func(k *fakeKernel) {
			k.measure(3)
			k.list = nil
		}},
		{"extended by something else", "unknown", flavours, func(k *fakeKernel) {
			k.extend(10, func(b ima.Bank) []byte { return make([]byte, b.Size()) })
		}},
	} {
		for _, flavour := range gap.flavours {
			t.Run(gap.name+"/"+flavour.String(), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, flavour)
				k := w.kernel
				k.measure(3)
				w.round()
				gap.lose(k)
				k.measure(1)
				came := false
				w.change = func(c *agent.Config) {
					c.Step = func(step string) {
						// One more, while the quote is made that is to close the gap.
						if step == "quoted" && w.gapping() && !came {
							came = true
							k.measure(1)
						}
					}
				}
				// And one more after the registers were read, before the records are counted
				// again.
				counts := 0
				k.onCount = func() {
					if counts++; w.gapping() && counts == 4 {
						k.measure(1)
					} else if !w.gapping() {
						counts = 0
					}
				}
				if err := w.try(); err != nil { // says that there is a gap
					t.Fatal(err)
				}
				w.change, k.onCount = nil, nil
				if !came || counts < 4 {
					t.Fatalf("records came at %v and %d", came, counts)
				}
				k.measure(2)
				w.round()
				last, before := w.newestSegments()
				if before.Join != (ledger.Join{Kind: ledger.JoinGap, Reason: gap.reason}) || before.Count != 0 {
					t.Fatalf("%v of %d records, want a gap %s of none", before.Join, before.Count, gap.reason)
				}
				if last.Join.Kind != ledger.JoinContinues || last.Count != 2 {
					t.Errorf("after it: %v of %d records, want 2 more", last.Join, last.Count)
				}
				a := w.running()
				if s := a.Status(); s.Receipted != 2 || s.Unsealed != 0 || s.PassedOver != s.Listed-2 {
					t.Errorf("status: %d listed, %d receipted, %d before the gap", s.Listed, s.Receipted, s.PassedOver)
				}
				a.Close()
				r, _ := w.evidence()
				for _, f := range r.Findings {
					if f.Class() == ledger.Contradicted || f.Class() == ledger.Undecided && f.Code != ledger.Gap {
						t.Errorf("%v", f)
					}
				}
				w.round()
				if again, _ := w.newestSegments(); again.Sequence != last.Sequence {
					t.Errorf("#%d: %v, though nothing is new", again.Sequence, again.Join)
				}
			})
		}
	}
}

// gapping reports whether the agent is about to close a gap: then it waits for a
// moment in which nothing is listed.
func (w *world) gapping() bool {
	stack := make([]byte, 8<<10)
	return strings.Contains(string(stack[:runtime.Stack(stack, false)]), ".(*Agent).gap(")
}

// TestSuspendedToMemory: a suspension to memory keeps the registers. It is no gap.
func TestSuspendedToMemory(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		w := newWorld(t, flavour)
		k := w.kernel
		k.measure(3)
		w.round()
		for range 2 {
			k.measure(1)
			k.tpm.Resume()
			k.measure(1)
			w.round()
		}
		if n := w.whole(); n != 8 || w.gapped() != "" {
			t.Errorf("%s: %d records sealed, want 8; %s", flavour, n, w.gapped())
		}
	}
}

// TestSwapped: between receipt and deletion another program deletes what is staged
// and stages what is new. What nobody has read is not deleted.
func TestSwapped(t *testing.T) {
	t.Parallel()
	for _, flavour := range []securityfs.Flavour{securityfs.Counted, securityfs.Staging} {
		w := newWorld(t, flavour)
		k := w.kernel
		k.measure(3)
		w.round()
		k.measure(3)
		done := false
		w.change = func(c *agent.Config) {
			c.Step = func(step string) {
				if step != "receipted" || done {
					return
				}
				done = true
				k.measure(2)
				if flavour == securityfs.Staging {
					k.staged, k.list = k.list, nil
				} else {
					k.list = k.list[1:]
				}
			}
		}
		err := w.try()
		if !done || err == nil || !strings.Contains(err.Error(), "nothing was deleted") {
			t.Errorf("%s: %v", flavour, err)
		}
		w.change = nil
		w.round()
		w.round()
		w.exported()
		if n := w.whole(); n != 9 {
			t.Errorf("%s: %d records sealed, want 9", flavour, n)
		}
	}
}

// TestBetween: records that come at any moment of a round are sealed in it or in
// the next, and not twice.
func TestBetween(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		for _, step := range steps {
			w := newWorld(t, flavour)
			k := w.kernel
			k.measure(2)
			came := 0
			w.change = func(c *agent.Config) {
				c.Step = func(s string) {
					if s == step {
						came++
						k.measure(1)
					}
				}
			}
			for range 3 {
				if err := w.try(); err != nil {
					t.Fatalf("%s, a record after %s: %v", flavour, step, err)
				}
				k.measure(1)
			}
			w.change = nil
			w.round()
			w.exported()
			if n := w.whole(); n != len(k.history[0]) {
				t.Errorf("%s, records after %s: %d sealed, want %d", flavour, step, n, len(k.history[0]))
			}
			if came == 0 && (flavour == securityfs.Staging || step != "staged") && (flavour != securityfs.ReadOnly || step != "deleted") && step != "activated" {
				t.Errorf("%s: no round came to %s", flavour, step)
			}
		}
	}
}

// TestFirstSeen: a host whose list was shortened before the agent came.
func TestFirstSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	k := w.kernel
	k.measure(5)
	k.list = k.list[3:]
	w.round()
	k.measure(2)
	w.round()
	last, before := w.newestSegments()
	if before.Join != (ledger.Join{Kind: ledger.JoinGap, Reason: "first-seen"}) || last.Count != 2 {
		t.Errorf("%v, then %v of %d", before.Join, last.Join, last.Count)
	}
}

// TestStagedByAnother: another program set records apart, before and after the
// agent read them. They are taken in, and deleted with their receipt.
func TestStagedByAnother(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		w := newWorld(t, securityfs.Staging)
		k := w.kernel
		k.measure(2)
		w.round()
		k.measure(3)
		if known {
			w.down()
			k.busy = errors.New("held")
			w.once("")
			k.busy = nil
			w.answer(nil)
		}
		k.staged, k.list = k.list, nil
		k.measure(1)
		w.round()
		w.round()
		if n := w.whole(); n != 7 {
			t.Errorf("known %v: %d records sealed, want 7", known, n)
		}
		if n := len(k.staged) + len(k.list); n > 1 {
			t.Errorf("known %v: %d records are left", known, n)
		}
	}
}

// TestBusy: while the list is held open, nothing is sealed and nothing lost.
func TestBusy(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		w := newWorld(t, flavour)
		k := w.kernel
		k.measure(2)
		w.round()
		k.measure(3)
		k.busy = &securityfs.BusyError{Path: "binary_runtime_measurements", Holders: []securityfs.Holder{{PID: 7, Name: "keylime_agent"}}}
		var busy *securityfs.BusyError
		if err := w.try(); !errors.As(err, &busy) || !strings.Contains(err.Error(), "keylime_agent (process 7)") {
			t.Errorf("%v", err)
		}
		k.busy = nil
		w.round()
		if n := w.whole(); n != 6 {
			t.Errorf("%d records sealed, want 6", n)
		}
	}
}

// TestSpoolLimit: at the limit nothing more is read, and the rest stays in the
// kernel; all goes on when receipts come.
func TestSpoolLimit(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		w := newWorld(t, flavour)
		w.change = func(c *agent.Config) { c.SpoolLimit = 1500 }
		k := w.kernel
		k.measure(2)
		w.round()
		w.down()
		k.measure(15)
		a, err := w.open(w.config())
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Once(t.Context()); err == nil || errors.Is(err, agent.ErrSpoolFull) {
			t.Errorf("%v, want the ledger down", err)
		}
		spooled := a.Status().SpoolBytes
		for range 3 {
			k.measure(5)
			if err := a.Once(t.Context()); !errors.Is(err, agent.ErrSpoolFull) {
				t.Errorf("%v, want a full spool", err)
			}
		}
		if s := a.Status(); s.SpoolBytes != spooled || spooled < 1500 || !strings.Contains(s.Problems[1].Mend, "spool-limit") {
			t.Errorf("%d bytes are spooled, before it were %d: %+v", s.SpoolBytes, spooled, s.Problems)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if n := len(k.list) + len(k.staged); n < 30 {
			t.Errorf("%d records are in the kernel, want 30", n)
		}
		w.answer(nil)
		w.try() // it frees the spool, too late for this round
		w.round()
		w.exported()
		if n := w.whole(); n != 33 {
			t.Errorf("%s: %d records sealed, want 33", flavour, n)
		}
	}
}

// TestRetention: old lists go, with the anchors and places of their segments;
// entries and receipts stay, and so does what has no receipt.
func TestRetention(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	w.change = func(c *agent.Config) { c.Lists = 2 }
	k := w.kernel
	count := func(pattern string) int {
		names, err := filepath.Glob(filepath.Join(w.dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	for range 3 {
		k.measure(1)
		w.round()
		k.reboot()
	}
	w.round()
	if lists, entries, proofs, anchors := count("lists/0*"), count("chain/*.entry"), count("chain/*.proof"), count("chain/*.anchor"); lists != 2 || entries != 5 || proofs != 5 || anchors != 2 {
		t.Errorf("%d lists, %d entries, %d proofs, %d anchors", lists, entries, proofs, anchors)
	}
	w.down()
	for range 3 {
		k.reboot()
		w.try() // the ledger is down
	}
	if lists := count("lists/0*"); lists != 3 {
		t.Errorf("%d lists, want the three without a receipt", lists)
	}
	w.answer(nil)
	w.round()
	if lists := count("lists/0*"); lists != 2 {
		t.Errorf("%d lists", lists)
	}
}

// TestSuspended: between the load of another kernel and its start nothing can be
// staged or deleted: the records go on to it, and are not sealed twice there.
func TestSuspended(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		w := newWorld(t, flavour)
		k := w.kernel
		k.measure(2)
		w.round()
		k.measure(3)
		k.suspended = true
		w.round()
		if n := w.whole(); n != 6 {
			t.Errorf("%s: %d records sealed, want 6", flavour, n)
		}
		if n := len(k.list) + len(k.staged); n < 3 {
			t.Errorf("%s: %d records are in the kernel, of which none could be deleted", flavour, n)
		}
		k.kexec(true)
		k.measure(1)
		w.round()
		w.exported()
		if n := w.whole(); n != 8 {
			t.Errorf("%s: %d records sealed after the kexec, want 8", flavour, n)
		}
	}
}

// TestTooLong: what the kernel lists is more than a segment can have: since before the
// agent came, or since nothing could be read for long. No register value between its begin
// and its end was quoted, so no part of it can be sealed. It is passed over by a gap, and
// what follows is sealed.
func TestTooLong(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		for _, first := range []bool{false, true} {
			w := newWorld(t, flavour)
			w.change = func(c *agent.Config) { c.MaxSegment = 2000 }
			k := w.kernel
			reason := "unknown"
			if first {
				reason = "first-seen"
			} else {
				w.round()
			}
			k.measure(30)
			w.round()
			k.measure(2)
			w.round()
			last, before := w.newestSegments()
			if before == nil || before.Join != (ledger.Join{Kind: ledger.JoinGap, Reason: reason}) || last.Join.Kind != ledger.JoinContinues || last.Count != 2 {
				t.Errorf("%s, first %v: %+v, then %v of %d records", flavour, first, before, last.Join, last.Count)
			}
			if r, _ := w.evidence(); r.Class() == ledger.Contradicted {
				t.Errorf("%s, first %v: %v", flavour, first, r.Findings)
			}
			if first || flavour == securityfs.ReadOnly { // else what was deleted before is in the list before
				w.exported()
			}
			if n := k.held(); n != 0 && flavour != securityfs.ReadOnly {
				t.Errorf("%s, first %v: %d records are in the kernel", flavour, first, n)
			}
		}
	}
}

// TestNoBoot: what the kernel lists does not begin a boot as it must: no register was
// extended, since the kernel found no TPM when it began to measure; the registers began
// anew under a kernel that went on; or something else extended PCR 0 to 9 after it. The
// ledger refuses such a boot for ever: there is a gap, and what follows is sealed.
func TestNoBoot(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, reason string
		begin        func(k *fakeKernel)
	}{
		{"no TPM", "trimmed", func(k *fakeKernel) {
			k.reboot()
			k.measure(2)
			k.tpm.Reset()
		}},
		{"hibernated before a kexec", "trimmed", func(k *fakeKernel) {
			k.tpm.Restart()
			k.list, k.staged = nil, nil
			k.measure(2)
			k.kexec(true)
		}},
		{"other registers", "extended", func(k *fakeKernel) {
			k.reboot()
			if err := k.tpm.Extend(9, map[ima.Bank][]byte{ima.SHA256: make([]byte, 32)}); err != nil {
				k.t.Fatal(err)
			}
		}},
	} {
		for _, flavour := range flavours {
			w := newWorld(t, flavour)
			k := w.kernel
			k.measure(2)
			w.round()
			test.begin(k)
			w.round()
			last, before := w.newestSegments()
			if last.Join != (ledger.Join{Kind: ledger.JoinGap, Reason: test.reason}) {
				t.Errorf("%s, %s: %v after %v", test.name, flavour, last.Join, before.Join)
			}
			k.measure(2)
			w.round()
			if last, _ = w.newestSegments(); last.Join.Kind != ledger.JoinContinues || last.Count != 2 {
				t.Errorf("%s, %s: then %v of %d records", test.name, flavour, last.Join, last.Count)
			}
			if r, _ := w.evidence(); r.Class() == ledger.Contradicted {
				t.Errorf("%s, %s: %v", test.name, flavour, r.Findings)
			}
		}
	}
}

// TestBypass: a kernel that found no TPM when it began to measure. The host says so, and
// the next boot is sealed.
func TestBypass(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		w := newWorld(t, flavour)
		k := w.kernel
		k.measure(2)
		w.round()
		k.bypass = true
		k.reboot()
		k.measure(2)
		w.round() // a gap
		k.measure(1)
		w.try() // reads it
		a := w.running()
		if err := a.Once(t.Context()); !errors.Is(err, agent.ErrNotExtended) {
			t.Errorf("%s: %v, want %v", flavour, err, agent.ErrNotExtended)
		}
		if p := a.Status().Problems; len(p) != 1 || p[0].Mend != agent.NoTPMDriver {
			t.Errorf("%s: %+v", flavour, p)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		k.bypass = false
		k.reboot()
		k.measure(2)
		w.round()
		if last, _ := w.newestSegments(); last.Join.Kind != ledger.JoinBoot || last.Count != 3 {
			t.Errorf("%s: %v of %d records", flavour, last.Join, last.Count)
		}
		if r, _ := w.evidence(); r.Class() == ledger.Contradicted {
			t.Errorf("%s: %v", flavour, r.Findings)
		}
	}
}

// TestSpoolLimitUnsealed: between two rounds more is read at once than the spool may have.
// No receipt will make room for it: it is sealed all the same.
func TestSpoolLimitUnsealed(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		w := newWorld(t, flavour)
		w.change = func(c *agent.Config) { c.SpoolLimit = 1500 }
		k := w.kernel
		a := w.running()
		if err := a.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.measure(30)
		if _, err := a.Due(schedule); err != nil {
			t.Fatal(err)
		}
		if err := a.Once(t.Context()); err != nil {
			t.Errorf("%s: %v", flavour, err)
		}
		w.exported()
		if n := w.whole(); n != 31 {
			t.Errorf("%s: %d records sealed, want 31", flavour, n)
		}
	}
}

// TestClearedInGap: the power is cut while a gap is closed, and then the TPM is cleared.
// The gap says so, and is taken.
func TestClearedInGap(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"appended", "written", "spooled"} {
		device := newSwtpm(t)
		device.Clear()
		w := newWorldOf(t, newFakeKernelOf(t, securityfs.Counted, device))
		k := w.kernel
		k.reboot()
		k.measure(3)
		w.round()
		k.measure(3)
		k.list = k.list[2:] // by another program
		came := false
		w.change = func(c *agent.Config) {
			c.Step = func(s string) {
				if s == step && w.gapping() {
					came = true
					panic(errPower)
				}
			}
		}
		func() {
			a := w.running()
			defer func() {
				if r := recover(); r != errPower {
					t.Errorf("no cut: %v", r)
				}
				a.Close()
			}()
			a.Once(t.Context())
		}()
		w.change = nil
		device.Clear()
		k.measure(1)
		for range 2 {
			if err := w.try(); err != nil {
				t.Errorf("cut after %s: %v", step, err)
			}
			k.measure(1)
		}
		if r, _ := w.evidence(); !came || r.Class() == ledger.Contradicted {
			t.Errorf("cut after %s: %v", step, r.Findings)
		}
	}
}
