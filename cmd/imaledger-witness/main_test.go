package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/witness"
	"golang.org/x/mod/sumdb/note"
)

// files writes a key file and gives it with a log's signer and vkey.
func files(t *testing.T) (keyFile string, signer note.Signer, vkey string) {
	t.Helper()
	key, err := witness.GenerateKey(rand.Reader, "witness.example/w1")
	if err != nil {
		t.Fatal(err)
	}
	keyFile = filepath.Join(t.TempDir(), "witness.key")
	write(t, keyFile, key.Secret()+"\n", 0o600)
	skey, vkey, err := note.GenerateKey(rand.Reader, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err = note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return keyFile, signer, vkey
}

func write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// startWitness runs the program and gives the two lines that it prints, and a
// function that ends it and gives its exit code.
func startWitness(t *testing.T, args ...string) (vkey, url string, stop func() int) {
	t.Helper()
	vkeys, url, stop := startService(t, 1, args...)
	return vkeys[0], url, stop
}

// firstStart adds --new where the state that the arguments name does not exist.
func firstStart(t *testing.T, args []string) []string {
	t.Helper()
	at := slices.Index(args, "--state")
	if at < 0 {
		return args // in a configuration file
	}
	if _, err := os.Stat(args[at+1]); err == nil {
		return args
	}
	return append(slices.Clone(args), "--new")
}

// startService does what startWitness does for a witness of several keys.
func startService(t *testing.T, keys int, args ...string) (vkeys []string, url string, stop func() int) {
	t.Helper()
	args = firstStart(t, args)
	ctx, cancel := context.WithCancel(t.Context())
	stdout, in := io.Pipe()
	code := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		code <- cli.Run(ctx, name, run, args, nil, in, &stderr)
		in.Close()
	}()
	lines := bufio.NewScanner(stdout)
	for len(vkeys) <= keys {
		if !lines.Scan() {
			t.Fatalf("ended early: %s", &stderr)
		}
		vkeys = append(vkeys, lines.Text())
	}
	return vkeys[:keys], vkeys[keys], func() int {
		cancel()
		return <-code
	}
}

