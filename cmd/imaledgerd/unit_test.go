package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// maxExposure is systemd's score of a unit, times ten: 0 is none, 100 all.
const maxExposure = "15"

// TestUnits: systemd takes the units, and finds them closed.
func TestUnits(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "imaledgerd")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var copied []string
	for _, unit := range []string{"imaledgerd.service", "imaledgerd-backup.service", "imaledgerd-backup.timer"} {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		// The program is not installed where tests run; all else must be right.
		name := filepath.Join(dir, unit)
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(text), "/usr/bin/imaledgerd", program)), 0o644); err != nil {
			t.Fatal(err)
		}
		copied = append(copied, name)
		if !strings.HasSuffix(unit, ".service") {
			continue
		}
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold="+maxExposure, unit).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", unit, err, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Log(lines[len(lines)-1])
	}
	if out, err := exec.Command("systemd-analyze", append([]string{"verify"}, copied...)...).CombinedOutput(); err != nil || strings.Contains(string(out), "imaledgerd") {
		t.Errorf("%v: %s", err, out)
	}
}
