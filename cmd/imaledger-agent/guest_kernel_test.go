//go:build guest

package main

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/guest"
)

// TestGuestErrors: the kernel answers as the agent expects.
func TestGuestErrors(t *testing.T) {
	kernels, err := guest.Kernels()
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, byCertificate)
	h := s.newHost(t, kernels[0], "errors.example")
	h.boot()
	const list, staged = imaDir + "binary_runtime_measurements_sha1", imaDir + "binary_runtime_measurements_sha1_staged"
	for _, step := range []struct{ file, text, want string }{
		{staged, "D\n", "no such file"}, {staged, "A\n", ""}, {staged, "A\n", "file exists"}, {staged, "D\n", ""}, {staged, "A\n", "no such file"},
		{list, "1\n", "no such file"}, {list, "0\n", "invalid argument"}, {list, "A\n", "invalid argument"}, {staged, "1\n", "invalid argument"},
	} {
		_, err := h.Call(guest.Request{Op: guest.OpCommand, Path: step.file, Text: step.text})
		if step.want == "" && err != nil || step.want != "" && (err == nil || !strings.Contains(err.Error(), step.want)) {
			t.Errorf("%q: %v, want %q", step.text, err, step.want)
		}
	}
}

// TestGuestCounted: the list is shortened by numbers, through power cuts and beside
// another program that does the same. A kernel that was told to forget what it has
// listed refuses that, and the agent says why; set apart, the records are deleted.
func TestGuestCounted(t *testing.T) {
	kernels, err := guest.Kernels()
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, byCertificate)
	h := s.newHost(t, kernels[0], "counted.example")
	h.boot()
	flags := []string{"once", "--delete", "count"}
	round := func() {
		t.Helper()
		h.look()
		if code, stdout, stderr := h.agent(flags...); code != 0 {
			t.Fatalf("once: exit %d\n%s\n%s", code, stdout, stderr)
		}
		h.look()
	}
	for range 3 {
		h.measure(20)
		round()
		if left := h.kernelRecords(); left != 0 {
			t.Errorf("%d records are left in the kernel", left)
		}
	}
	h.evmctl()
	for _, step := range []string{"read", "receipted", "deleted"} {
		h.measure(4)
		if !h.cutAt(step, flags[1:]...) {
			t.Errorf("no round came to %s", step)
		}
		h.measure(2)
		round()
		h.check(expected{sealed: true})
	}
	h.measure(5)
	h.look()
	h.call(guest.Request{Op: guest.OpCommand, Path: imaDir + "binary_runtime_measurements", Text: "2\n"})
	h.measure(3)
	round() // closes the gap
	h.measure(4)
	round()
	want := expected{missing: 8, gaps: []string{"unknown"}, sealed: true}
	h.check(want)

	h.Append = "ima_flush_htable"
	h.reboot()
	h.measure(3)
	h.look()
	if code, _, stderr := h.agent(flags...); code != 3 || !strings.Contains(stderr, "booted with ima_flush_htable") {
		t.Errorf("once: exit %d\n%s", code, stderr)
	}
	if left := h.kernelRecords(); left != 4 {
		t.Errorf("%d records are in the kernel, want 4", left)
	}
	flags = flags[:1]
	round()
	if left := h.kernelRecords(); left != 0 {
		t.Errorf("%d records are left in the kernel", left)
	}
	for range 2 { // the same records again: the kernel has forgotten them
		h.call(guest.Request{Op: guest.OpAgain})
		h.measure(1)
		round()
	}
	h.check(want)
}

// stick is a folder that is carried between the host and the ledger.
const stick = "/var/stick"

