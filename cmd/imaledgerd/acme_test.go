package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// freePorts returns ports that nothing listens on.
func freePorts(t *testing.T, n int) (list []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		list = append(list, l.Addr().(*net.TCPAddr).Port)
	}
	return list
}

// startTool runs a program until the test's end.
func startTool(t *testing.T, env, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%s is not installed: apt-get install pebble", name)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env)
	var out logWriter
	out.t = t
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); cmd.Wait() })
}

type logWriter struct{ t *testing.T }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

// A real ACME authority, which looks for the name in a DNS of its own and comes to
// the ledger's port, gives it a certificate; after a restart the ledger has it
// still.
func TestACME(t *testing.T) {
	dir := t.TempDir()
	ports := freePorts(t, 5)
	directory, management, dns, dnsManagement, ledger := ports[0], ports[1], ports[2], ports[3], ports[4]
	cert, key := certificate(t, dir, "acme.example")
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": fmt.Sprintf("127.0.0.1:%d", directory), "managementListenAddress": fmt.Sprintf("127.0.0.1:%d", management),
		"certificate": cert, "privateKey": key, "tlsPort": ledger,
	}})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "pebble.json"), config)
	startTool(t, "", "pebble-challtestsrv", "-dns01", fmt.Sprintf("127.0.0.1:%d", dns), "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "",
		"-management", fmt.Sprintf("127.0.0.1:%d", dnsManagement))
	startTool(t, "PEBBLE_VA_NOSLEEP=1", "pebble", "-config", filepath.Join(dir, "pebble.json"), "-dnsserver", fmt.Sprintf("127.0.0.1:%d", dns))

	trusted := func(file string) *tls.Config {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p := x509.NewCertPool()
		p.AppendCertsFromPEM(b)
		return &tls.Config{RootCAs: p}
	}
	fetch := func(c *tls.Config, address string) ([]byte, error) {
		transport := &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}
		resp, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Get(address)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		return io.ReadAll(resp.Body)
	}
	var root []byte
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if root, err = fetch(trusted(cert), fmt.Sprintf("https://127.0.0.1:%d/roots/0", management)); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	rootFile := filepath.Join(dir, "root.pem")
	writeFile(t, rootFile, root)

	args := append(setup(t, ""), "--acme", "ledger.example", "--acme-directory", fmt.Sprintf("https://127.0.0.1:%d/dir", directory), "--acme-ca", cert)
	args[4] = fmt.Sprintf("127.0.0.1:%d", ledger) // --listen
	var serial string
	t.Run("issue", func(t *testing.T) {
		_, at := serve(t, args)
		serial = serialOf(t, trusted(rootFile), at)
	})
	t.Run("again", func(t *testing.T) {
		_, at := serve(t, args)
		if got := serialOf(t, trusted(rootFile), at); got != serial {
			t.Errorf("after a restart the certificate is %s, it was %s", got, serial)
		}
		// Nobody has it ask for other names.
		c := trusted(rootFile)
		c.ServerName = "another.example"
		if b, err := fetch(c, at+"checkpoint"); err == nil {
			t.Errorf("another name: %s", b)
		}
	})
}

// serialOf makes a connection that verifies, and returns the certificate's serial.
func serialOf(t *testing.T, c *tls.Config, at string) string {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	c.ServerName = "ledger.example"
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Minute}, "tcp", u.Host, c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}
