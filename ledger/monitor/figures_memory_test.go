//go:build figures

package monitor_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/monitor"
	"github.com/imaledger/imaledger/ledger/testlog"
)

// childEnv has the ledger's URL and a folder, for the process that audits.
const childEnv = "IMALEDGER_AUDIT_CHILD"

// figureMemory prints the largest resident set of a process that audits a log over
// HTTP, when the log had a tenth of its segments and when it has all.
func figureMemory(t *testing.T, l *testlog.Log, n int) {
	t.Helper()
	for _, segments := range []int{n / 10, n} {
		dir := t.TempDir()
		check(t, os.WriteFile(filepath.Join(dir, ledger.TrustPolicyFile), []byte(l.Policy), 0o600))
		check(t, os.WriteFile(filepath.Join(dir, ledger.TrustRulesFile), []byte(l.Rules), 0o600))
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestFigureChild$")
		cmd.Env = append(os.Environ(), childEnv+"="+serve(t, l.At(figureHosts+segments)).Base+" "+dir)
		cmd.Stderr = os.Stderr
		out := must[[]byte](t)(cmd.Output())
		var before, peak, judged int
		if _, err := fmt.Sscanf(string(out), "memory %d %d %d\n", &before, &peak, &judged); err != nil || judged != segments {
			t.Fatalf("%d segments judged of %d: %v\n%s", judged, segments, err, out)
		}
		t.Logf("%d segments of %d hosts: %.1f MB at the peak, %.1f of them before the audit began", segments, figureHosts, float64(peak)/1e6, float64(before)/1e6)
	}
}

// TestFigureChild is the process that figureMemory starts.
func TestFigureChild(t *testing.T) {
	base, dir, is := strings.Cut(os.Getenv(childEnv), " ")
	if !is {
		return // nobody started it
	}
	policy := must[[]byte](t)(os.ReadFile(filepath.Join(dir, ledger.TrustPolicyFile)))
	rules := must[[]byte](t)(os.ReadFile(filepath.Join(dir, ledger.TrustRulesFile)))
	trust := must[*ledger.Trust](t)(ledger.ParseTrust(policy, rules))
	before := peakMemory(t)
	r := audit(t, monitor.Config{Ledger: &client.Client{Base: base}, Trust: trust, Dir: filepath.Join(dir, "audit")})
	if len(r.Findings) > 0 {
		t.Fatalf("%+v", r)
	}
	fmt.Printf("memory %d %d %d\n", before, peakMemory(t), r.Segments)
}

// peakMemory returns the largest resident set that this process had, in bytes.
func peakMemory(t *testing.T) (kilobytes int) {
	t.Helper()
	status := must[[]byte](t)(os.ReadFile("/proc/self/status"))
	_, line, _ := bytes.Cut(status, []byte("VmHWM:"))
	if _, err := fmt.Sscan(string(line), &kilobytes); err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}
