package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAuditing follows the auditor's page word by word, with the real program in a
// folder of its own.
func TestAuditing(t *testing.T) {
	page, err := os.ReadFile("../../ledger/AUDITING.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	in, blocks := false, 0
	for line := range strings.SplitSeq(string(page), "\n") {
		switch {
		case line == "```sh":
			in = true
			blocks++
		case line == "```":
			in = false
		case in:
			script.WriteString(line + "\n")
		}
	}
	if blocks < 10 {
		t.Fatal("the page has fewer steps than it had")
	}
	dir, bin := t.TempDir(), t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "imaledger"), ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n"+script.String())
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	timer := time.AfterFunc(5*time.Minute, func() { cmd.Process.Signal(os.Interrupt) })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"2 hosts, 2 enrolments, 8 segments", "web1.example #1, record", "proven: the records of its segment replay to the quote",
		"No record was found in the first 10 entries", "Your own index has read them", "records 0 to 140 of host web1.example", "sealed form: ",
		"141 records, ", "\nPASSED: ", "audited and cosigned: ", "— auditor.example ",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not come to %q in\n%s", want, out)
		}
	}
	for _, file := range []string{"web1.html", "list", "list.cel", "list.csv"} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
}
