package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// tool runs the agent as the shell does.
func tool(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, talk strings.Builder
	code = cli.Run(t.Context(), name, run, args, nil, &out, &talk)
	return code, out.String(), talk.String()
}

// TestManual: the man page has every flag and every command.
func TestManual(t *testing.T) {
	page, err := os.ReadFile("imaledger-agent.8")
	if err != nil {
		t.Fatal(err)
	}
	words := make(map[string]bool)
	for _, w := range strings.Fields(string(page)) {
		words[w] = true
	}
	for command := range commands {
		fs := flag.NewFlagSet(command, flag.ContinueOnError)
		new(options).flags(fs, command)
		fs.VisitAll(func(f *flag.Flag) {
			if !words[f.Name] {
				t.Errorf("the man page lacks %s", f.Name)
			}
		})
		if !words[command] {
			t.Errorf("the man page lacks %s", command)
		}
	}
}

// TestConfig: a line that is wrong is named, with the file and the number; the
// command line goes before the file.
func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agent.conf")
	for _, test := range []struct{ config, says string }{
		{"ledger", `:1: "ledger" has no value`},
		{"# a comment\n\nleger https://x/", `:3: unknown name "leger"`},
		{"host a\nhost b", `:2: "host" stands there twice`},
		{"interval soon", `:1: interval "soon"`},
		{"host a.example", "no ledger"},
		{"ledger http://127.0.0.1:1/\nhost -", `"-" is no host name`},
		{"ledger http://127.0.0.1:1/\nhost a.example\npoll 1ms", "poll must be at least 1s"},
		{"ledger http://127.0.0.1:1/\nhost a.example\nbanks md5", "md5"},
		{"ledger http://127.0.0.1:1/\nhost a.example\nspool-limit -1", "must not be negative"},
		{"ledger http://127.0.0.1:1/\nhost a.example\ntrust /none", "trust folder: open /none/policy"},
	} {
		if err := os.WriteFile(file, []byte(test.config+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := tool(t, "once", "--config", file); code != cli.ExitUsage || !strings.Contains(stderr, test.says) || !strings.Contains(stderr, "hint: ") && strings.Contains(test.says, ":1:") {
			t.Errorf("%q: exit %d, want %q:\n%s", test.config, code, test.says, stderr)
		}
	}
	if err := os.WriteFile(file, []byte("ledger x\nhost a.example\njson true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := readOptions("once", []string{"--config", file, "--host", "b.example"}, os.Stdout)
	if err == nil && (o.host != "b.example" || o.ledger != "x") {
		t.Errorf("host %q, ledger %q", o.host, o.ledger)
	}
	if err == nil || !strings.Contains(err.Error(), "json") {
		t.Errorf("a flag of one command in the file: %v", err)
	}
	if code, _, stderr := tool(t, "once", "--config", file+".none"); code != cli.ExitUsage || !strings.Contains(stderr, ".none") {
		t.Errorf("no such file: exit %d %s", code, stderr)
	}
}

// TestCheck: on a machine without IMA and TPM, check says what is missing and how
// to get it, and touches nothing.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	deep := filepath.Join(state, "a", "b") // nothing of it is there yet
	args := []string{"check", "--securityfs", filepath.Join(dir, "ima"), "--tpm", filepath.Join(dir, "tpmrm0"), "--state", state, "--trust", filepath.Join(dir, "trust"), "--ledger", "http://127.0.0.1:1/"}
	if _, out, _ := tool(t, append(args, "--state", deep)...); !strings.Contains(out, "ok       state   "+deep) {
		t.Errorf("a directory to be made: %s", out)
	}
	code, out, stderr := tool(t, args...)
	if code != cli.ExitUndecided {
		t.Errorf("exit %d %s", code, stderr)
	}
	for _, says := range []string{"CONFIG_IMA", "mount -t securityfs", "no TPM", "firmware", "ok       state", "trust folder", "has the files policy and rules"} {
		if !strings.Contains(out, says) {
			t.Errorf("%q is not said:\n%s", says, out)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(state, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, out, _ := tool(t, args...); !strings.Contains(out, "LACKING  state") || !strings.Contains(out, "chmod go-w "+state) {
		t.Errorf("a directory that others can write to: %s", out)
	}
	if _, object, _ := tool(t, append(args, "--json")...); !strings.HasPrefix(object, "[\n") || !strings.Contains(object, `"ok": false`) {
		t.Errorf("--json: %s", object)
	}
}

// TestCheckBypass: check tells of a kernel that lists records and extends no register.
func TestCheckBypass(t *testing.T) {
	device := newSwtpm(t)
	k := newFakeKernelOf(t, securityfs.ReadOnly, device)
	check := func() string {
		t.Helper()
		dir := t.TempDir()
		k.securityfs(dir)
		device.release()
		defer device.open()
		_, out, _ := tool(t, "check", "--securityfs", dir, "--tpm", device.s.Socket(), "--state", dir, "--ledger", "http://127.0.0.1:1")
		return out
	}
	k.measure(2)
	if out := check(); strings.Contains(out, "TPM-bypass") || !strings.Contains(out, "3 records listed") {
		t.Errorf("%s", out)
	}
	k.bypass = true
	k.reboot()
	if out := check(); !strings.Contains(out, "LACKING  kernel  "+agent.ErrNotExtended.Error()) {
		t.Errorf("%s", out)
	}
}

// TestCommands: help and wrong usage.
func TestCommands(t *testing.T) {
	code, out, _ := tool(t, "--help")
	for command := range commands {
		if !strings.Contains(out, "\n  "+command+" ") {
			t.Errorf("--help lacks %s", command)
		}
		if code, text, stderr := tool(t, command, "-h"); code != cli.ExitOK || stderr != "" || !strings.Contains(text, "-config file") {
			t.Errorf("%s -h: exit %d\n%s%s", command, code, text, stderr)
		}
		if code, text, stderr := tool(t, command, "--none"); code != cli.ExitUsage || text != "" || !strings.Contains(stderr, "hint: ") {
			t.Errorf("%s --none: exit %d\n%s%s", command, code, text, stderr)
		}
	}
	if code != cli.ExitOK {
		t.Errorf("--help: exit %d", code)
	}
	for _, args := range [][]string{{}, {"runn"}, {"once", "twice"}} {
		if code, _, stderr := tool(t, args...); code != cli.ExitUsage || !strings.Contains(stderr, "hint: ") {
			t.Errorf("%q: exit %d %s", args, code, stderr)
		}
	}
	if code, _, stderr := tool(t, "status", "--run", t.TempDir()); code != cli.ExitUndecided || !strings.Contains(stderr, "has made no round") {
		t.Errorf("status: exit %d %s", code, stderr)
	}
}
