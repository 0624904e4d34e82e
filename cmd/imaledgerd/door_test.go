package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/server"
)

// certificate writes a self-signed certificate and its key.
func certificate(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	writeFile(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	writeFile(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	return certFile, keyFile
}

func writeFile(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// HTTPS with client certificates, and an access list that changes while the daemon
// runs.
func TestServeTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, "ledger.example")
	opsCert, opsKey := certificate(t, dir, "ops.example")
	access := filepath.Join(dir, "access")
	writeFile(t, access, []byte(server.AccessFormat+"\noperator ops certificate ops.example\n"))
	_, url := serve(t, append(setup(t, ""), "--tls-certificate", cert, "--tls-key", key, "--client-ca", opsCert, "--access", access))
	if !strings.HasPrefix(url, "https://127.0.0.1:") {
		t.Fatal(url)
	}
	pool := x509.NewCertPool()
	b, err := os.ReadFile(cert)
	if err != nil || !pool.AppendCertsFromPEM(b) {
		t.Fatal(err)
	}
	ops, err := tls.LoadX509KeyPair(opsCert, opsKey)
	if err != nil {
		t.Fatal(err)
	}
	status := func(token string, certificates ...tls.Certificate) (int, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, url+"refusals", nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certificates}, ForceAttemptHTTP2: true, DisableKeepAlives: true}
		resp, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if got, body := status(""); got != http.StatusUnauthorized {
		t.Errorf("a stranger: %d %s", got, body)
	}
	if got, body := status("", ops); got != http.StatusOK || !strings.Contains(body, `{"refusals":[]}`) {
		t.Errorf("the operator's certificate: %d %s", got, body)
	}
	const token = "a token that is long enough"
	writeFile(t, access, fmt.Appendf(nil, "%s\noperator other token %x\n", server.AccessFormat, sha256.Sum256([]byte(token))))
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		got, body := status(token)
		before, _ := status("", ops)
		if got == http.StatusOK && before == http.StatusUnauthorized {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the new list does not hold: %d %s, and the old one's operator %d", got, body, before)
		}
	}
}

func TestDoorUsage(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, "x")
	bad := filepath.Join(dir, "bad")
	writeFile(t, bad, []byte("nonsense\n"))
	for want, args := range map[string][]string{
		"go together":         {"--tls-certificate", cert},
		"the one or the":      {"--tls-certificate", cert, "--tls-key", key, "--acme", "x"},
		"without HTTPS":       {"--client-ca", cert},
		"no such file":        {"--tls-certificate", cert, "--tls-key", filepath.Join(dir, "none")},
		"line 1: want":        {"--access", bad},
		"64 hex digits":       {"--token-key", bad},
		`--proxy "10.0.0.1"`:  {"--proxy", "10.0.0.1"},
		"client authorities:": {"--tls-certificate", cert, "--tls-key", key, "--client-ca", bad},
	} {
		err := run(t.Context(), append(setup(t, ""), args...), nil, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || cli.Code(err) != cli.ExitUsage {
			t.Errorf("%v: %v (code %d), want %q", args, err, cli.Code(err), want)
		}
	}
}
