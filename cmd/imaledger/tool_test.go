package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/cli"
)

// tool runs imaledger as the shell does.
func tool(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	code = cli.Run(t.Context(), "imaledger", run, args, nil, &out, &talk)
	return code, out.String(), talk.String()
}

// recorded reads a file of the recordings, unpacked if it is kept compressed.
func recorded(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(recordings + name)
	if errors.Is(err, os.ErrNotExist) {
		var f *os.File
		if f, err = os.Open(recordings + name + ".gz"); err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var z *gzip.Reader
		if z, err = gzip.NewReader(f); err == nil {
			b, err = io.ReadAll(z)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestHelp: each command explains itself on request, with an example; a command
// line that is wrong says so and names the help.
func TestHelp(t *testing.T) {
	code, out, _ := tool(t, "--help")
	if code != cli.ExitOK {
		t.Errorf("--help: exit %d", code)
	}
	for _, command := range []string{"demo", "inspect", "replay", "verify", "keygen", "submit"} {
		if !strings.Contains(out, "\n  "+command+" ") {
			t.Errorf("--help does not list %s:\n%s", command, out)
		}
		code, text, stderr := tool(t, command, "--help")
		if code != cli.ExitOK || !strings.Contains(text, "imaledger "+command) || !strings.Contains(text, "Examples:") || stderr != "" {
			t.Errorf("%s --help: exit %d\n%s%s", command, code, text, stderr)
		}
		if code, stdout, stderr := tool(t, command, "--no-such-flag"); code != cli.ExitUsage || stdout != "" || !strings.Contains(stderr, "--no-such-flag") {
			t.Errorf("%s --no-such-flag: exit %d, stdout %q, stderr %q", command, code, stdout, stderr)
		}
	}
	if code, _, stderr := tool(t, "vrify"); code != cli.ExitUsage || !strings.Contains(stderr, `unknown command "vrify"`) {
		t.Errorf("unknown command: exit %d %q", code, stderr)
	}
	if code, out, _ := tool(t, "--version"); code != cli.ExitOK || !strings.HasPrefix(out, "imaledger ") {
		t.Errorf("--version: exit %d %q", code, out)
	}
}

const vectorDir = "../../ledger/testdata/vectors/"

// TestVerifyVectors: the command gives each bundle of the vectors its class as the
// exit code, and its codes in both forms of output.
func TestVerifyVectors(t *testing.T) {
	var vectors []struct {
		Name, Bundle, Trust, Class string
		Codes                      []string
	}
	b, err := os.ReadFile(vectorDir + "bundles.json")
	if err == nil {
		err = json.Unmarshal(b, &vectors)
	}
	if err != nil || len(vectors) < 30 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	exits := map[string]int{"verified": cli.ExitOK, "contradicted": cli.ExitContradicted, "undecided": cli.ExitUndecided}
	verdicts := map[string]string{"verified": "VERIFIED", "contradicted": "CONTRADICTED", "undecided": "UNDECIDED"}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			args := []string{"verify", "--trust", vectorDir + v.Trust, vectorDir + v.Bundle}
			code, text, stderr := tool(t, args...)
			if code != exits[v.Class] {
				t.Errorf("exit %d, want %d for %s\n%s%s", code, exits[v.Class], v.Class, text, stderr)
			}
			jsonCode, object, _ := tool(t, append(args, "--json")...)
			if jsonCode != code {
				t.Errorf("exit %d with --json, %d without", jsonCode, code)
			}
			said := text + stderr
			if text != "" {
				if !strings.HasPrefix(text, verdicts[v.Class]) {
					t.Errorf("it begins with %.30q, want %s", text, verdicts[v.Class])
				}
				var r struct{ Verdict string }
				if err := json.Unmarshal([]byte(object), &r); err != nil || r.Verdict != v.Class {
					t.Errorf("verdict %q, want %q; %v", r.Verdict, v.Class, err)
				}
			}
			for _, c := range v.Codes {
				if !strings.Contains(said, "["+c+"]") {
					t.Errorf("%s is not said:\n%s", c, said)
				}
				if text != "" && !strings.Contains(object, `"`+c+`"`) {
					t.Errorf("%s is not in the JSON", c)
				}
			}
		})
	}
}

// TestVerifyUsage: what is wrong with the command or the trust folder is no
// verdict on evidence.
func TestVerifyUsage(t *testing.T) {
	good := vectorDir + "bundles/good.tar"
	if _, err := os.Stat(good); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "policy"), []byte("nonsense\n"))
	writeFile(t, filepath.Join(dir, "rules"), []byte("nonsense\n"))
	for _, test := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no trust", []string{good}, cli.ExitUsage, `"trust"`},
		{"no evidence", []string{"--trust", vectorDir + "trust/1"}, cli.ExitUsage, "arg"},
		{"no such folder", []string{"--trust", filepath.Join(dir, "none"), good}, cli.ExitUsage, "hint: a trust folder has the files policy and rules"},
		{"no policy", []string{"--trust", dir, good}, cli.ExitUsage, "policy: line 1"},
		{"no such bundle", []string{"--trust", vectorDir + "trust/1", filepath.Join(dir, "none.tar")}, cli.ExitUndecided, "none.tar"},
		{"no tar", []string{"--trust", vectorDir + "trust/1", filepath.Join(dir, "policy")}, cli.ExitContradicted, "bundle-damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := tool(t, append([]string{"verify"}, test.args...)...)
			if code != test.code || !strings.Contains(stdout+stderr, test.says) {
				t.Errorf("exit %d, want %d and %q:\n%s%s", code, test.code, test.says, stdout, stderr)
			}
		})
	}
}
