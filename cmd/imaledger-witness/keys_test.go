package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/imaledger/imaledger/cmd/internal/cli"
)

// children are what the test's program is where it is started as another.
var children = []func(){plugin}

func TestMain(m *testing.M) {
	for _, child := range children {
		child()
	}
	os.Exit(m.Run())
}

const pluginName = "sigstore-kms-test"

// plugin is a program by sigstore's plugin protocol, where the test's program has
// its name: test://FILE is the key in a PEM file.
func plugin() {
	if filepath.Base(os.Args[0]) != pluginName {
		return
	}
	args, err := handler.GetPluginArgs(os.Args)
	var pem []byte
	if err == nil {
		pem, err = os.ReadFile(args.InitOptions.KeyResourceID)
	}
	var private crypto.PrivateKey
	if err == nil {
		private, err = cryptoutils.UnmarshalPEMToPrivateKey(pem, nil)
	}
	var signer signature.SignerVerifier
	if err == nil {
		signer, err = signature.LoadSignerVerifier(private, args.InitOptions.HashFunc)
	}
	if err == nil {
		_, err = handler.Dispatch(os.Stdout, os.Stdin, args, pluginKey{signer})
	}
	if err != nil {
		handler.WriteErrorResponse(os.Stdout, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A pluginKey signs, and does nothing else of what a KMS can do.
type pluginKey struct{ signature.SignerVerifier }

var errSignsOnly = errors.New("this plugin signs, and nothing else")

func (pluginKey) CreateKey(context.Context, string) (crypto.PublicKey, error) {
	return nil, errSignsOnly
}

func (pluginKey) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errSignsOnly
}

func (pluginKey) SupportedAlgorithms() []string { return nil }
func (pluginKey) DefaultAlgorithm() string      { return "" }

// A key in a KMS signs by way of sigstore's plugin, which this program does not
// link, and one that is gone makes no cosignature.
func TestKMS(t *testing.T) {
	dir := t.TempDir()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := cryptoutils.MarshalPrivateKeyToPEM(private)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/key", string(pem), 0o600)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := newServiceLog(t, "log.example")
	args := []string{"--key", "test://" + dir + "/key", "--name", "witness.example/w", "--listen", "127.0.0.1:0", "--state", dir + "/state", "--log", log.vkey}
	var stderr bytes.Buffer
	if code := cli.Run(t.Context(), name, run, args, nil, io.Discard, &stderr); code != cli.ExitUsage || !strings.Contains(stderr.String(), "hint: put the program sigstore-kms-test into a folder of PATH") {
		t.Errorf("without the plugin: code %d, %s", code, &stderr)
	}
	if err := os.Symlink(self, dir+"/"+pluginName); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	vkey, url, stop := startWitness(t, args...)
	defer stop()
	if status, line := log.cosign(t, http.DefaultClient, url, 0, 7, 1); status != 200 || !strings.HasPrefix(line, "— witness.example/w ") || !strings.HasPrefix(vkey, "witness.example/w+") {
		t.Errorf("%s: %d %s", vkey, status, line)
	}
	if err := os.Remove(dir + "/key"); err != nil {
		t.Fatal(err)
	}
	if status, line := log.cosign(t, http.DefaultClient, url, 7, 9, 1); status == 200 {
		t.Errorf("without its key: %s", line)
	}
}

// A testAgent is an ssh-agent that can end, with every connection that it has.
type testAgent struct {
	listener net.Listener
	mu       sync.Mutex
	open     []net.Conn
}

func startAgent(t *testing.T, socket string, private ed25519.PrivateKey) *testAgent {
	t.Helper()
	keyring := agent.NewKeyring()
	if err := keyring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	a := &testAgent{listener: listener}
	t.Cleanup(a.stop)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			a.mu.Lock()
			a.open = append(a.open, c)
			a.mu.Unlock()
			go agent.ServeAgent(keyring, c)
		}
	}()
	return a
}

func (a *testAgent) stop() {
	a.listener.Close()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.open {
		c.Close()
	}
}

// An agent that was started again is found again.
func TestAgentStartsAgain(t *testing.T) {
	dir := t.TempDir()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	held, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	first := startAgent(t, dir+"/agent", private)
	log, other := newServiceLog(t, "log.example"), newServiceLog(t, "log.example/other")
	_, url, stop := startWitness(t, "--key", agentPrefix+ssh.FingerprintSHA256(held.PublicKey()), "--ssh-agent", dir+"/agent", "--name", "witness.example/w",
		"--listen", "127.0.0.1:0", "--state", dir+"/state", "--log", log.vkey, "--log", other.vkey)
	defer stop()
	if status, line := log.cosign(t, http.DefaultClient, url, 0, 7, 1); status != 200 {
		t.Fatalf("%d %s", status, line)
	}
	first.stop()
	if status, line := other.cosign(t, http.DefaultClient, url, 0, 7, 1); status != 503 {
		t.Errorf("without an agent: %d %s", status, line)
	}
	startAgent(t, dir+"/agent", private)
	if status, line := other.cosign(t, http.DefaultClient, url, 0, 7, 1); status != 200 {
		t.Errorf("with a new agent: %d %s", status, line)
	}
}
