package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// script returns the sh blocks of a page as one script.
func script(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	in := false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case line == "```sh":
			in = true
			fmt.Fprintf(&b, "echo '--- %s:%d' >&2\n", filepath.Base(page), i+2)
		case line == "```":
			in = false
		case in:
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// TestOperating follows the operator's page word by word, in a home of its own and
// on ports that are free.
func TestOperating(t *testing.T) {
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	bin := filepath.Join(home, "bin")
	build := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "./cmd/imaledger", "./cmd/imaledgerd", "./cmd/imaledger-witness")
	build.Dir = repository
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := script(t, filepath.Join(repository, "ledger", "OPERATING.md"))
	if strings.Count(text, "--- ") < 11 {
		t.Fatal("the page has fewer steps than it had")
	}
	ports := freePorts(t, 6)
	for i, port := range []string{"8081", "8082", "8083", "8443", "9180", "9190"} {
		if !strings.Contains(text, "127.0.0.1:"+port) {
			t.Fatalf("the page has no port %s", port)
		}
		text = strings.ReplaceAll(text, "127.0.0.1:"+port, fmt.Sprintf("127.0.0.1:%d", ports[i]))
	}
	// A witness's port follows from its number.
	text = strings.ReplaceAll(text, "127.0.0.1:808$i", fmt.Sprintf("127.0.0.1:$(echo %d %d %d | cut -d' ' -f$i)", ports[0], ports[1], ports[2]))
	cmd := exec.CommandContext(t.Context(), "bash", "-c", "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n"+text)
	cmd.Env = append(os.Environ(), "HOME="+home, "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.Dir = repository
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	timer := time.AfterFunc(5*time.Minute, func() { cmd.Process.Signal(os.Interrupt) })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		logs, _ := filepath.Glob(filepath.Join(home, "ledger", "etc", "*.log"))
		for _, name := range logs {
			log, _ := os.ReadFile(name)
			t.Logf("%s:\n%s", filepath.Base(name), log)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	for _, want := range []string{"sound: ledger.example/2026, 2 entries", "\nunwitnessed\n", "backed up ledger.example/2026", "w3: cosigns\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not come to %q", want)
		}
	}
}
