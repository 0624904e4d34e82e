package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/witness"
)

func TestPolicy(t *testing.T) {
	_, log, err := note.GenerateKey(rand.Reader, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	text := "log " + log + "\n"
	for i := range 4 {
		text += fmt.Sprintf("witness w%d %s\n", i, must(witness.GenerateKey(rand.Reader, fmt.Sprintf("w%d.example", i)))(t).VKey())
	}
	for _, test := range []struct {
		name, policy   string
		code           int
		stdout, stderr string
	}{
		{"3 of 4", text + "group g 3 w0 w1 w2 w3\nquorum g\n", cli.ExitOK,
			"  at least 3 of the 4 of g:\n    the witness w0, whose key is w0.example's (Ed25519)\n", ""},
		{"3 of 4 can be cheated", text + "group g 3 w0 w1 w2 w3\nquorum g\n", cli.ExitOK,
			"  2 witnesses' keys (w0, w1, for some): to show two readers two histories\n  3 witnesses' keys (w0, w1, w2, for some): to show a history that no honest witness has seen\n", ""},
		{"2 of 4", text + "group g 2 w0 w1 w2 w3\nquorum g\n", cli.ExitOK, "warning: two quorums can be met by different witnesses", ""},
		{"one alone", text + "quorum w2\n", cli.ExitOK, "  1 witness's key (w2, for one): to show two", ""},
		{"one that never counts", text + "quorum w2\n", cli.ExitOK, "warning: the witness w3 is in no group", ""},
		{"none", "log " + log + "\nquorum none\n", cli.ExitOK, "  no other key: to show two", ""},
		{"no policy", text + "group g 0 w0\nquorum g\n", cli.ExitContradicted, "", "line 6: group g: threshold"},
	} {
		file := filepath.Join(t.TempDir(), "policy")
		writeTest(t, file, test.policy)
		var stdout, stderr bytes.Buffer
		code := cli.Run(t.Context(), "imaledger", run, []string{"policy", file}, nil, &stdout, &stderr)
		if code != test.code || !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
			t.Errorf("%s: code %d\n%s\n%s", test.name, code, &stdout, &stderr)
		}
	}
}

