package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"golang.org/x/crypto/ssh"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/witness"
)

// maxBinary is what the program may have in bytes, for a witness that fits anywhere.
const maxBinary = 12 << 20

func TestBinary(t *testing.T) {
	bin := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", info.Size())
	if info.Size() > maxBinary {
		t.Errorf("%d bytes, at most %d", info.Size(), maxBinary)
	}
	list, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	// Keys in a KMS are opened where the ledger opens its own: that package knows of no ledger.
	list = bytes.Replace(list, []byte(module+"ledger/kms\n"), nil, 1)
	for _, module := range []string{"sqlite", "/pebble", "/tessera", "go-sql-driver", module + "ledger", module + "tpm"} {
		if strings.Contains(string(list), module) {
			t.Errorf("linked with %s", module)
		}
	}
}

const module = "github.com/imaledger/imaledger/"

// maxExposure is ten times the figure of systemd-analyze security.
const maxExposure = "15"

func TestUnit(t *testing.T) {
	const unit = "imaledger-witness.service"
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold="+maxExposure, unit).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Log(lines[len(lines)-1])
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	// The program is not installed where tests run; all else must be right.
	program := filepath.Join(t.TempDir(), name)
	write(t, program, "#!/bin/sh\n", 0o755)
	copied := filepath.Join(t.TempDir(), unit)
	write(t, copied, strings.ReplaceAll(string(text), "/usr/bin/imaledger-witness", program), 0o644)
	if out, err := exec.Command("systemd-analyze", "verify", copied).CombinedOutput(); err != nil || strings.Contains(string(out), unit) {
		t.Errorf("%v: %s", err, out)
	}
}

// The command line of the unit and of the image are those of the program.
func TestUnitStarts(t *testing.T) {
	keyFile, _, logKey := files(t)
	dir := t.TempDir()
	write(t, dir+"/config", "listen 127.0.0.1:0\nlog "+logKey+"\n", 0o600)
	text, err := os.ReadFile("imaledger-witness.service")
	if err != nil {
		t.Fatal(err)
	}
	_, command, ok := strings.Cut(strings.ReplaceAll(string(text), "\\\n", " "), "\nExecStart=/usr/bin/imaledger-witness ")
	command, _, ok2 := strings.Cut(command, "\n")
	if !ok || !ok2 {
		t.Fatal("no command in the unit")
	}
	command = strings.NewReplacer("/etc/imaledger-witness/config", dir+"/config", "${CREDENTIALS_DIRECTORY}/witness.key", keyFile, "${STATE_DIRECTORY}", dir).Replace(command)
	_, url, stop := startWitness(t, strings.Fields(command)...)
	if status, _ := fetch(t, http.DefaultClient, url+"healthz"); status != 200 {
		t.Errorf("healthz: %d", status)
	}
	if code := stop(); code != cli.ExitOK {
		t.Errorf("code %d", code)
	}
	if _, err := os.Stat(dir + "/fence"); err != nil {
		t.Error(err)
	}
}

// A serviceLog is a log that a test keeps for the program.
type serviceLog struct {
	origin, vkey string
	signer       note.Signer
}

func newServiceLog(t *testing.T, origin string) serviceLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return serviceLog{origin, vkey, signer}
}

func (l serviceLog) list() string { return "\nvkey " + l.vkey + "\nqpd 86400\ncontact ops\n" }

