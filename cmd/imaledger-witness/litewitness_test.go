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

// startLitewitness starts the witness that is compared with, which wants its key
// from an ssh-agent and its logs in SQLite.
func startLitewitness(t *testing.T, vkeys []string) (url, vkey string) {
	t.Helper()
	dir := t.TempDir()
	install := exec.Command("go", "install", litewitness)
	install.Env = append(os.Environ(), "GOBIN="+dir)
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
	startAgent(t, dir+"/agent", private)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	start := func() *exec.Cmd {
		return exec.Command(dir+"/litewitness", "-name", "witness.example/lite", "-db", dir+"/db", "-ssh-agent", dir+"/agent",
			"-key", ssh.FingerprintSHA256(signer.PublicKey()), "-listen", free.Addr().String())
	}
	// Once to make its tables.
	url = "http://" + free.Addr().String() + "/"
	first := start()
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	answers(t, url)
	first.Process.Kill()
	first.Wait()
	script := "import sqlite3\nd = sqlite3.connect(" + fmt.Sprintf("%q", dir+"/db") + ")\n"
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
	startProcess(t, start())
	answers(t, url)
	cosigner, err := torchwood.NewCosignatureSigner("witness.example/lite", private)
	if err != nil {
		t.Fatal(err)
	}
	return url, cosigner.Verifier().String()
}

func answers(t *testing.T, url string) {
	t.Helper()
	for range 200 {
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