// Of a trust folder it says what the rules demand beside the policy.
func TestPolicyOfTrustFolder(t *testing.T) {
	_, log, err := note.GenerateKey(rand.Reader, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	_, registrar, err := note.GenerateKey(rand.Reader, "registrar.example")
	if err != nil {
		t.Fatal(err)
	}
	policy, names := "log "+log+"\n", ""
	for i := range 4 {
		policy += fmt.Sprintf("witness w%d %s\n", i, must(witness.GenerateKey(rand.Reader, fmt.Sprintf("w%d.example", i)))(t).VKey())
		names += fmt.Sprintf(" w%d", i)
	}
	policy += "group g 3" + names + "\nquorum g\n"
	rules := "imaledger/trust/v1\nregistrar " + registrar + "\nregistrars 1\ngrade certificate\n"
	for _, test := range []struct {
		rules  string
		code   int
		stdout []string
		stderr string
	}{
		{rules, cli.ExitOK, []string{"3 witnesses' keys"}, ""},
		{rules + "witness w0 by Ann\nwitness w1 by Ann\nwitness w2 by Ann\nwitness w3 by Bob\nmax-age 86400\n", cli.ExitOK,
			[]string{"at most 24h0m0s ago", "the witnesses of 1 of their operators (Ann): the same"}, ""},
		{rules + "witness w0 by Ann\nwitness w1 by Ann\nwitness w2 by Ann\nwitness w3 by Bob\nindependent 2\n", cli.ExitOK,
			[]string{"who are run by at least 2 different operators.", "the witnesses of 2 of their operators (Ann, Bob): the same"}, ""},
		{rules + "independent 2\n", cli.ExitContradicted, nil, "nobody is named who runs the witness w0"},
		{rules + "independent two\n", cli.ExitContradicted, nil, "line 5: independent"},
	} {
		dir := t.TempDir()
		writeTest(t, filepath.Join(dir, "policy"), policy)
		writeTest(t, filepath.Join(dir, "rules"), test.rules)
		var stdout, stderr bytes.Buffer
		code := cli.Run(t.Context(), "imaledger", run, []string{"policy", dir}, nil, &stdout, &stderr)
		if code != test.code || !strings.Contains(stderr.String(), test.stderr) {
			t.Errorf("%s: code %d, %s", test.rules, code, &stderr)
		}
		for _, want := range test.stdout {
			if !strings.Contains(stdout.String(), want) {
				t.Errorf("no %q in\n%s", want, &stdout)
			}
		}
	}
}

// A proof of a log that has nothing to do with us is verified with what it needs
// alone, and says index, size and times.
func TestVerifyProof(t *testing.T) {
	dir := t.TempDir()
	skey, vkey, err := note.GenerateKey(rand.Reader, "log.example/any")
	if err != nil {
		t.Fatal(err)
	}
	signer := must(note.NewSigner(skey))(t)
	key := must(witness.GenerateKey(rand.Reader, "w.example"))(t)
	cosigner := must(newCosigner(key))(t)
	entry := []byte("an entry of any kind\n")
	leaf := ledger.LeafHash(entry)
	text := "log.example/any\n1\n" + base64.StdEncoding.EncodeToString(leaf[:]) + "\n"
	checkpoint := must(note.Sign(&note.Note{Text: text}, signer, cosigner))(t)
	bare := must(note.Sign(&note.Note{Text: text}, signer))(t)
	write := func(name, text string) string {
		writeTest(t, filepath.Join(dir, name), text)
		return filepath.Join(dir, name)
	}
	policy := write("policy", "log "+vkey+"\nwitness w "+key.VKey()+"\nquorum w\n")
	entryFile, other := write("entry", string(entry)), write("other", "x")
	proof := func(name string, p ledger.Proof) string { return write(name, string(p.Marshal())) }
	good := proof("good", ledger.Proof{Checkpoint: checkpoint})

	for _, test := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"verified", []string{"--policy", policy, "--entry", entryFile, good}, cli.ExitOK, "VERIFIED\n\n  log      log.example/any\n  index    0\n  size     1\n  witness  w (w.example) at 20", ""},
		{"as JSON", []string{"--json", "--policy", policy, "--entry", entryFile, good}, cli.ExitOK, `"index": 0`, ""},
		{"another entry", []string{"--policy", policy, "--entry", other, good}, cli.ExitContradicted, "", "[proof-inclusion]"},
		{"no cosignature", []string{"--policy", policy, "--entry", entryFile, proof("bare", ledger.Proof{Checkpoint: bare})}, cli.ExitUndecided, "", "[quorum-not-met]"},
		{"another log", []string{"--policy", write("foreign", strings.Replace(string(must(readLimited(policy, 1<<20))(t)), "log "+vkey, "log "+otherLog(t), 1)), "--entry", entryFile, good}, cli.ExitContradicted, "", "[checkpoint-unknown-log]"},
		{"malformed", []string{"--policy", policy, "--entry", entryFile, other}, cli.ExitContradicted, "", "[proof-malformed]"},
		{"no entry", []string{"--policy", policy, good}, cli.ExitUsage, "", "entry"},
		{"both ways", []string{"--policy", policy, "--trust", dir, "--entry", entryFile, good}, cli.ExitUsage, "", "trust"},
		{"no way", []string{good}, cli.ExitUsage, "", "trust"},
		{"a policy without logs", []string{"--policy", write("logless", "quorum none\n"), "--entry", entryFile, good}, cli.ExitUsage, "", "names no log"},
		{"no policy", []string{"--policy", other, "--entry", entryFile, good}, cli.ExitUsage, "", "line 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := cli.Run(t.Context(), "imaledger", run, append([]string{"verify"}, test.args...), nil, &stdout, &stderr)
			if code != test.code || !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("code %d\n%s\n%s", code, &stdout, &stderr)
			}
		})
	}
}

func newCosigner(key *witness.Key) (note.Signer, error) {
	return fnote.NewSignerForCosignatureV1(key.Secret())
}

func otherLog(t *testing.T) string {
	t.Helper()
	_, vkey, err := note.GenerateKey(rand.Reader, "log.example/other")
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}
