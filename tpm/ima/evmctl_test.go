package ima

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEvmctl has ima-evm-utils replay the same lists to the same values: the
// vectors and every recorded list. What it cannot read is left out: lists of other
// banks, an empty one, and records of the legacy template among others.
func TestEvmctl(t *testing.T) {
	if _, err := exec.LookPath("evmctl"); err != nil {
		t.Fatal("evmctl is not installed: apt-get install ima-evm-utils")
	}
	lists := map[string][]byte{
		"vectors": vector(t, "A", "B", "C", "D", "custom", "modsig", "evm", "kexec"),
	}
	for _, pattern := range []string{"*/*/binary_runtime_measurements", "*/*/*/binary_runtime_measurements"} {
		for _, suffix := range []string{"", ".gz"} {
			files, err := filepath.Glob(recordings + pattern + suffix)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				name := strings.TrimSuffix(f, ".gz")
				if list := withoutLegacy(t, readFile(t, name)); len(list) > 0 {
					lists[name] = list
				}
			}
		}
	}
	if len(lists) < 15 {
		t.Fatalf("only %d lists", len(lists))
	}
	for name, list := range lists {
		p, _ := NewReplayer([]Bank{SHA1, SHA256}, nil, nil)
		for _, rec := range readAll(t, list, Format{Bank: SHA1}) {
			if err := p.Extend(&rec); err != nil {
				t.Fatal(err)
			}
		}
		dir := t.TempDir()
		file := filepath.Join(dir, "list")
		if err := os.WriteFile(file, list, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"ima_measurement", "--ignore-violations"}
		for _, bank := range []Bank{SHA1, SHA256} {
			// The format of a kernel's pcrs file, as evmctl reads it.
			var b strings.Builder
			for pcr := range MaxPCRs {
				fmt.Fprintf(&b, "PCR-%02d: % X\n", pcr, p.Value(Slot{bank, pcr}))
			}
			f := filepath.Join(dir, bank.String())
			if err := os.WriteFile(f, []byte(b.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, "--pcrs", bank.String()+","+f)
		}
		out, err := exec.Command("evmctl", append(args, file)...).CombinedOutput()
		if err != nil || !regexp.MustCompile(`(?i)match`).Match(out) {
			t.Errorf("%s: evmctl %v: %v\n%s", name, args, err, out)
		}
		// It must have looked at the values: one altered is refused.
		f := filepath.Join(dir, "sha256")
		b, _ := os.ReadFile(f)
		at := bytes.Index(b, []byte("PCR-10: ")) + 8
		b[at] = "10"[b[at]&1]
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("evmctl", append(args, file)...).CombinedOutput(); err == nil {
			t.Errorf("%s: evmctl takes an altered value as well:\n%s", name, out)
		}
	}
}

func withoutLegacy(t *testing.T, list []byte) (rest []byte) {
	for _, rec := range readAll(t, list, Format{Bank: SHA1}) {
		if !rec.legacy() {
			rest = append(rest, rec.Raw...)
		}
	}
	return rest
}
