package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
)

// ledgerd runs a command to its end, as the shell does.
func ledgerd(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	code = cli.Run(t.Context(), name, run, args, nil, &out, &talk)
	return code, out.String(), talk.String()
}

// TestUpkeep: check, backup, restore and rebuild of a ledger that ran, good,
// damaged and used wrongly.
func TestUpkeep(t *testing.T) {
	args := setup(t, "")
	dir, trust := args[2], args[6]
	for i := range args {
		switch args[i] {
		case "--dir":
			dir = args[i+1]
		case "--trust":
			trust = args[i+1]
		}
	}
	t.Run("serve", func(t *testing.T) {
		_, url := serve(t, append(args, "--checkpoint-interval", "100ms"))
		get(t, url+"checkpoint")
	})
	want := func(wantCode int, wantText string, args ...string) {
		t.Helper()
		code, stdout, stderr := ledgerd(t, append(args, "--trust", trust)...)
		if code != wantCode || !strings.Contains(stdout+stderr, wantText) {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", strings.Join(args, " "), code, wantCode, wantText, stdout, stderr)
		}
	}
	want(cli.ExitOK, "sound: ledger.example/t, 0 entries of 0 hosts, 0 of them cosigned", "check", "--dir", dir)
	backupDir := filepath.Join(t.TempDir(), "backup")
	want(cli.ExitOK, "backed up ledger.example/t to "+backupDir+": 0 entries", "backup", "--dir", dir, "--to", backupDir)
	want(cli.ExitUsage, "no --to", "backup", "--dir", dir)
	want(cli.ExitUsage, "no --from", "restore", "--dir", dir)
	want(cli.ExitUsage, "is not empty", "restore", "--dir", dir, "--from", backupDir)
	restored := filepath.Join(t.TempDir(), "restored")
	want(cli.ExitOK, "restored ledger.example/t to "+restored, "restore", "--dir", restored, "--from", backupDir)
	want(cli.ExitUsage, "no such file", "check", "--dir", filepath.Join(dir, "none"))
	want(cli.ExitUsage, "no such file", "restore", "--dir", filepath.Join(dir, "none"), "--from", filepath.Join(dir, "neither"))
	want(cli.ExitOK, "0 files made again", "rebuild", "--dir", dir)

	code, stdout, stderr := ledgerd(t, "check", "--json", "--dir", restored, "--trust", trust)
	var report struct{ Origin string }
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 0 || report.Origin != "ledger.example/t" {
		t.Errorf("exit %d %v %s%s", code, err, stdout, stderr)
	}
	if err := os.WriteFile(filepath.Join(restored, "log", "checkpoint"), []byte("ledger.example/t\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— ledger.example/t AAAAAAAA\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	want(cli.ExitContradicted, "NOT SOUND", "check", "--dir", restored)
}

// TestRestoredServes: a ledger runs on what was restored, and a backup can be made
// while it does.
func TestRestoredServes(t *testing.T) {
	args := append(setup(t, ""), "--checkpoint-interval", "100ms")
	_, url := serve(t, args)
	get(t, url+"checkpoint")
	backupDir := filepath.Join(t.TempDir(), "backup")
	if code, stdout, stderr := ledgerd(t, "backup", "--dir", args[2], "--trust", args[6], "--to", backupDir); code != 0 {
		t.Fatalf("exit %d %s%s", code, stdout, stderr)
	}
	again := append([]string(nil), args...)
	again[2] = backupDir
	_, url = serve(t, again)
	get(t, url+"checkpoint")
	if _, err := os.Stat(filepath.Join(backupDir, "restored")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the mark stays: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := run(ctx, []string{"rebuild", "--dir", backupDir, "--trust", args[6]}, nil, new(bytes.Buffer), new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("rebuild under a running ledger: %v", err)
	}
}

// TestHelp: each command has its text with an example, and each that the usage
// names is one.
func TestHelp(t *testing.T) {
	for command := range commands {
		code, stdout, _ := ledgerd(t, command, "-h")
		if code != 0 || about[command] == "" || !strings.Contains(stdout, about[command]) {
			t.Errorf("%s: exit %d\n%s", command, code, stdout)
		}
		if !strings.Contains(usage, "\n  "+command+" ") {
			t.Errorf("the usage does not name %s", command)
		}
	}
}
