package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/tpm"
)

// TestDemo: the demonstration with swtpm and without. It leaves evidence that
// verify accepts with the folder beside it, and refuses with a byte altered; and
// it shows each of the attacks that it announces.
func TestDemo(t *testing.T) {
	if !tpm.SwtpmAvailable() {
		t.Fatal("swtpm is not installed; make tools installs it")
	}
	for _, with := range []bool{true, false} {
		name := "software"
		if with {
			name = "swtpm"
		}
		t.Run(name, func(t *testing.T) {
			if !with {
				t.Setenv("PATH", t.TempDir())
			}
			dir := filepath.Join(t.TempDir(), "demo")
			code, out, stderr := tool(t, "demo", "--once", "--dir", dir)
			if code != cli.ExitOK {
				t.Fatalf("exit %d\n%s%s", code, out, stderr)
			}
			for _, says := range []string{"VERIFIED", "One byte of the file", "[bundle-damaged]", "[replay-mismatch]", "[chain-broken]", "[quorum-not-met]", "imaledger verify --trust"} {
				if !strings.Contains(out, says) {
					t.Errorf("%q is not said", says)
				}
			}
			if software := strings.Contains(out, "software"); software == with {
				t.Errorf("software is said: %v", software)
			}
			trust, evidence := filepath.Join(dir, "trust"), filepath.Join(dir, "evidence.tar")
			if code, out, stderr := tool(t, "verify", "--trust", trust, evidence); code != cli.ExitOK {
				t.Errorf("verify: exit %d\n%s%s", code, out, stderr)
			}
			b, err := os.ReadFile(evidence)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			altered := writeFile(t, filepath.Join(dir, "altered.tar"), b)
			if code, out, _ := tool(t, "verify", "--trust", trust, altered); code != cli.ExitContradicted {
				t.Errorf("verify of an altered bundle: exit %d\n%s", code, out)
			}
			if code, _, stderr := tool(t, "demo", "--once", "--dir", dir); code != cli.ExitUsage || !strings.Contains(stderr, dir) {
				t.Errorf("demo in a folder that is in use: exit %d %s", code, stderr)
			}
		})
	}
}
