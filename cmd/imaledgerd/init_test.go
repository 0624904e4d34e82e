package main

import (
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/witness"
)

// TestInit: what init makes is what serve takes, and it makes nothing twice.
func TestInit(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "etc", "imaledgerd.conf")
	args := []string{"init", "--origin", "ledger.example/new", "--config", config, "--trust", filepath.Join(dir, "etc", "trust"), "--dir", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--grade", "first-use"}
	code, vkey, stderr := ledgerd(t, args...)
	if code != 0 || !strings.HasPrefix(vkey, "ledger.example/new+") || !strings.Contains(stderr, "No witness") {
		t.Fatalf("exit %d %s%s", code, vkey, stderr)
	}
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	all := flag.NewFlagSet("", flag.ContinueOnError)
	new(options).flags(all, "")
	options := 0
	all.VisitAll(func(f *flag.Flag) {
		options++
		if !strings.Contains(string(text), "\n"+f.Name+" ") && !strings.Contains(string(text), "\n# "+f.Name) {
			t.Errorf("the configuration lacks %s", f.Name)
		}
	})
	t.Logf("%d options", options)
	for _, key := range []string{"log.key", "registrar.key", "operator.key"} {
		if info, err := os.Stat(filepath.Join(dir, "etc", key)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", key, info, err)
		}
	}
	served, _ := serve(t, []string{"serve", "--config", config})
	if served != strings.TrimSpace(vkey) {
		t.Errorf("init said %s, serve %s", vkey, served)
	}
	if code, _, stderr := ledgerd(t, args...); code != cli.ExitUsage || !strings.Contains(stderr, "is there already") {
		t.Errorf("again: exit %d %s", code, stderr)
	}
}

func TestInitWitnesses(t *testing.T) {
	var witnesses []string
	for i := range 5 {
		key, err := witness.GenerateKey(rand.Reader, fmt.Sprintf("w%d.example", i))
		if err != nil {
			t.Fatal(err)
		}
		witnesses = append(witnesses, "--witness", fmt.Sprintf("w%d %s https://w%d.example/", i, key.VKey(), i))
	}
	for _, test := range []struct {
		args []string
		size int // of the quorum, or
		want string
	}{
		{witnesses[:2], 1, ""},
		{witnesses[:6], 2, ""},
		{witnesses, 3, ""},
		{append([]string{"--quorum", "5"}, witnesses...), 5, ""},
		{append([]string{"--quorum", "6"}, witnesses...), 0, "--quorum 6 of 5 witnesses"},
		{[]string{"--quorum", "1"}, 0, "--quorum 1 of 0 witnesses"},
		{[]string{"--witness", "w1 https://w1.example/"}, 0, "three fields"},
		{[]string{"--witness", "w1 nonsense https://w1.example/"}, 0, "policy: "},
		{append(witnesses[:2:2], witnesses[:2]...), 0, "policy: "},
		{[]string{"--grade", "good"}, 0, "rules: "},
		{[]string{"--origin", "with a space"}, 0, "--origin"},
	} {
		dir := t.TempDir()
		trust := filepath.Join(dir, "trust")
		code, _, stderr := ledgerd(t, append([]string{"init", "--origin", "ledger.example/new", "--config", filepath.Join(dir, "c"), "--trust", trust, "--grade", "pinned"}, test.args...)...)
		if test.want != "" {
			files, err := os.ReadDir(dir)
			if code != cli.ExitUsage || !strings.Contains(stderr, test.want) || len(files) != 0 || err != nil {
				t.Errorf("%q: exit %d, %d files, %s", test.args, code, len(files), stderr)
			}
			continue
		}
		read, err := trustdir.Read(trust)
		if err != nil || code != 0 || read.Policy.QuorumSize() != test.size {
			t.Errorf("%q: exit %d %v %s", test.args, code, err, stderr)
		}
	}
	if code, _, stderr := ledgerd(t, "init", "--grade", "pinned"); code != cli.ExitUsage || !strings.Contains(stderr, "no --origin") {
		t.Errorf("exit %d %s", code, stderr)
	}
	if code, _, stderr := ledgerd(t, "init", "--origin", "x.example"); code != cli.ExitUsage || !strings.Contains(stderr, "first-use: any TPM") {
		t.Errorf("exit %d %s", code, stderr)
	}
}