// cosign asks for a cosignature of a tree of the size and root, and gives the
// status and the answer.
func (l serviceLog) cosign(t *testing.T, client *http.Client, url string, old, size int, root byte) (int, string) {
	t.Helper()
	text := fmt.Sprintf("%s\n%d\n%s\n", l.origin, size, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{root}, 32)))
	signed, err := note.Sign(&note.Note{Text: text}, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Post(url+"add-checkpoint", "", strings.NewReader(fmt.Sprintf("old %d\n\n%s", old, signed)))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// eventually waits for what the program does by itself.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 2400 {
		if done() {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("%s: not after a minute", what)
}

func fetch(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// One configuration file, two keys, TLS, metrics, the page, a list that changes,
// and a program that is told of evidence.
func TestService(t *testing.T) {
	dir := t.TempDir()
	keyFile, _, _ := files(t)
	post, err := witness.GenerateMLDSAKey(rand.Reader, "witness.example/pq")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/pq", post.Secret()+"\n", 0o600)
	certificate, pool := selfSigned(t, dir)
	a, b := newServiceLog(t, "log.example/<a>"), newServiceLog(t, "log.example/b")
	write(t, dir+"/logs", "logs/v0\n"+a.list(), 0o644)
	write(t, dir+"/hook", "#!/bin/sh\ncp \"$1\" "+dir+"/told\n", 0o755)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	write(t, dir+"/config", fmt.Sprintf(`# A witness.
listen 127.0.0.1:0
key %s
key %s
state %s
new true
logs %s
tls-certificate %s
tls-key %s
metrics-listen %s
on-equivocation %s
`, keyFile, dir+"/pq", dir+"/state", dir+"/logs", certificate, certificate, free.Addr(), dir+"/hook"), 0o644)

	vkeys, url, stop := startService(t, 2, "--config", dir+"/config")
	defer stop()
	if len(vkeys) != 2 || vkeys[1] != post.VKey() || !strings.HasPrefix(url, "https://") {
		t.Fatalf("%v %s", vkeys, url)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	if status, lines := a.cosign(t, client, url, 0, 7, 1); status != 200 || strings.Count(lines, "\n") != 2 {
		t.Fatalf("%d %s", status, lines)
	}
	if status, _ := b.cosign(t, client, url, 0, 7, 1); status != 404 {
		t.Errorf("a log that is not listed: %d", status)
	}
	if status, page := fetch(t, client, url); status != 200 || !strings.Contains(page, "log.example/&lt;a&gt;</a><td class=n>7<td>20") || !strings.Contains(page, post.VKey()) {
		t.Errorf("%d %s", status, page)
	}
	if status, checkpoint := fetch(t, client, url+fmt.Sprintf("%x/checkpoint", sha256.Sum256([]byte(a.origin)))); status != 200 || !strings.HasPrefix(checkpoint, a.origin+"\n7\n") {
		t.Errorf("%d %s", status, checkpoint)
	}

	// A new log without a restart; a list that is damaged changes nothing.
	write(t, dir+"/logs", "logs/v0\n"+a.list()+b.list(), 0o644)
	eventually(t, "a new log", func() bool { status, _ := b.cosign(t, client, url, 0, 7, 1); return status != 404 })
	write(t, dir+"/logs", "logs/v0\nvkey\n", 0o644)
	time.Sleep(3 * reloadEvery / 2)
	if status, _ := b.cosign(t, client, url, 7, 7, 1); status != 200 {
		t.Errorf("with a damaged list: %d", status)
	}

	if status, _ := a.cosign(t, client, url, 7, 7, 2); status != 422 {
		t.Errorf("another tree: %d", status)
	}
	eventually(t, "the program for evidence", func() bool { _, err := os.Stat(dir + "/told"); return err == nil })
	_, metrics := fetch(t, http.DefaultClient, "http://"+free.Addr().String()+"/metrics")
	for _, want := range []string{"imaledger_witness_equivocations_total 1", `imaledger_witness_requests_total{path="add-checkpoint",status="422"} 1`, "imaledger_witness_logs 2", "process_open_fds"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	if _, page := fetch(t, client, url); !strings.Contains(page, "two histories: 1") {
		t.Error("the page does not speak of the evidence")
	}
}

// A list that others publish adds logs, if it is signed as it should be, and what
// it added stays when it is taken away or changed.
func TestPull(t *testing.T) {
	keyFile, _, _ := files(t)
	author := newServiceLog(t, "lists.example")
	own, one, two, forged := newServiceLog(t, "log.example/own"), newServiceLog(t, "log.example/1"), newServiceLog(t, "log.example/2"), newServiceLog(t, "log.example/own")
	var text atomic.Value
	publish := func(signer note.Signer, list string) {
		signed, err := note.Sign(&note.Note{Text: list}, signer)
		if err != nil {
			t.Fatal(err)
		}
		text.Store(string(signed))
	}
	publish(author.signer, "logs/v0\n"+one.list()+forged.list())
	pinned := "logs/v0\n" + two.list()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/pinned" {
			io.WriteString(w, pinned)
			return
		}
		io.WriteString(w, text.Load().(string))
	}))
	defer server.Close()
	state := filepath.Join(t.TempDir(), "state")
	args := []string{"--listen", "127.0.0.1:0", "--key", keyFile, "--state", state, "--log", own.vkey,
		"--pull", server.URL + "/list " + author.vkey, "--pull", fmt.Sprintf("%s/pinned sha256:%x", server.URL, sha256.Sum256([]byte(pinned)))}
	_, url, stop := startWitness(t, args...)
	for i, l := range []serviceLog{one, two} {
		eventually(t, l.origin, func() bool { status, _ := l.cosign(t, http.DefaultClient, url, 0, 7, byte(i)); return status != 404 })
	}
	if status, _ := forged.cosign(t, http.DefaultClient, url, 0, 7, 1); status != 403 {
		t.Errorf("the list has changed a log's key: %d", status)
	}
	if status, _ := own.cosign(t, http.DefaultClient, url, 0, 7, 1); status != 200 {
		t.Errorf("the operator's own log: %d", status)
	}
	stop()

	// Signed by another, and pinned to something else: neither says anything, and
	// what was added is still there.
	three := newServiceLog(t, "log.example/3")
	publish(forged.signer, "logs/v0\n"+three.list())
	pinned = "logs/v0\n" + three.list()
	_, url, stop = startWitness(t, args...)
	for _, l := range []serviceLog{one, two} {
		if status, _ := l.cosign(t, http.DefaultClient, url, 7, 7, byte(map[string]int{"log.example/2": 1}[l.origin])); status != 200 {
			t.Errorf("%s after a restart: %d", l.origin, status)
		}
	}
	if status, _ := three.cosign(t, http.DefaultClient, url, 0, 7, 1); status != 404 {
		t.Errorf("a list that is not signed as it should be: %d", status)
	}
	stop()
}

