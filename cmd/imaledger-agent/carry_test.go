package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/ledger/carry"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// submitFolder is what imaledger submit does.
func (w *world) submitFolder(dir string) *carry.Summary {
	w.t.Helper()
	s, err := carry.Submit(w.t.Context(), dir, w.client, 10*time.Second)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// TestOffline: a host that never reaches its ledger. It is enrolled and its
// segments are receipted by a folder that is carried to and fro; nothing is deleted
// before the receipts are back and verified.
func TestOffline(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, flavour)
			k := w.kernel
			stick := filepath.Join(t.TempDir(), "stick")
			w.change = func(c *agent.Config) { c.Ledger = &carry.Folder{Dir: stick} }
			waits := func() {
				t.Helper()
				if err := w.once(""); !errors.Is(err, client.ErrWaiting) {
					t.Fatalf("%v, want %v", err, client.ErrWaiting)
				}
			}
			k.measure(3)
			waits()
			if s := w.submitFolder(stick); s.Enrolments != 1 {
				t.Fatalf("%+v", s)
			}
			waits() // enrolled, and the first segment is on the stick
			for range 3 {
				k.measure(2)
				waits()
			}
			if n := len(k.list) + len(k.staged); n != 10 {
				t.Errorf("%d records are in the kernel, want 10", n)
			}
			if s := w.submitFolder(stick); s.Entries != 4 {
				t.Errorf("%+v, want 4 entries", s)
			}
			if s := w.submitFolder(stick); s.Entries != 0 {
				t.Errorf("submitted again: %+v", s)
			}
			w.round()
			if n := w.whole(); n != 10 {
				t.Errorf("%d records sealed, want 10", n)
			}
			if n := len(k.list) + len(k.staged); n > 0 && flavour != securityfs.ReadOnly {
				t.Errorf("%d records are in the kernel", n)
			}
			k.reboot()
			k.measure(1)
			waits()
			w.submitFolder(stick)
			w.round()
			if n := w.whole(); n != 12 {
				t.Errorf("%d records sealed, want 12", n)
			}
		})
	}
}

// TestFolderAltered: what comes back altered is refused, and deletes nothing.
func TestFolderAltered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	k := w.kernel
	stick := filepath.Join(t.TempDir(), "stick")
	w.change = func(c *agent.Config) { c.Ledger = &carry.Folder{Dir: stick} }
	w.once("")
	w.submitFolder(stick)
	k.measure(3)
	w.once("")
	w.submitFolder(stick)
	held := len(k.list) + len(k.staged)
	var answers []string
	err := filepath.WalkDir(stick, func(path string, d fs.DirEntry, err error) error {
		if err == nil && (filepath.Ext(path) == ".proof" || filepath.Base(filepath.Dir(path)) == "consistency" || filepath.Base(path) == "checkpoint") {
			answers = append(answers, path)
		}
		return err
	})
	if err != nil || len(answers) < 4 {
		t.Fatalf("answers: %q, %v", answers, err)
	}
	refused := 0
	for _, path := range answers {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		saved := filepath.Join(t.TempDir(), "saved")
		if err := os.CopyFS(saved, os.DirFS(w.dir)); err != nil {
			t.Fatal(err)
		}
		for at := 3; at < len(content); at += 1 + len(content)/9 {
			altered := append([]byte{}, content...)
			altered[at] ^= 1
			if err := os.WriteFile(path, altered, 0o600); err != nil {
				t.Fatal(err)
			}
			list, staged := k.list, k.staged
			if err := w.try(); err != nil {
				refused++
				if n := len(k.list) + len(k.staged); n != held && filepath.Base(path) != "checkpoint" && filepath.Base(filepath.Dir(path)) != "consistency" {
					t.Errorf("%s, byte %d: refused, and %d records are in the kernel, want %d: %v", filepath.Base(path), at, n, held, err)
				}
			}
			// As it was, for the next.
			k.list, k.staged = list, staged
			if err := errors.Join(os.RemoveAll(w.dir), os.CopyFS(w.dir, os.DirFS(saved))); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if refused < 10 {
		t.Errorf("%d alterations were refused", refused)
	}
	w.round()
	w.whole()
}
