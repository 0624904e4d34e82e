//go:build peers

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

const rekorServer = "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix@v2.3.0"

// Rekor's POSIX server with a policy of three of our witnesses, two of which it
// demands: torchwood verifies the checkpoint in each answer.
func TestRekor(t *testing.T) {
	dir := t.TempDir()
	install := exec.Command("go", "install", rekorServer)
	install.Dir = os.TempDir()
	install.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const origin = "rekor.example"
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), 0o600)
	policy, _ := startWitnesses(t, 3, vkey)
	write(t, dir+"/policy", policy, 0o600)
	torch, err := torchwood.ParsePolicy([]byte("log " + vkey + "\n" + policy))
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	cmd := exec.Command(dir+"/posix", "serve", "--hostname", origin, "--storage-dir", dir+"/log", "--signer-filepath", dir+"/key",
		"--checkpoint-interval", "500ms", "--batch-max-age", "100ms", "--witness-policy-path", dir+"/policy",
		"--http-port", port, "--grpc-port", freePort(t), "--http-metrics-port", freePort(t), "--log-level", "error")
	startProcess(t, cmd)
	url := "http://127.0.0.1:" + port
	eventually(t, "Rekor", func() bool {
		answer, err := http.Get(url + "/healthz")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	var group sync.WaitGroup
	sizes := make(chan int64, 64)
	for range 16 {
		group.Go(func() {
			for range 4 {
				size, err := rekorEntry(url, torch)
				if err != nil {
					t.Error(err)
					return
				}
				sizes <- size
			}
		})
	}
	group.Wait()
	close(sizes)
	seen := make(map[int64]bool)
	for size := range sizes {
		seen[size] = true
	}
	t.Logf("64 entries in %d cosigned checkpoints", len(seen))
}

// rekorEntry logs an entry, and gives the size of the checkpoint in the answer.
func rekorEntry(url string, policy torchwood.Policy) (int64, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, err
	}
	digest := sha256.Sum256([]byte(rand.Text()))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return 0, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return 0, err
	}
	request, err := json.Marshal(map[string]any{"hashedRekordRequestV002": map[string]any{
		"digest": digest[:],
		"signature": map[string]any{
			"content":  signature,
			"verifier": map[string]any{"publicKey": map[string]any{"rawBytes": public}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"},
		},
	}})
	if err != nil {
		return 0, err
	}
	answer, err := http.Post(url+"/api/v2/log/entries", "application/json", bytes.NewReader(request))
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusCreated {
		return 0, fmt.Errorf("%s: %.300s: %w", answer.Status, b, err)
	}
	var entry struct {
		InclusionProof struct {
			Checkpoint struct{ Envelope string }
		}
	}
	if err := json.Unmarshal(b, &entry); err != nil {
		return 0, err
	}
	c, _, err := torchwood.VerifyCheckpoint([]byte(entry.InclusionProof.Checkpoint.Envelope), policy)
	if err != nil {
		return 0, fmt.Errorf("torchwood: %w\n%s", err, entry.InclusionProof.Checkpoint.Envelope)
	}
	return c.N, nil
}

// imaledgerd asks litewitness and ours, and demands both: what is logged comes
// back with a proof that torchwood verifies.
func TestLedgerWithBoth(t *testing.T) {
	dir := t.TempDir()
	var err error
	for _, program := range []string{"imaledgerd", "imaledger"} {
		if out, err := exec.Command("go", "build", "-o", dir, "../"+program).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	tool := func(program string, args ...string) string {
		t.Helper()
		cmd := exec.Command(filepath.Join(dir, program), args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %s: %v", program, args, err)
		}
		return strings.TrimSpace(string(out))
	}
	lite := newLitewitness(t)
	ourVKey := tool("imaledger", "keygen", "--kind", "witness", "--name", "witness.example/ours", "--out", "witness.key")
	ourPort, listen := freePort(t), "127.0.0.1:"+freePort(t)
	vkey := tool("imaledgerd", "init", "--config", "./imaledgerd.conf", "--trust", "trust", "--dir", "ledger", "--origin", "ledger.example/both", "--grade", "first-use",
		"--listen", listen, "--witness", "ours "+ourVKey+" http://127.0.0.1:"+ourPort, "--witness", "lite "+lite.vkey+" "+lite.url, "--quorum", "2")
	lite.start(t, []string{vkey})
	_, _, stop := startWitness(t, "--listen", "127.0.0.1:"+ourPort, "--key", dir+"/witness.key", "--state", dir+"/witness", "--log", vkey)
	defer stop()
	serve := exec.Command(dir+"/imaledgerd", "serve", "--config", "./imaledgerd.conf")
	serve.Dir = dir
	startProcess(t, serve)
	ledgerClient := &client.Client{Base: "http://" + listen}
	var raw []byte
	eventually(t, "a checkpoint", func() (found bool) { raw, err = ledgerClient.Checkpoint(t.Context()); return err == nil })
	policy, err := os.ReadFile(dir + "/trust/policy")
	if err != nil {
		t.Fatal(err)
	}
	torch, err := torchwood.ParsePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	// Both, not either: torchwood's reading of the file that the ledger wrote.
	for _, missing := range []string{"witness.example/ours ", "witness.example/lite "} {
		if _, _, err := torchwood.VerifyCheckpoint(withoutLine(raw, missing), torch); err == nil {
			t.Errorf("without %s the checkpoint counts", missing)
		}
	}
	stated := tool("imaledger", "retention", "set", "--ledger", "http://"+listen, "--trust", "trust", "--key", "operator.key", "--days", "90", "--statement", "ninety days", "--json")
	var entry struct{ Leaf string }
	if err := json.Unmarshal([]byte(stated), &entry); err != nil {
		t.Fatalf("%v: %s", err, stated)
	}
	leaf, err := ledger.ParseHash(entry.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := ledgerClient.Proof(t.Context(), leaf, client.MaxWait)
	if err != nil {
		t.Fatal(err)
	}
	if err := torchwood.VerifyProof(torch, tlog.Hash(leaf), []byte(answer.Proof)); err != nil {
		t.Errorf("torchwood: %v\n%s", err, answer.Proof)
	}
}

// withoutLine leaves out the signature lines of a name.
func withoutLine(checkpoint []byte, name string) []byte {
	var kept []byte
	for line := range bytes.Lines(checkpoint) {
		if !bytes.HasPrefix(line, []byte("— "+name)) {
			kept = append(kept, line...)
		}
	}
	return kept
}