// submit copies the folder out of the guest, has imaledger submit it, and copies it
// back.
func (h *host) submit() string {
	h.t.Helper()
	dir := h.t.TempDir()
	for _, part := range []string{"addenda", "entries", "enrolments", "consistency"} {
		h.must(os.MkdirAll(filepath.Join(dir, part), 0o755))
		list, err := h.Call(guest.Request{Op: guest.OpList, Path: path.Join(stick, part)})
		if err != nil {
			continue // the agent has made none yet
		}
		for name := range strings.FieldsSeq(string(list.Stdout)) {
			content := h.call(guest.Request{Op: guest.OpRead, Path: path.Join(stick, part, name)}).Stdout
			h.must(os.WriteFile(filepath.Join(dir, part, name), content, 0o644))
		}
	}
	out, err := h.site.tool("submit", "--ledger", h.site.client.Base, dir)
	if err != nil {
		h.t.Fatalf("submit: %v: %s", err, out)
	}
	h.must(filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		if err == nil {
			_, err = h.Call(guest.Request{Op: guest.OpWrite, Path: stick + strings.TrimPrefix(name, dir), Data: content})
		}
		return err
	}))
	return out
}

// TestGuestOffline: a host that reaches no ledger. Its segments are carried by hand,
// and nothing is deleted before the receipts are back.
func TestGuestOffline(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, byCertificate)
		h := s.newHost(t, k, "offline.example")
		h.boot()
		once := func(want int) {
			t.Helper()
			h.look()
			if code, stdout, stderr := h.agent("once", "--ledger", "", "--offline", stick); code != want || want == 3 && !strings.Contains(stderr, "imaledger submit") {
				t.Fatalf("once: exit %d, want %d\n%s%s", code, want, stdout, stderr)
			}
			h.look()
		}
		h.measure(4)
		once(3)
		h.submit()
		once(3) // the answer to the registrar's challenge
		h.submit()
		for range 2 {
			h.measure(3)
			once(3)
		}
		if left := h.kernelRecords(); left != 11 {
			t.Errorf("%d records are in the kernel, want 11", left)
		}
		h.submit()
		once(0)
		if left := h.kernelRecords(); k.Staging && left != 0 {
			t.Errorf("%d records are left in the kernel", left)
		}
		h.check(expected{sealed: true})
	})
}

// TestGuestSleep: the TPM goes down and up while the kernel goes on. A suspension
// keeps the registers; a hibernation zeroes them, and so does a reset.
func TestGuestSleep(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, byCertificate)
		h := s.newHost(t, k, "sleep.example")
		h.boot()
		h.measure(4)
		h.round()
		for range 2 {
			h.measure(1)
			h.powerTPM(guest.Suspend)
			h.measure(2)
			h.round()
		}
		h.check(expected{sealed: true})
		missing, gaps := 0, []string(nil)
		for _, change := range []guest.PowerChange{guest.Hibernate, guest.PowerLoss} {
			h.measure(2) // these two were extended into what is gone
			h.powerTPM(change)
			h.measure(1) // before the gap is closed
			h.round()
			h.measure(3)
			h.round()
			missing, gaps = missing+3, append(gaps, "resumed")
			h.check(expected{missing: missing, gaps: gaps, sealed: true})
		}
		h.reboot()
		h.measure(2)
		h.round()
		h.check(expected{missing: missing, gaps: gaps, sealed: true})
	})
}

// TestGuestClock: a clock that is ten years or an hour off decides nothing: records
// are sealed, receipted and deleted as ever, and check says that it is wrong.
func TestGuestClock(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, byCertificate)
		h := s.newHost(t, k, "clock.example")
		for i, off := range []time.Duration{-10 * 365 * 24 * time.Hour, -time.Hour, time.Hour, 10 * 365 * 24 * time.Hour} {
			h.Clock = time.Now().UTC().Add(off).Format("2006-01-02T15:04:05")
			if i == 0 {
				h.boot()
			} else {
				h.reboot()
			}
			h.measure(3)
			h.round()
			if left := h.kernelRecords(); k.Staging && left != 0 {
				t.Errorf("%s off: %d records are left in the kernel", off, left)
			}
			h.check(expected{sealed: true})
			_, out, _ := h.agent("check")
			if wrong := strings.Contains(out, "LACKING  clock"); wrong != (off != time.Hour) {
				t.Errorf("%s off: check says\n%s", off, out)
			}
		}
	})
}
