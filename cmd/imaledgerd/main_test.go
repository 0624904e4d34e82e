package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/keys"
)

// setup writes keys and a trust folder that demands no witness. Where encrypted
// is set the log's key is a PEM encrypted with a password.
func setup(t *testing.T, password string) (args []string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := note.NewEd25519VerifierKey("ledger.example/t", public)
	if err != nil {
		t.Fatal(err)
	}
	registrar, registrarKey, err := note.GenerateKey(rand.Reader, "registrar.example")
	if err != nil {
		t.Fatal(err)
	}
	var key []byte
	if password == "" {
		key, err = cryptoutils.MarshalPrivateKeyToPEM(private)
	} else {
		var der []byte
		der, err = cryptoutils.MarshalPrivateKeyToEncryptedDER(private, func(bool) ([]byte, error) { return []byte(password), nil })
		key = cryptoutils.PEMEncode(cryptoutils.EncryptedSigstorePrivateKeyPEMType, der)
	}
	if err != nil {
		t.Fatal(err)
	}
	write("trust/policy", "log "+vkey+"\nquorum none\n", 0o644)
	write("trust/rules", "imaledger/trust/v1\nregistrar "+registrarKey+"\nregistrars 1\ngrade first-use\n", 0o644)
	return []string{"serve", "--dir", filepath.Join(dir, "ledger"), "--listen", "127.0.0.1:0", "--trust", filepath.Join(dir, "trust"),
		"--origin", "ledger.example/t", "--key", write("log.pem", string(key), 0o600), "--registrar", write("registrar.key", registrar, 0o600)}
}

// serve runs the daemon until the test's end and returns what it prints.
func serve(t *testing.T, args []string) (vkey, url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, args, nil, w, io.Discard)
		w.CloseWithError(fmt.Errorf("run: %w", errors.Join(err, io.EOF)))
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	in := bufio.NewReader(r)
	for _, line := range []*string{&vkey, &url} {
		s, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		*line = strings.TrimSpace(s)
	}
	return vkey, url
}

func TestServe(t *testing.T) {
	for _, password := range []string{"", "correct horse"} {
		t.Run("password "+password, func(t *testing.T) {
			t.Setenv(keys.PasswordVariable, password)
			vkey, url := serve(t, setup(t, password))
			if !strings.HasPrefix(vkey, "ledger.example/t+") {
				t.Errorf("vkey %q", vkey)
			}
			v, err := note.NewVerifier(vkey)
			if err != nil {
				t.Fatal(err)
			}
			checkpoint := get(t, url+"checkpoint")
			if _, err := note.Open([]byte(checkpoint), note.VerifierList(v)); err != nil {
				t.Fatalf("%v: %s", err, checkpoint)
			}
			if health := get(t, url+"healthz"); !strings.Contains(health, `"status":"ok"`) {
				t.Fatal(health)
			}
		})
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	// The first checkpoint is read some milliseconds after the start.
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusOK && !strings.Contains(string(b), "unwitnessed") {
			return string(b)
		}
	}
	t.Fatalf("%s: no answer", url)
	return ""
}

func TestUsageErrors(t *testing.T) {
	good := setup(t, "secret")
	with := func(flag, value string) []string {
		args := append([]string(nil), good...)
		for i := range args {
			if args[i] == flag {
				args[i+1] = value
			}
		}
		return args
	}
	open := filepath.Join(t.TempDir(), "open.key")
	if err := os.WriteFile(open, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"no --dir":                with("--dir", ""),
		"no --key":                with("--key", ""),
		"no --trust":              with("--trust", ""),
		"can be read by others":   with("--key", open),
		"no such file":            with("--trust", "/nowhere"),
		"the key is encrypted":    good, // and no password given
		"a PEM key has no name":   with("--origin", ""),
		"flag provided but not":   {"serve", "--nonsense"},
		"no command":              {},
		"no command before --dir": good[1:],
		`unknown command "x"`:     {"x"},
		"unexpected argument":     append(with("--dir", "x"), "more"),
		"want registrar.other's":  append(setup(t, ""), "--registrar", "registrar.other="+good[len(good)-1]),
	} {
		err := run(t.Context(), args, nil, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || cli.Code(err) != cli.ExitUsage {
			t.Errorf("want %q: %v (code %d)", want, err, cli.Code(err))
		}
	}
}

// TestRegistrar: the command serves a registrar, and says what it lacks.
func TestRegistrar(t *testing.T) {
	args := setup(t, "")
	trust, registrar := args[6], args[12]
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a token that nobody guesses\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := []string{"registrar", "--listen", "127.0.0.1:0", "--trust", trust, "--key", registrar, "--registrar-token", token}
	name, url := serve(t, good)
	if name != "registrar.example" {
		t.Errorf("name %q", name)
	}
	resp, err := http.Post(url+"registrar/begin", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %s", resp.Status)
	}
	for _, bad := range [][]string{append(good, "--dir", "x"), good[:5], good[:7], {"registrar"}} {
		if err := run(t.Context(), bad, nil, io.Discard, io.Discard); cli.Code(err) != cli.ExitUsage {
			t.Errorf("%v: %v", bad, err)
		}
	}
	remote := append(args[:11:11], "--registrar", url)
	if err := run(t.Context(), remote, nil, io.Discard, io.Discard); cli.Code(err) != cli.ExitUsage || !strings.Contains(err.Error(), "--registrar-token") {
		t.Errorf("a registrar elsewhere without a token: %v", err)
	}
}

// TestConfigFile: what the command line leaves open is taken from the environment
// and the file, and each flag of the file is one that a command has.
func TestConfigFile(t *testing.T) {
	args := setup(t, "")
	var lines []string
	for i := 1; i < len(args); i += 2 {
		lines = append(lines, strings.TrimPrefix(args[i], "--")+" "+args[i+1])
	}
	file := filepath.Join(t.TempDir(), "imaledgerd.conf")
	writeFile(t, file, []byte("# a ledger\n"+strings.Join(lines, "\n")+"\n"))
	other := filepath.Join(t.TempDir(), "elsewhere")
	t.Setenv("IMALEDGERD_DIR", other)
	vkey, _ := serve(t, []string{"serve", "--config", file})
	if !strings.HasPrefix(vkey, "ledger.example/t+") {
		t.Errorf("vkey %q", vkey)
	}
	if _, err := os.Stat(filepath.Join(other, "log", "checkpoint")); err != nil {
		t.Errorf("the directory is not the environment's: %v", err)
	}
	writeFile(t, file, []byte("registrars x\n"))
	for _, command := range []string{"serve", "registrar"} {
		err := run(t.Context(), []string{command, "--config", file}, nil, io.Discard, io.Discard)
		if want := file + `:1: unknown name "registrars"`; err == nil || !strings.HasPrefix(err.Error(), want) || cli.Code(err) != cli.ExitUsage {
			t.Errorf("%s: %v", command, err)
		}
	}
}
