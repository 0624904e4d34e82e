package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/keys"
	"github.com/imaledger/imaledger/ledger/server"
)

// talk is what a daemon says while it runs.
type talk struct {
	mu sync.Mutex
	bytes.Buffer
}

func (w *talk) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Buffer.Write(b)
}

func (w *talk) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Buffer.String()
}

// mustNotTell wants none of the secrets' lines in a text, nor a good part of one.
func mustNotTell(t *testing.T, what, text string, secrets map[string]string) {
	t.Helper()
	for name, secret := range secrets {
		for line := range strings.Lines(secret) {
			if line = strings.TrimSpace(line); len(line) < 12 || strings.HasPrefix(line, "-----") {
				continue
			}
			// PRIVATE+KEY+NAME+ID+KEY: the name and the ID are no secret, and base64 has
			// plus signs of its own.
			if parts := strings.SplitN(line, "+", 5); len(parts) == 5 && parts[0] == "PRIVATE" {
				line = parts[4]
			}
			for _, part := range []string{line[:len(line)/2], line[len(line)/2:]} {
				if strings.Contains(text, part) {
					t.Errorf("%s: %s is told: %q in\n%s", what, name, part, text)
				}
			}
		}
	}
}

// TestNoSecretInLogs: what the daemon says at its most talkative, and what it says
// of files that it cannot use, has no key, password or token in it.
func TestNoSecretInLogs(t *testing.T) {
	const password, auditor = "correct horse battery staple", "the token of an auditor"
	t.Setenv(keys.PasswordVariable, password)
	args := setup(t, password)
	dir := t.TempDir()
	secrets := map[string]string{"the password": password, "the auditor's token": auditor}
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, []byte(content+"\n"))
		secrets[name] = content
		return path
	}
	for i, arg := range args {
		if arg == "--key" || arg == "--registrar" {
			b, err := os.ReadFile(args[i+1])
			if err != nil {
				t.Fatal(err)
			}
			secrets[arg] = string(b)
		}
	}
	random := make([]byte, 32)
	rand.Read(random)
	tokenKey := file("token-key", hex.EncodeToString(random))
	registrarToken := file("registrar-token", "what ledger and registrar share")
	// A key of an operator whom the trust folder names.
	operator, operatorKey, err := note.GenerateKey(rand.Reader, "operator.example")
	if err != nil {
		t.Fatal(err)
	}
	rules := filepath.Join(args[6], "rules")
	b, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, rules, fmt.Appendf(b, "operator %s\n", operatorKey))
	eraser := file("eraser-key", operator)
	access := filepath.Join(dir, "access")
	writeFile(t, access, fmt.Appendf(nil, "%s\nauditor a token %x hosts *\n", server.AccessFormat, sha256.Sum256([]byte(auditor))))
	args = append(args, "--log-level", "debug", "--token-key", tokenKey, "--registrar-token", registrarToken, "--eraser-key", eraser, "--access", access, "--checkpoint-interval", "100ms")

	var said talk
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, args, nil, w, &said) }()
	printed := make([]byte, 1<<10)
	var out strings.Builder
	for strings.Count(out.String(), "\n") < 2 {
		n, err := r.Read(printed)
		if err != nil {
			t.Fatalf("%v\n%s", err, &said)
		}
		out.Write(printed[:n])
	}
	url := strings.Split(out.String(), "\n")[1]
	for _, bearer := range []string{auditor, secrets["token-key"], "upload." + secrets["registrar-token"]} {
		for _, method := range []string{"GET", "PUT", "POST", "DELETE"} {
			for _, path := range []string{"refusals", "leaf", "addenda/00/00/" + strings.Repeat("0", 64), "leaf?token=none"} {
				req, err := http.NewRequest(method, url+path, strings.NewReader("nonsense"))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer "+bearer)
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "level=DEBUG") {
		t.Errorf("the daemon is not talkative: the test tests nothing\n%s", &said)
	}
	mustNotTell(t, "the log", said.String(), secrets)

	// Each file cut short, and with a byte too much.
	for i, arg := range args {
		var alter []byte
		switch arg {
		case "--key", "--registrar", "--token-key", "--eraser-key":
			if alter, err = os.ReadFile(args[i+1]); err != nil {
				t.Fatal(err)
			}
		default:
			continue
		}
		for _, content := range [][]byte{alter[:len(alter)*2/3], append([]byte("x"), alter...)} {
			bad := append([]string(nil), args...)
			bad[i+1] = filepath.Join(dir, "bad")
			writeFile(t, bad[i+1], content)
			var out bytes.Buffer
			code := cli.Run(t.Context(), name, run, bad, nil, io.Discard, &out)
			if code == cli.ExitOK || out.Len() == 0 {
				t.Errorf("%s: exit %d for a file that is damaged", arg, code)
			}
			mustNotTell(t, arg, out.String(), secrets)
		}
	}
}
