//go:build figures || peers

package main

import (
	"bufio"
	"crypto/ed25519"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/crypto/ssh"
)

const litewitness = "filippo.io/torchwood/cmd/litewitness@v0.9.0"

// A liteWitness is the witness that is compared with, which wants its key from an
// ssh-agent and its logs in SQLite.
type liteWitness struct {
	url, vkey string
	dir       string
	command   func() *exec.Cmd
}

// newLitewitness builds it and makes its key and its tables.
func newLitewitness(t *testing.T) *liteWitness {
	t.Helper()
	w := &liteWitness{dir: t.TempDir()}
	install := exec.Command("go", "install", litewitness)
	install.Env = append(os.Environ(), "GOBIN="+w.dir)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	startAgent(t, w.dir+"/agent", private)
	const name = "witness.example/lite"
	cosigner, err := torchwood.NewCosignatureSigner(name, private)
	if err != nil {
		t.Fatal(err)
	}
	w.vkey = cosigner.Verifier().String()
	listen := "127.0.0.1:" + freePort(t)
	w.url = "http://" + listen + "/"
	w.command = func() *exec.Cmd {
		return exec.Command(w.dir+"/litewitness", "-name", name, "-db", w.dir+"/db", "-ssh-agent", w.dir+"/agent",
			"-key", ssh.FingerprintSHA256(signer.PublicKey()), "-listen", listen)
	}
	first := w.command()
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	answers(t, w.url)
	first.Process.Kill()
	first.Wait()
	return w
}

// start starts it with logs, and gives its URL.
func (w *liteWitness) start(t *testing.T, vkeys []string) (url string) {
	t.Helper()
	script := "import sqlite3\nd = sqlite3.connect(" + fmt.Sprintf("%q", w.dir+"/db") + ")\n"
	for _, vkey := range vkeys {
		origin, _, _ := strings.Cut(vkey, "+")
		script += fmt.Sprintf("d.execute('INSERT INTO log VALUES (?, 0, ?)', (%q, '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='))\n", origin)
		script += fmt.Sprintf("d.execute('INSERT INTO key VALUES (?, ?)', (%q, %q))\n", origin, vkey)
	}
	python := exec.Command("python3", "-")
	python.Stdin = strings.NewReader(script + "d.commit()\n")
	if out, err := python.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	startProcess(t, w.command())
	answers(t, w.url)
	return w.url
}

// freePort gives a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func answers(t *testing.T, url string) {
	t.Helper()
	for range 2400 {
		if answer, err := http.Get(url); err == nil {
			answer.Body.Close()
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("%s does not answer", url)
}

// startProcess starts a program that ends with the test, and gives its output.
func startProcess(t *testing.T, cmd *exec.Cmd) *bufio.Scanner {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return bufio.NewScanner(stdout)
}
