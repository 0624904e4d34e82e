package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/cli"
)

// TestImportRecordings: every recorded cut verifies in its folder as the recordings'
// README says, those too whose list was shortened or carried over a kexec: they go on
// from an earlier one. Nothing is said to be chained.
func TestImportRecordings(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(recordings)); err != nil {
		t.Fatal(err)
	}
	big := recordedAll[0]
	for _, c := range recordedAll {
		if c.list == ".gz" {
			big = c
		}
	}
	args, _ := big.args(t)
	list, err := os.ReadFile(args[len(args)-1])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, big.dir, recordedList), list, 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := tool(t, "import", "--json", dir)
	if code != cli.ExitOK || stderr != "" {
		t.Fatalf("code %d: %s\n%s", code, stderr, stdout)
	}
	var r importReport
	decodeStrict(t, stdout, &r)
	cuts := make(map[string]importedCut)
	for _, c := range r.Cuts {
		cuts[c.Folder] = c
	}
	wanted := make(map[string]bool)
	for _, want := range recordedAll {
		got := cuts[strings.TrimSuffix(want.dir, "/")]
		wanted[want.dir] = true
		goesOn := got.Base != "zero"
		if got.Verdict != "verified" || got.Prefix != want.prefix || got.Records != want.records || goesOn != (want.base != "") {
			t.Errorf("%s: %s, %d of %d records from %s, want %d of %d", want.dir, got.Verdict, got.Prefix, got.Records, got.Base, want.prefix, want.records)
		}
		for slot := range got.End {
			if got.End[slot] == "" {
				t.Errorf("%s: no value of %s", want.dir, slot)
			}
		}
	}
	if r.Chained || r.Logged || len(r.Cuts) != len(wanted) {
		t.Errorf("chained %v, logged %v, %d cuts of %d", r.Chained, r.Logged, len(r.Cuts), len(wanted))
	}
}
