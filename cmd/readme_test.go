package cmd_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// TestREADMELedger runs the commands of the README's "Run a ledger" and "Keys", on
// other ports. The checkpoint that the first end with is signed by the log and
// cosigned; after the second, both of the log's keys sign.
func TestREADMELedger(t *testing.T) {
	script := commandsOf(t, "Run a ledger") + `
running=${started##* }
kill $running; wait $running
started=${started% *}
retry() { for i in $(seq 100); do "$@" && return; sleep 0.1; done; return 1; }
` + strings.NewReplacer("imaledger retention", "retry imaledger retention").Replace(commandsOf(t, "Keys")) + "\n"
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "./imaledger", "./imaledgerd", "./imaledger-witness").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var listen string // of the ledger, whose address is not in the script
	for _, port := range []string{"8081", "8080"} {
		listen = fmt.Sprintf(":%d", freePort(t))
		script = strings.ReplaceAll(script, ":"+port, listen)
	}
	// As a person would, it waits until the daemons are there, and stops them.
	script = strings.ReplaceAll(script, "curl ", "curl -fsS --retry 50 --retry-all-errors --retry-delay 1 --retry-max-time 60 ")
	script = "set -e\ntrap 'kill $started; wait' EXIT\n" + strings.ReplaceAll(script, " &\n", " &\nstarted=\"$started $!\"\n")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "IMALEDGERD_LISTEN=127.0.0.1"+listen, "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"ledger.example/one\n0\n", "\n\n— ledger.example/one ", "\n— witness.example/w1 ",
		"\noperator.example/2+", "Retention policy 1 is in force.", "(Ed25519) signs\n", "(ML-DSA-44) signs\n", "cosigned by w1\n",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestREADMEWitness runs the lines that make a witness by themselves, of
// witness/README.md, but for the one that installs it. It cosigns for a log that
// knows nothing of us, and does not start again from nothing.
func TestREADMEWitness(t *testing.T) {
	readme, err := os.ReadFile("../witness/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, ok := strings.Cut(string(readme), "\n```\n")
	script, _, ok2 := strings.Cut(script, "\n```\n")
	lines := strings.Split(script, "\n")
	if !ok || !ok2 || len(lines) != 3 || !strings.HasPrefix(lines[0], "go install ") {
		t.Fatalf("not three lines: %q", script)
	}
	bin, dir := t.TempDir(), t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "./imaledger", "./imaledger-witness").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	skey, vkey, err := note.GenerateKey(rand.Reader, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	shell := func(line string) *exec.Cmd {
		line = strings.NewReplacer("log.example+1a2b3c4d+AQ...", vkey, "--listen :8081", "--listen "+listen).Replace(line)
		cmd := exec.CommandContext(t.Context(), "sh", "-c", "exec "+line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
		return cmd
	}
	public, err := shell(lines[1]).Output()
	if err != nil || !strings.HasPrefix(string(public), "witness.example/w1+") {
		t.Fatalf("%q, %v", public, err)
	}
	run := shell(lines[2])
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run.Process.Kill(); run.Wait() })
	signed, err := note.Sign(&note.Note{Text: "log.example\n1\n" + strings.Repeat("A", 43) + "=\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	var cosigned string
	for range 1200 {
		answer, err := http.Post("http://"+listen+"/add-checkpoint", "", strings.NewReader("old 0\n\n"+string(signed)))
		if err != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		b, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s %s %v", answer.Status, b, err)
		}
		cosigned = string(b)
		break
	}
	if !strings.HasPrefix(cosigned, "— witness.example/w1 ") {
		t.Fatalf("%q", cosigned)
	}
	run.Process.Kill()
	run.Wait()
	// The note that the key is new was for the first start alone.
	if err := os.RemoveAll(filepath.Join(dir, "witness")); err != nil {
		t.Fatal(err)
	}
	if out, err := shell(lines[2]).CombinedOutput(); err == nil || !strings.Contains(string(out), "is gone") {
		t.Errorf("started a second time from nothing: %v, %s", err, out)
	}
}

// commandsOf returns the first commands of a section of the README.
func commandsOf(t *testing.T, title string) string {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(readme), "\n## "+title+"\n")
	_, script, ok2 := strings.Cut(section, "\n```\n")
	script, _, ok3 := strings.Cut(script, "\n```\n")
	if !ok || !ok2 || !ok3 {
		t.Fatalf("README.md has no commands in %q", title)
	}
	return script
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
