package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

func mustCopy(t *testing.T, from, to string, trust *ledger.Trust) *CopyReport {
	t.Helper()
	r, err := Copy(t.Context(), from, to, trust, noProgress)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestCopy: a backup is made while hosts submit, is whole, takes in what is new
// and leaves what was erased; and a ledger goes on from it.
func TestCopy(t *testing.T) {
	l, erased := archived(t)
	w := startLoad(t, l, 4)
	backup := filepath.Join(t.TempDir(), "backup")
	for w.acks() < 20 {
		time.Sleep(10 * time.Millisecond)
	}
	first := mustCopy(t, l.config.Dir, backup, l.config.Trust)
	for w.acks() < 60 {
		time.Sleep(10 * time.Millisecond)
	}
	mustCheck(t, backup, l.config.Trust)
	second := mustCopy(t, l.config.Dir, backup, l.config.Trust)
	w.end()
	r := mustCheck(t, backup, l.config.Trust)
	if first.Size < 270 || second.Size <= first.Size || second.Written >= first.Written || r.Size != second.Size || r.Erased != 1 {
		t.Errorf("first %+v, second %+v, check %+v", first, second, r)
	}
	if _, err := os.Stat(filepath.Join(backup, ledger.AddendumPath(payloadOf(t, erased)))); !os.IsNotExist(err) {
		t.Errorf("records that were erased are in the backup: %v", err)
	}

	// What is erased after a backup leaves the next one.
	h := l.enrolHost(t, "late")
	leaf, _ := l.submit(t, h, "/bin/late")
	mustCopy(t, l.config.Dir, backup, l.config.Trust)
	inBackup := filepath.Join(backup, ledger.AddendumPath(payloadOf(t, leaf)))
	if _, err := os.Stat(inBackup); err != nil {
		t.Fatal(err)
	}
	l.pass(t, day, h)
	l.pass(t, 2*day, h)
	policy, _ := l.server.chains.policy()
	l.mustState(t, erasureOf(policy, leaf))
	if r := mustCopy(t, l.config.Dir, backup, l.config.Trust); r.Deleted != 1 {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(inBackup); !os.IsNotExist(err) {
		t.Errorf("erased since, and in the backup: %v", err)
	}

	// The machine is lost.
	l.kill()
	time.Sleep(50 * time.Millisecond)
	if err := os.RemoveAll(l.config.Dir); err != nil {
		t.Fatal(err)
	}
	mustCopy(t, backup, l.config.Dir, l.config.Trust)
	l.start(t)
	l.submit(t, h, "/bin/after")
	l.kill()
	time.Sleep(50 * time.Millisecond)
	mustCheck(t, l.config.Dir, l.config.Trust)

	// The backup is the older one now.
	if _, err := Copy(t.Context(), backup, l.config.Dir, l.config.Trust, noProgress); err == nil || !strings.Contains(err.Error(), "it is the newer one") {
		t.Errorf("an older copy over a newer: %v", err)
	}
	other := startLedger(t, ledger.GradeSoftware)
	other.enrolHost(t, "x")
	if _, err := Copy(t.Context(), other.config.Dir, backup, l.config.Trust, noProgress); err == nil {
		t.Error("another log's checkpoint passes")
	}
}

// A copy of what is damaged is no backup, and says so.
func TestCopyDamaged(t *testing.T) {
	l, _ := archived(t)
	l.kill()
	time.Sleep(50 * time.Millisecond)
	var victim string
	err := filepath.WalkDir(filepath.Join(l.config.Dir, addendaDir), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && victim == "" {
			victim = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(path string) error{
		victim: os.Remove,
		filepath.Join(l.config.Dir, logDir, "tile/entries/000"): func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b[1000] ^= 1
			return os.WriteFile(path, b, 0o644)
		},
	} {
		good, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := damage(name); err != nil {
			t.Fatal(err)
		}
		to := t.TempDir()
		if _, err := Copy(t.Context(), l.config.Dir, to, l.config.Trust, noProgress); err == nil {
			t.Errorf("%s: the copy passes", name)
		}
		if _, err := os.Stat(filepath.Join(to, logDir, "checkpoint")); !os.IsNotExist(err) {
			t.Errorf("%s: what is not whole has a checkpoint: %v", name, err)
		}
		if err := os.WriteFile(name, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRebuild: tiles and state come back from the entries; entries that are not the
// log's are left alone.
func TestRebuild(t *testing.T) {
	l, _ := archived(t)
	if _, err := Rebuild(t.Context(), l.config.Dir, l.config.Trust, noProgress); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("while it runs: %v", err)
	}
	l.kill()
	time.Sleep(50 * time.Millisecond)
	log := filepath.Join(l.config.Dir, logDir)
	for _, level := range []string{"tile/0", "tile/1", ".state"} {
		if err := os.RemoveAll(filepath.Join(log, level)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Check(t.Context(), l.config.Dir, l.config.Trust, noProgress)
	if err != nil || len(r.Damage) == 0 {
		t.Fatalf("without tiles: %v %+v", err, r)
	}
	n, err := Rebuild(t.Context(), l.config.Dir, l.config.Trust, noProgress)
	if err != nil || n != 4 { // two tiles below, one above, the tree's state
		t.Fatalf("%d files, %v", n, err)
	}
	mustCheck(t, l.config.Dir, l.config.Trust)
	if n, err = Rebuild(t.Context(), l.config.Dir, l.config.Trust, noProgress); err != nil || n != 0 {
		t.Fatalf("again: %d files, %v", n, err)
	}
	l.start(t)
	l.submit(t, l.enrolHost(t, "new"), "/bin/sh")
	l.kill()
	time.Sleep(50 * time.Millisecond)

	name := filepath.Join(log, "tile/entries/000")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[2000] ^= 1
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	tile, err := os.ReadFile(filepath.Join(log, "tile/0/000"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Rebuild(t.Context(), l.config.Dir, l.config.Trust, noProgress); err == nil || !strings.Contains(err.Error(), "altered") {
		t.Errorf("entries that were altered: %v", err)
	}
	if again, err := os.ReadFile(filepath.Join(log, "tile/0/000")); err != nil || string(again) != string(tile) {
		t.Errorf("the tiles were changed: %v", err)
	}
}
