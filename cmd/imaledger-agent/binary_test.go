package main

import (
	"debug/buildinfo"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger/agent"
)

// maxBinary is the agent's size in bytes, stripped, for amd64.
const maxBinary = 9 << 20

// linked are the modules that the agent is made of, all of them. Each is code that
// runs as root on every host.
var linked = []string{
	"filippo.io/mldsa",                        // ML-DSA-44 of witnesses
	"github.com/google/go-tpm",                // the TPM
	"github.com/transparency-dev/formats",     // cosignatures
	"github.com/transparency-dev/merkle",      // inclusion and consistency
	"golang.org/x/crypto", "golang.org/x/mod", // signed notes
	"golang.org/x/sys",
}

// TestBinary: the agent is one small static file, and links neither the log's
// storage nor a database nor a framework.
func TestBinary(t *testing.T) {
	out := filepath.Join(t.TempDir(), "imaledger-agent")
	c := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if b, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", info.Size())
	if info.Size() > maxBinary {
		t.Errorf("%d bytes, at most %d are promised", info.Size(), maxBinary)
	}
	build, err := buildinfo.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for _, m := range build.Deps {
		modules = append(modules, m.Path)
	}
	if !slices.Equal(modules, linked) {
		t.Errorf("it links\n%s\nwant\n%s", strings.Join(modules, "\n"), strings.Join(linked, "\n"))
	}
	f, err := elf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Error("it is not static")
		}
	}
	for _, s := range f.Sections {
		if s.Size > 100<<10 && s.Type != elf.SHT_NOBITS {
			t.Logf("%-12s %d bytes", s.Name, s.Size)
		}
	}
}

// maxExposure is ten times the figure of systemd-analyze security.
const maxExposure = "30"

// TestUnit: systemd reads the unit without complaint, and finds it hardened.
func TestUnit(t *testing.T) {
	const unit = "imaledger-agent.service"
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold="+maxExposure, unit).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Log(lines[len(lines)-1])
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	// What makes the last round come before the end, and while there is a network.
	for _, line := range []string{
		"Type=notify", "Conflicts=shutdown.target", "Before=shutdown.target kexec.target reboot.target poweroff.target halt.target", "After=network-online.target time-sync.target",
	} {
		if !strings.Contains("\n"+string(text), "\n"+line+"\n") {
			t.Errorf("the unit lacks %s", line)
		}
	}
	_, stop, _ := strings.Cut(string(text), "\nTimeoutStopSec=")
	if n, err := strconv.Atoi(strings.Fields(stop)[0]); err != nil || time.Duration(n)*time.Second <= agent.LastRound {
		t.Errorf("systemd waits %d s for the agent to end, whose last round may take %s, %v", n, agent.LastRound, err)
	}
	// The program is not installed where tests run; all else must be right.
	program := filepath.Join(t.TempDir(), "imaledger-agent")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), unit)
	changed := strings.ReplaceAll(strings.ReplaceAll(string(text), "/usr/bin/imaledger-agent", program), "Documentation=man:imaledger-agent(8)\n", "")
	if err := os.WriteFile(copied, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", copied).CombinedOutput(); err != nil || strings.Contains(string(out), unit) {
		t.Errorf("%v: %s", err, out)
	}
}
