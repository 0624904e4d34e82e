package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/server/s3mysql/s3mysqltest"
)

// TestMigrate: a ledger goes from a directory to S3 and MySQL, in several runs of
// which one breaks off, is served there, and goes back. Every answer stays what it was.
func TestMigrate(t *testing.T) {
	servers := s3mysqltest.Start(t)
	store := servers.Config(t)
	l, erased := archived(t)
	told := [][]byte{erased}
	answers := func(what string) {
		t.Helper()
		for _, x := range told {
			if a, err := l.SubmitLeaf(t.Context(), x, client.MaxWait); err != nil || a.Proof == "" {
				t.Errorf("%s: %+v, %v", what, a, err)
			}
		}
	}
	dir := l.config.Dir
	to := shared(t, store)
	migrate := func(from, to *Storage) *CopyReport {
		t.Helper()
		r, err := from.CopyTo(t.Context(), to, l.config.Trust, noProgress)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", r)
		return r
	}

	// The first run breaks off.
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Directory(dir).CopyTo(ctx, to, l.config.Trust, func(_ string, done, _ uint64) {
		if done > 0 {
			cancel()
		}
	}); err == nil {
		t.Fatal("it did not break off")
	}
	if _, err := to.Log.Read(t.Context(), "checkpoint"); err == nil {
		t.Error("half a copy has a checkpoint")
	}
	// The second runs while the ledger does, the third after it has ended.
	first := migrate(Directory(dir), to)
	late, _ := l.submit(t, l.enrolHost(t, "late"), "/bin/late")
	told = append(told, late)
	l.kill()
	time.Sleep(50 * time.Millisecond)
	again := migrate(Directory(dir), to)
	if again.Size != first.Size+2 || again.Waiting != 0 || again.Written >= first.Written {
		t.Errorf("%+v after %+v", again, first)
	}
	if r := migrate(Directory(dir), shared(t, store)); r.Written != 0 {
		t.Errorf("once more: %+v", r)
	}

	l.config.Dir, l.config.Storage = filepath.Join(t.TempDir(), "front"), shared(t, store)
	l.start(t)
	answers("at S3")
	here, _ := l.submit(t, l.enrolHost(t, "there"), "/bin/there")
	told = append(told, here)
	l.kill()
	auditShared(t, store, l.config.Trust)

	// A directory that is older is not what the database goes back to.
	if _, err := Directory(dir).CopyTo(t.Context(), to, l.config.Trust, noProgress); err == nil || !strings.Contains(err.Error(), "newer one") {
		t.Errorf("an older one over a newer one: %v", err)
	}
	back := tempDir(t)
	migrate(shared(t, store), Directory(back))
	l.config.Dir, l.config.Storage = back, nil
	l.start(t)
	answers("back")
	l.submit(t, l.enrolHost(t, "last"), "/bin/last")
	mustCheck(t, back, l.config.Trust)

	// What was altered on the way is found.
	altered := shared(t, servers.Config(t))
	l.kill()
	time.Sleep(50 * time.Millisecond)
	edit(t, filepath.Join(back, logDir, "tile/entries/000"), func(b []byte) []byte { b[300] ^= 1; return b })
	if _, err := Directory(back).CopyTo(t.Context(), altered, l.config.Trust, noProgress); err == nil {
		t.Error("an altered entry was copied, and the copy called good")
	}
	if _, err := os.Stat(filepath.Join(back, logDir, "checkpoint")); err != nil {
		t.Error(err)
	}
}

// TestRebuildShared: the table of the chains' ends comes back from the log.
func TestRebuildShared(t *testing.T) {
	store := s3mysqltest.Start(t).Config(t)
	list := startShared(t, store, 1)
	l := list[0]
	h := l.enrolHost(t, "h")
	for i := range 3 {
		l.submit(t, h, fmt.Sprint("/bin/", i))
	}
	l.kill()
	s := shared(t, store)
	heads, next, err := s.Sequencer.Heads(t.Context())
	if err != nil || next != 4 {
		t.Fatalf("%v, %d, %v", heads, next, err)
	}
	size, root, err := s.Tree.State(t.Context())
	if err != nil || size != 4 {
		t.Fatalf("%d, %v", size, err)
	}
	broken := map[string]Head{"h": {Leaf: heads["h"].Leaf, Index: 2}, "stranger": {Leaf: ledger.Hash{1}, Index: 1}}
	if err := s.Tree.Set(t.Context(), size, root, broken); err != nil {
		t.Fatal(err)
	}
	l.config.Storage = shared(t, store)
	if _, err := New(t.Context(), l.config); err == nil || !strings.Contains(err.Error(), "imaledgerd rebuild") {
		t.Fatalf("started on a table that is not the log's: %v", err)
	}
	if _, err := s.Rebuild(t.Context(), l.config.Trust, noProgress); err != nil {
		t.Fatal(err)
	}
	l.config.Storage = shared(t, store)
	l.start(t)
	l.submit(t, h, "/bin/after")
	auditShared(t, store, l.config.Trust)
}
