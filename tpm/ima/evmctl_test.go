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

// TestEvmctl has ima-evm-utils replay the same lists to the same values.
func TestEvmctl(t *testing.T) {
	if _, err := exec.LookPath("evmctl"); err != nil {
		t.Fatal("evmctl is not installed: apt-get install ima-evm-utils")
	}
	lists := map[string][]byte{
		"vectors":   vector(t, "A", "B", "C", "D", "custom", "modsig", "evm", "kexec"),
		"stock-6.1": readFile(t, recordings+"stock-6.1/boot1/cut2/binary_runtime_measurements"),
		"big-7.3":   readFile(t, recordings+"big-7.3/cut1/binary_runtime_measurements"),
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