func TestWitness(t *testing.T) {
	keyFile, log, logKey := files(t)
	logs := filepath.Join(t.TempDir(), "logs")
	write(t, logs, "# the logs\nlogs/v0\n\nvkey "+logKey+"\nqpd 86400\ncontact ops\n", 0o644)
	args := []string{"--listen", "127.0.0.1:0", "--key", keyFile, "--logs", logs, "--state", filepath.Join(t.TempDir(), "state")}
	vkey, url, stop := startWitness(t, args...)

	get, err := http.Get(url + "healthz")
	if err != nil {
		t.Fatal(err)
	}
	get.Body.Close()
	if get.StatusCode != http.StatusOK {
		t.Errorf("healthz: %s", get.Status)
	}

	text := "log.example\n1\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"
	checkpoint, err := note.Sign(&note.Note{Text: text}, log)
	if err != nil {
		t.Fatal(err)
	}
	cosign := func(old string) (int, string) {
		t.Helper()
		answer, err := http.Post(url+"add-checkpoint", "", strings.NewReader("old "+old+"\n\n"+string(checkpoint)))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	status, line := cosign("0")
	verifier, err := torchwood.NewCosignatureVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(append(checkpoint, line...), note.VerifierList(verifier)); err != nil || status != http.StatusOK {
		t.Errorf("status %d, %v", status, err)
	}

	// A second process on the directory is refused; after the first one's end it starts where that was.
	var stderr bytes.Buffer
	if code := cli.Run(t.Context(), name, run, args, nil, io.Discard, &stderr); code != cli.ExitUsage || !strings.Contains(stderr.String(), "another witness is using it") {
		t.Errorf("second process: code %d, %s", code, &stderr)
	}
	if code := stop(); code != cli.ExitOK {
		t.Errorf("exit code %d", code)
	}
	// Without the state the key is of no use any more.
	empty := append(args[:len(args)-1:len(args)-1], filepath.Join(t.TempDir(), "empty"))
	stderr.Reset()
	if code := cli.Run(t.Context(), name, run, empty, nil, io.Discard, &stderr); code != cli.ExitUsage || !strings.Contains(stderr.String(), "the state of this witness is gone") {
		t.Errorf("an empty state: code %d, %s", code, &stderr)
	}
	_, url, stop = startWitness(t, args...)
	if status, body := cosign("0"); status != http.StatusConflict || body != "1\n" {
		t.Errorf("after a restart: %d %q", status, body)
	}
	if status, _ := cosign("1"); status != http.StatusOK {
		t.Errorf("after a restart: %d", status)
	}
	if code := stop(); code != cli.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestUsage(t *testing.T) {
	keyFile, _, logKey := files(t)
	open := filepath.Join(t.TempDir(), "open.key")
	text, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	write(t, open, string(text), 0o644)
	badLogs := filepath.Join(t.TempDir(), "logs")
	write(t, badLogs, "logs/v0\nvkey "+logKey+"\nvkey log.example\n", 0o644)
	state := filepath.Join(t.TempDir(), "state")

	for _, test := range []struct {
		name   string
		args   []string
		stderr string
	}{
		{"no key", []string{"--state", state, "--log", logKey}, "hint: imaledger keygen"},
		{"no state", []string{"--key", keyFile, "--log", logKey}, "hint: name a directory"},
		{"no log", []string{"--key", keyFile, "--state", state}, "hint: --log takes"},
		{"a log's key is no vkey", []string{"--log", "log.example"}, "not of the form"},
		{"logs file", []string{"--logs", badLogs}, "logs: line 3"},
		{"missing logs file", []string{"--logs", badLogs + "x"}, "no such file"},
		{"missing key file", []string{"--key", keyFile + "x", "--state", state, "--log", logKey}, "no such file"},
		{"key file open to others", []string{"--key", open, "--state", state, "--log", logKey}, "hint: chmod 600"},
		{"a logs file as key", []string{"--key", "/dev/null", "--state", state, "--log", logKey}, "hint: chmod 600"},
		{"one key twice", []string{"--key", keyFile, "--state", state, "--log", logKey, "--log", logKey}, "given twice"},
		{"address", []string{"--key", keyFile, "--new", "--state", state, "--log", logKey, "--listen", "nowhere"}, "hint: --listen"},
		{"a new key with a state", []string{"--key", keyFile, "--new", "--state", state, "--log", logKey, "--listen", "nowhere"}, "the key is called new, and " + state + " has a state of it"},
		{"neither state nor fence", []string{"--key", keyFile, "--state", state + "2", "--fence", state + "3", "--log", logKey}, "hint: if it has never signed, start it with --new"},
		{"a state without its fence", []string{"--key", keyFile, "--state", state, "--fence", state + "3", "--log", logKey}, "is missing, without which nobody can tell"},
		{"a fence without its state", []string{"--key", keyFile, "--state", state + "2", "--log", logKey}, "is gone"},
		{"the same, called new", []string{"--key", keyFile, "--new", "--state", state + "2", "--log", logKey}, "is gone"},
		{"a bastion and no key for it", []string{"--key", keyFile, "--state", state, "--log", logKey, "--bastion", "b.example:443"}, "--bastion and --bastion-key go together"},
		{"a bastion without a port", []string{"--key", keyFile, "--state", state, "--log", logKey, "--bastion", "b.example", "--bastion-key", state + "4"}, "missing port"},
		{"argument", []string{"serve"}, `unexpected argument "serve"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := cli.Run(t.Context(), name, run, test.args, nil, &stdout, &stderr)
			if code != cli.ExitUsage || !strings.Contains(stderr.String(), test.stderr) || stdout.Len() > 0 {
				t.Errorf("code %d, stdout %q, stderr %q", code, &stdout, &stderr)
			}
			if strings.Contains(stderr.String(), string(text[:len(text)-1])) {
				t.Error("the private key is in the error")
			}
		})
	}
}

func TestHelpHasAnExample(t *testing.T) {
	var stdout bytes.Buffer
	if code := cli.Run(t.Context(), name, run, []string{"-h"}, nil, &stdout, io.Discard); code != cli.ExitOK || !strings.Contains(stdout.String(), "Example:") {
		t.Errorf("code %d, %s", code, &stdout)
	}
}
