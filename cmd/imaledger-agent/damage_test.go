package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// files are those of the agent's directory, without the lock.
func (w *world) files() (list []string) {
	w.t.Helper()
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != "lock" {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// TestDamage flips a bit of each file, and takes each file away, while records
// wait in the kernel for their receipt. The agent goes on or says which file it
// is; no record is lost, none is sealed twice, and when the file is as it was,
// all goes on.
func TestDamage(t *testing.T) {
	t.Parallel()
	for _, flavour := range []securityfs.Flavour{securityfs.ReadOnly, securityfs.Staging} {
		t.Run(flavour.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, flavour)
			k := w.kernel
			k.measure(3)
			k.violate()
			w.round()
			w.down()
			k.measure(3)
			k.violate()
			if err := w.once(""); err == nil {
				t.Fatal("no error while the ledger is down")
			}
			// And some that were read and have no segment yet.
			k.measure(2)
			a, err := w.open(w.config())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.Due(agent.Schedule{Records: 100, Bytes: 1 << 20}); err != nil {
				t.Fatal(err)
			}
			if s := a.Status(); s.Unsealed != 2 {
				t.Fatalf("%d records are unsealed, want 2", s.Unsealed)
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			held := len(k.list) + len(k.staged)
			saved := filepath.Join(t.TempDir(), "saved")
			if err := os.CopyFS(saved, os.DirFS(w.dir)); err != nil {
				t.Fatal(err)
			}
			for _, path := range w.files() {
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				for at := -1; at < len(content); at += 1 + len(content)/7 {
					damage := func() error { return os.Remove(path) }
					if at >= 0 {
						altered := append([]byte{}, content...)
						altered[at] ^= 4
						damage = func() error { return os.WriteFile(path, altered, 0o600) }
					}
					if err := damage(); err != nil {
						t.Fatal(err)
					}
					w.damaged(path, at, held)
					if err := errors.Join(os.RemoveAll(w.dir), os.CopyFS(w.dir, os.DirFS(saved))); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.answer(nil)
			w.round()
			w.exported()
			if n := w.whole(); n != len(k.history[0]) {
				t.Errorf("%d records sealed, want %d", n, len(k.history[0]))
			}
		})
	}
}

// damaged has the agent make a round, with the ledger down, in a directory in
// which a file is damaged.
func (w *world) damaged(path string, at, held int) {
	w.t.Helper()
	err := w.try()
	if err == nil {
		w.t.Errorf("%s, byte %d: no error", path, at)
	}
	if filepath.Base(filepath.Dir(path)) == "000001" && at >= 0 && !strings.Contains(err.Error(), "the exported list is damaged") {
		w.exported() // it was read from the kernel again
	}
	names := strings.Contains(err.Error(), filepath.Dir(path)) || strings.Contains(err.Error(), filepath.Base(path))
	// An entry that is gone and was never submitted is made again.
	vital := filepath.Ext(path) == ".entry" && at >= 0 || filepath.Ext(path) == ".place" || filepath.Base(path) == "state"
	if !names && (vital || !strings.Contains(err.Error(), "503")) {
		w.t.Errorf("%s, byte %d: the error does not name it: %v", path, at, err)
	}
	if n := len(w.kernel.list) + len(w.kernel.staged); n != held {
		w.t.Fatalf("%s, byte %d: %d records are in the kernel, there were %d", path, at, n, held)
	}
	if gap := w.gapped(); gap != "" {
		w.t.Errorf("%s, byte %d: %s", path, at, gap)
	}
}
