//go:build vault

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/server"
)

const vaultToken = "test"

// startVault runs the Vault server that $IMALEDGER_VAULT names, with its state in
// memory and the transit engine mounted, and points VAULT_ADDR at it.
func startVault(t *testing.T) (post func(path, body string)) {
	t.Helper()
	program := os.Getenv("IMALEDGER_VAULT")
	if program == "" {
		t.Fatal("IMALEDGER_VAULT names no program: cmd/imaledgerd/build-vault makes it")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	var log bytes.Buffer
	vault := exec.Command(program, "server", "-dev", "-dev-no-store-token", "-dev-root-token-id="+vaultToken, "-dev-listen-address="+address)
	vault.Stdout, vault.Stderr = &log, &log
	if err := vault.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		vault.Process.Kill()
		vault.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	t.Setenv("VAULT_ADDR", "http://"+address)
	t.Setenv("VAULT_TOKEN", vaultToken)
	post = func(path, body string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, "http://"+address+"/v1/"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Vault-Token", vaultToken)
		for range 200 {
			var resp *http.Response
			if resp, err = http.DefaultClient.Do(req.Clone(t.Context())); err == nil {
				answer, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode < 300 {
					return
				}
				err = fmt.Errorf("%s: %s", resp.Status, answer)
				if resp.StatusCode != http.StatusServiceUnavailable {
					break
				}
			}
			req.Body = io.NopCloser(strings.NewReader(body))
			time.Sleep(100 * time.Millisecond)
		}
		t.Fatalf("vault: %s: %v", path, err)
	}
	post("sys/mounts/transit", `{"type":"transit"}`)
	return post
}

// TestVault runs a ledger whose log and registrar keys never leave a real Vault.
func TestVault(t *testing.T) {
	post := startVault(t)
	post("transit/keys/log", `{"type":"ed25519"}`)
	post("transit/keys/registrar", `{"type":"ed25519"}`)
	post("transit/keys/p256", `{"type":"ecdsa-p256"}`)
	open := func(name, uri string) server.Signer {
		t.Helper()
		s, err := server.OpenKMS(t.Context(), name, uri)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	logKey, registrar := open("ledger.example/t", "hashivault://log"), open("registrar.example", "openbao://registrar")
	if _, err := registrar.Sign([]byte("text\n")); err != nil { // it has verified it
		t.Fatalf("registrar: %v", err)
	}

	args := setup(t, "")
	trust := args[6]
	for name, text := range map[string]string{
		"policy": "log " + logKey.VerifierKey() + "\nquorum none\n",
		"rules":  "imaledger/trust/v1\nregistrar " + registrar.VerifierKey() + "\nregistrars 1\ngrade first-use\n",
	} {
		if err := os.WriteFile(filepath.Join(trust, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	args = append(args[:7:7], "--key", "ledger.example/t=hashivault://log", "--registrar", "registrar.example=hashivault://registrar")
	t.Run("serve", func(t *testing.T) {
		vkey, url := serve(t, args)
		v, err := note.NewVerifier(vkey)
		if err != nil || vkey != logKey.VerifierKey() {
			t.Fatalf("%s: %v", vkey, err)
		}
		if _, err := note.Open([]byte(get(t, url+"checkpoint")), note.VerifierList(v)); err != nil {
			t.Fatal(err)
		}
	})

	for want, key := range map[string]string{
		"the key is of type ECDSA, want Ed25519":    "ledger.example/t=hashivault://p256",
		"a key in a KMS has no name":                "hashivault://log",
		"could not read data from transit key path": "ledger.example/t=hashivault://nowhere",
	} {
		if err := run(context.Background(), append(args[:7:7], "--key", key), nil, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) || cli.Code(err) == cli.ExitOK {
			t.Errorf("%s: %v", key, err)
		}
	}

	// Vault's own rotation makes another key under the same name. A log that runs
	// signs no more, and one that starts does not.
	post("transit/keys/log/rotate", "{}")
	if sig, err := logKey.Sign([]byte("text\n")); err == nil || !strings.Contains(err.Error(), "the signature does not verify") {
		t.Errorf("signed by another key: %x, %v", sig, err)
	}
	if err := run(context.Background(), args, nil, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "the policy does not accept this log's key") {
		t.Errorf("another key: %v", err)
	}
}
