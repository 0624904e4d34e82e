//go:build figures

package server

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
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// Rekor's settings: it waits for a checkpoint of its own.
const (
	rekorVersion  = "v2.3.0"
	rekorInterval = time.Second
	rekorBatch    = 250 * time.Millisecond
	rekorClients  = 64
)

// startRekor runs Rekor's POSIX server with two of three of our witnesses.
func startRekor(t testing.TB) (url string) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "bin")
	build := exec.Command("go", "install", "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix@"+rekorVersion)
	build.Dir = os.TempDir()
	build.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=-mod=mod")
	if out, err := build.CombinedOutput(); err != nil {
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
	dir := t.TempDir()
	policy := ""
	for i := range 3 {
		key, w := newWitness(t, fmt.Sprintf("witness%d.example", i), vkey, time.Now)
		policy += fmt.Sprintf("witness w%d %s %s\n", i, key, w.url)
	}
	policy += "group two 2 w0 w1 w2\nquorum two\n"
	for name, content := range map[string][]byte{"key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "policy": []byte(policy)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	port := func() string {
		_, port, err := net.SplitHostPort(freeAddress(t))
		if err != nil {
			t.Fatal(err)
		}
		return port
	}
	http1 := port()
	cmd := exec.Command(filepath.Join(bin, "posix"), "serve", "--hostname", origin, "--storage-dir", tempDir(t), "--signer-filepath", filepath.Join(dir, "key"),
		"--checkpoint-interval", rekorInterval.String(), "--batch-max-age", rekorBatch.String(), "--witness-policy-path", filepath.Join(dir, "policy"),
		"--http-port", http1, "--grpc-port", port(), "--http-metrics-port", port(), "--log-level", "error")
	cmd.Stderr = testWriter{t}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	url = "http://127.0.0.1:" + http1
	for range 500 {
		if resp, err := http.Get(url + "/healthz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return url
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("Rekor does not answer")
	return ""
}

// rekorRequest is an entry as Rekor takes it, which verifies its signature too.
func rekorRequest(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(rand.Text()))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]any{"hashedRekordRequestV002": map[string]any{
		"digest": digest[:],
		"signature": map[string]any{
			"content":  signature,
			"verifier": map[string]any{"publicKey": map[string]any{"rawBytes": public}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFiguresRekor: submit to witnessed proof, beside Rekor at its settings.
func TestFiguresRekor(t *testing.T) {
	const each = 8
	measure := func(name string, submit func(i, k int) error) {
		took := make([]time.Duration, rekorClients*each)
		start := time.Now()
		parallel(rekorClients, func(i int) {
			for k := range each {
				began := time.Now()
				if err := submit(i, k); err != nil {
					t.Error(name, err)
					return
				}
				took[i*each+k] = time.Since(began)
			}
		})
		rate := float64(len(took)) / time.Since(start).Seconds()
		slices.Sort(took)
		t.Logf("%s: %d clients, checkpoint interval %v, batch %v: p50 %v, p99 %v, %.0f/s", name, rekorClients, rekorInterval, rekorBatch,
			took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond), rate)
	}
	url := startRekor(t)
	var requests [][]byte
	for range rekorClients * each {
		requests = append(requests, rekorRequest(t))
	}
	measure("Rekor "+rekorVersion, func(i, k int) error {
		resp, err := http.Post(url+"/api/v2/log/entries", "application/json", bytes.NewReader(requests[i*each+k]))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && (resp.StatusCode != http.StatusCreated || bytes.Count(b, []byte("witness")) < 2) {
			err = fmt.Errorf("%s: %.300s", resp.Status, b)
		}
		return err
	})
	l := newConfig(t, ledger.GradeSoftware)
	l.config.CheckpointInterval, l.config.BatchMaxAge, l.config.Logger = rekorInterval, rekorBatch, nil
	l.start(t)
	list := prepare(t, l, rekorClients, each, true)
	measure("ledger", func(i, k int) error {
		a, err := l.SubmitLeaf(t.Context(), list[i].leaves[k], client.MaxWait)
		if err == nil && a.Proof == "" {
			err = fmt.Errorf("no proof")
		}
		return err
	})
}
