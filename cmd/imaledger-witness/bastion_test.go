package main

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/torchwood/bastion"

	"github.com/imaledger/imaledger/cmd/internal/cli"
)

// startBastion starts torchwood's bastion on an address, and gives the address
// and what ends it with all its connections.
func startBastion(t *testing.T, address, certificate string, allowed func(hash string) bool) (string, func()) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certificate, certificate)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bastion.New(&bastion.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil },
		AllowedBackend: func(hash [sha256.Size]byte) bool { return allowed(fmt.Sprintf("%x", hash)) },
		Log:            slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: b, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
	if err := b.ConfigureServer(server); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	go server.ServeTLS(listener, "", "")
	t.Cleanup(func() { server.Close() })
	return listener.Addr().String(), func() { server.Close() }
}

// A witness that nobody can reach is reached through torchwood's bastion, again
// after the bastion was started again, and not through one that does not know it.
func TestBastion(t *testing.T) {
	dir := t.TempDir()
	keyFile, _, _ := files(t)
	certificate, pool := selfSigned(t, dir)
	log := newServiceLog(t, "log.example")
	var known atomic.Value
	known.Store("")
	allowed := func(hash string) bool { known.CompareAndSwap("", hash); return hash == known.Load() }
	address, end := startBastion(t, "127.0.0.1:0", certificate, allowed)
	var refused atomic.Int64
	strange, _ := startBastion(t, "127.0.0.1:0", certificate, func(string) bool { refused.Add(1); return false })

	_, local, stop := startWitness(t, "--key", keyFile, "--listen", "127.0.0.1:0", "--state", dir+"/state", "--log", log.vkey,
		"--bastion", address, "--bastion", strange, "--bastion-key", dir+"/bastion.key", "--bastion-ca", certificate)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	ask := func(path string) int {
		answer, err := client.Get("https://" + address + "/" + known.Load().(string) + path)
		if err != nil {
			return 0
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	eventually(t, "the witness at the bastion", func() bool { return ask("/x/checkpoint") == 404 })
	url := "https://" + address + "/" + known.Load().(string) + "/"
	if status, line := log.cosign(t, client, url, 0, 7, 1); status != 200 || !strings.HasPrefix(line, "— witness.example/w1 ") {
		t.Errorf("%d %s", status, line)
	}
	if status, size := log.cosign(t, client, url, 3, 9, 1); status != 409 || size != "7\n" {
		t.Errorf("%d %q", status, size)
	}
	if status, page := fetch(t, client, url); status != 404 {
		t.Errorf("a page for people among a bastion's: %d %s", status, page)
	}
	if status, _ := fetch(t, http.DefaultClient, local+"healthz"); status != 200 {
		t.Errorf("at home: %d", status)
	}

	end()
	again, _ := startBastion(t, address, certificate, allowed)
	if again != address {
		t.Fatal("another address")
	}
	client.CloseIdleConnections()
	eventually(t, "the witness at the new bastion", func() bool { return ask("/x/checkpoint") == 404 })
	if status, _ := log.cosign(t, client, url, 7, 7, 1); status != 200 {
		t.Errorf("%d", status)
	}
	if refused.Load() == 0 || refused.Load() > 10 {
		t.Errorf("the bastion that refuses was asked %d times", refused.Load())
	}
	if info, err := os.Stat(dir + "/bastion.key"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	begun := time.Now()
	if code := stop(); code != cli.ExitOK {
		t.Errorf("code %d", code)
	}
	if took := time.Since(begun); took >= bastionPing {
		t.Errorf("ended after %v: it waited for the bastion", took)
	}
	// The same key again, and the same place.
	_, _, stop = startWitness(t, "--key", keyFile, "--listen", "127.0.0.1:0", "--state", dir+"/state", "--log", log.vkey,
		"--bastion", address, "--bastion-key", dir+"/bastion.key", "--bastion-ca", certificate)
	defer stop()
	eventually(t, "the witness after its restart", func() bool { return ask("/x/checkpoint") == 404 })
}
