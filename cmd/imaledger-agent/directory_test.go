package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

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

// TestAskedWhileStarting: who asks whether an agent runs, as status does, keeps none
// from starting; an agent that runs does.
func TestAskedWhileStarting(t *testing.T) {
	// Not beside tests that start programs, which have this one's files for a moment.
	w := newWorld(t, securityfs.Staging)
	w.kernel.measure(2)
	w.round()
	asked, err := os.Open(filepath.Join(w.dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer asked.Close()
	for range 3 {
		if err := syscall.Flock(int(asked.Fd()), syscall.LOCK_SH); err != nil {
			t.Fatal(err)
		}
		answered := make(chan error)
		go func() {
			time.Sleep(20 * time.Millisecond)
			answered <- syscall.Flock(int(asked.Fd()), syscall.LOCK_UN)
		}()
		a, err := agent.New(w.config())
		if err := errors.Join(err, <-answered); err != nil {
			t.Fatal(err)
		}
		if !agent.Running(w.dir) {
			t.Error("an agent that runs is not seen")
		}
		if _, err := agent.New(w.config()); !errors.Is(err, agent.ErrLocked) {
			t.Errorf("a second agent: %v", err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if agent.Running(w.dir) {
			t.Error("an agent that has ended is seen")
		}
	}
}

// TestManyFiles: in a directory of thousands of files each is found, and those of older
// lists are removed.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	w.change = func(c *agent.Config) { c.Lists = 1 }
	k := w.kernel
	file := func(n int, suffix string) string {
		return filepath.Join(w.dir, fmt.Sprintf("chain/%010d%s", n, suffix))
	}
	k.measure(1)
	w.round()
	for range 3 {
		w.down()
		k.measure(1)
		w.try() // one more waits
		w.answer(nil)
	}
	place, err := os.ReadFile(file(1, ".place"))
	if err != nil {
		t.Fatal(err)
	}
	const many = 3000
	for n := range many { // of entries that are not there
		for suffix, content := range map[string][]byte{".proof": nil, ".place": place, ".anchor": nil} {
			if err := os.WriteFile(file(1000+n, suffix), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	a := w.running()
	if s := a.Status(); s.Segments != 5 || s.Pending != 3 {
		t.Errorf("%d entries, %d wait: want 5 and 3", s.Segments, s.Pending)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	w.round()
	k.reboot()
	w.round()
	for _, suffix := range []string{".place", ".anchor"} {
		if left, err := filepath.Glob(filepath.Join(w.dir, "chain", "*"+suffix)); err != nil || len(left) != 1 {
			t.Errorf("%d files are left of %s, want that of the newest segment: %v", len(left), suffix, err)
		}
	}
}