// Keys that have no name, in files that are encrypted, and in an agent.
func TestKeys(t *testing.T) {
	dir := t.TempDir()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := cryptoutils.MarshalPrivateKeyToPEM(private)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/plain", string(plain), 0o600)
	encrypted := exec.Command("openssl", "pkcs8", "-topk8", "-in", dir+"/plain", "-out", dir+"/encrypted", "-passout", "pass:secret")
	if out, err := encrypted.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Chmod(dir+"/encrypted", 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/password", "secret\n", 0o600)
	write(t, dir+"/wrong", "guess\n", 0o600)
	socket := dir + "/agent"
	startAgent(t, socket, private)
	sshKey, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	held := agentPrefix + ssh.FingerprintSHA256(sshKey.PublicKey())
	log := newServiceLog(t, "log.example")

	for i, test := range []struct {
		name string
		args []string
		want string // a part of the error, empty for none
	}{
		{"plain PEM", []string{"--key", dir + "/plain", "--name", "witness.example/w"}, ""},
		{"no name", []string{"--key", dir + "/plain"}, "hint: --name"},
		{"encrypted", []string{"--key", dir + "/encrypted", "--name", "witness.example/w", "--password-file", dir + "/password"}, ""},
		{"encrypted, wrong password", []string{"--key", dir + "/encrypted", "--name", "witness.example/w", "--password-file", dir + "/wrong"}, "encrypted: "},
		{"encrypted, no password", []string{"--key", dir + "/encrypted", "--name", "witness.example/w"}, "no --password-file"},
		{"in an agent", []string{"--key", held, "--ssh-agent", socket, "--name", "witness.example/w"}, ""},
		{"not in the agent", []string{"--key", held + "x", "--ssh-agent", socket, "--name", "witness.example/w"}, "hint: ssh-add -l"},
		{"no agent", []string{"--key", held, "--ssh-agent", socket + "x", "--name", "witness.example/w"}, "no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append(test.args, "--listen", "127.0.0.1:0", "--state", fmt.Sprintf("%s/state%d", dir, i), "--fence", fmt.Sprintf("%s/fence%d", dir, i), "--log", log.vkey)
			if test.want != "" {
				var stderr bytes.Buffer
				if code := cli.Run(t.Context(), name, run, args, nil, io.Discard, &stderr); code != cli.ExitUsage || !strings.Contains(stderr.String(), test.want) {
					t.Errorf("code %d, %s", code, &stderr)
				}
				return
			}
			vkey, url, stop := startWitness(t, args...)
			if status, line := log.cosign(t, http.DefaultClient, url, 0, 7, 1); status != 200 || !strings.HasPrefix(line, "— witness.example/w ") || !strings.HasPrefix(vkey, "witness.example/w+") {
				t.Errorf("%s: %d %s", vkey, status, line)
			}
			stop()
		})
	}
}

func TestConfigFile(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"state x\nlogz y\n":     "line 2: no setting",
		"config x\n":            "line 1: no setting",
		"connections many\n":    "line 1: connections",
		"log log.example\n":     "line 1: log: ",
		"pull https://x vkey\n": "line 1: pull",
		"pull nowhere\n":        "line 1: pull",
		"logs " + dir + "/no\n": "no such file",
	} {
		write(t, dir+"/config", text, 0o600)
		var stderr bytes.Buffer
		if code := cli.Run(t.Context(), name, run, []string{"--config", dir + "/config"}, nil, io.Discard, &stderr); code != cli.ExitUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("%q: code %d, %s", text, code, &stderr)
		}
	}
}

// selfSigned makes a certificate for loopback, with its key in the same file.
func selfSigned(t *testing.T, dir string) (file string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "witness"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	file = dir + "/tls.pem"
	write(t, file, string(text), 0o600)
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(certificate)
	return file, pool
}
