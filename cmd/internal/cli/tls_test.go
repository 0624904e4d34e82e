package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An authority makes certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key, a.pem = a.make(name, nil)
	return a
}

func (a *authority) make(name string, parent *authority) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signer, by := c, key
	if parent == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		signer, by = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, signer, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue writes a certificate and its key to files.
func (a *authority) issue(name, certFile, keyFile string) {
	a.t.Helper()
	_, key, cert := a.make(name, a)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, content := range map[string][]byte{certFile: cert, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// A server takes up a renewed certificate and a changed list of authorities by
// itself; a certificate whose key is not there yet changes nothing.
func TestTLSReload(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	first, second := newAuthority(t, "first"), newAuthority(t, "second")
	first.issue("server", file("cert"), file("key"))
	if err := os.WriteFile(file("ca"), first.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	config, err := TLSFiles{file("cert"), file("key"), file("ca")}.Config(logger)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto+" ")
		for _, chain := range r.TLS.VerifiedChains {
			io.WriteString(w, chain[0].DNSNames[0])
		}
	}), time.Minute, time.Minute, logger)
	go server.Serve(tls.NewListener(inner, config))
	defer server.Close()

	// get asks as a client of an authority, or of none.
	get := func(trust, client *authority) (string, error) {
		t.Helper()
		c := &tls.Config{RootCAs: trust.pool()}
		if client != nil {
			client.issue("client", file("client"), file("client-key"))
			pair, err := tls.LoadX509KeyPair(file("client"), file("client-key"))
			if err != nil {
				t.Fatal(err)
			}
			// It is shown whatever authorities the server names.
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true, DisableKeepAlives: true}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get("https://" + inner.Addr().String())
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}
	want := func(trust, client *authority, answer string) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			got, err := get(trust, client)
			if err == nil && got == answer || err != nil && answer == "" {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%q, %v; want %q", got, err, answer)
			}
		}
	}
	want(first, nil, "HTTP/2.0 ")
	want(first, first, "HTTP/2.0 client")
	want(first, second, "")
	want(second, nil, "")
	// The certificate has come, its key not yet.
	second.issue("server", file("cert"), file("key.new"))
	time.Sleep(checkInterval + 100*time.Millisecond)
	want(first, nil, "HTTP/2.0 ")
	if err := os.Rename(file("key.new"), file("key")); err != nil {
		t.Fatal(err)
	}
	want(second, nil, "HTTP/2.0 ")
	if err := os.WriteFile(file("ca"), second.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	want(second, second, "HTTP/2.0 client")
	want(second, first, "")
}

func TestTLSFilesMissing(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t, "a")
	cert, key, none := filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "none")
	a.issue("server", cert, key)
	for want, files := range map[string]TLSFiles{
		"no such file":           {cert, none, ""},
		"certificate":            {key, key, ""},
		"client authorities":     {cert, key, none},
		"no certificate in it":   {cert, key, key},
		"open " + none + ": no ": {none, key, ""},
	} {
		if _, err := files.Config(slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) || Code(err) != ExitUsage {
			t.Errorf("%v: %v, want %q", files, err, want)
		}
	}
}
