package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/witness"
)

// A log that signs two trees of one size is found out by a witness, and anyone
// verifies what the witness kept.
func TestVerifyEquivocation(t *testing.T) {
	skey, vkey, err := note.GenerateKey(rand.Reader, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	signer := must(note.NewSigner(skey))(t)
	key := must(witness.GenerateKey(rand.Reader, "witness.example/w1"))(t)
	log := must(witness.ParseLog(vkey))(t)
	dir := filepath.Join(t.TempDir(), "state")
	w := must(witness.New(witness.Config{Keys: []*witness.Key{key}, Logs: []witness.Log{log}, Dir: dir}))(t)
	t.Cleanup(func() { w.Close() })
	send := func(old int, root byte, size int, proof string) int {
		text := fmt.Sprintf("log.example\n%d\n%s\n", size, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{root}, 32)))
		signed := must(note.Sign(&note.Note{Text: text}, signer))(t)
		response := httptest.NewRecorder()
		w.ServeHTTP(response, httptest.NewRequest("POST", "/add-checkpoint", strings.NewReader(fmt.Sprintf("old %d\n%s\n%s", old, proof, signed))))
		return response.Code
	}
	if code := send(0, 1, 7, ""); code != 200 {
		t.Fatal(code)
	}
	if code := send(7, 2, 7, ""); code != 422 {
		t.Fatal(code)
	}
	if code := send(7, 3, 9, ""); code != 422 {
		t.Fatal(code)
	}
	files := must(filepath.Glob(filepath.Join(dir, "evidence", "*")))(t)
	if len(files) != 2 {
		t.Fatalf("%v", files)
	}
	proven, open := files[0], files[1]
	text := must(os.ReadFile(proven))(t)
	policy := filepath.Join(t.TempDir(), "policy")
	writeTest(t, policy, "log "+vkey+"\nquorum none\n")
	_, other, err := note.GenerateKey(rand.Reader, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(t.TempDir(), "policy")
	writeTest(t, foreign, "log "+other+"\nquorum none\n")
	altered := filepath.Join(t.TempDir(), "altered")
	writeTest(t, altered, strings.Replace(string(text), "\n7\n", "\n8\n", 1))

	for _, test := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"proven", []string{proven}, cli.ExitOK, "EQUIVOCATION: the log log.example has signed two trees of size 7", ""},
		{"by a log of the policy", []string{"--policy", policy, proven}, cli.ExitOK, "witness.example/w1, which cosigned the first", ""},
		{"by another key", []string{"--policy", foreign, proven}, cli.ExitContradicted, "", "which is no log's"},
		{"altered", []string{altered}, cli.ExitContradicted, "", "no evidence"},
		{"open", []string{open}, cli.ExitUndecided, "", "not proven"},
		{"no file", []string{proven + "x"}, cli.ExitUsage, "", "no such file"},
		{"something else", []string{policy}, cli.ExitContradicted, "", "no evidence"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := cli.Run(t.Context(), "imaledger", run, append([]string{"verify-equivocation"}, test.args...), nil, &stdout, &stderr)
			if code != test.code || !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("code %d\n%s\n%s", code, &stdout, &stderr)
			}
		})
	}
}

func writeTest(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
