package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/server/s3mysql"
)

// childSpec is what a ledger in a process of its own is told.
type childSpec struct {
	Dir, Address, LogKey, RegistrarKey, Policy, Rules string

	Fault string // that SIGUSR1 brings about, a key of faults

	Store *s3mysql.Config // of a front end that shares its storage
}

const childEnv = "IMALEDGER_TEST_CHILD"

// runChild runs a ledger until it is killed.
func runChild(spec string) error {
	var c childSpec
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		return err
	}
	trust, err := ledger.ParseTrust([]byte(c.Policy), []byte(c.Rules))
	if err != nil {
		return err
	}
	logKey, err := note.NewSigner(c.LogKey)
	if err != nil {
		return err
	}
	registrar, err := note.NewSigner(c.RegistrarKey)
	if err != nil {
		return err
	}
	config := Config{Dir: c.Dir, Signer: logKey, Trust: trust, Registrars: []note.Signer{registrar}, AllowSoftware: true,
		PublicPayloads: true, PublicUploads: true, CheckpointInterval: 100 * time.Millisecond, BatchMaxAge: 2 * time.Millisecond}
	if c.Store != nil {
		store, err := s3mysql.Open(context.Background(), *c.Store) // the object store's keys are in the environment
		if err != nil {
			return err
		}
		config.Storage = storageOf(store)
		config.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	s, err := New(context.Background(), config)
	if err != nil {
		return err
	}
	if c.Fault != "" {
		trigger := make(chan os.Signal, 1)
		signal.Notify(trigger, syscall.SIGUSR1)
		go func() {
			<-trigger
			if err := faults[c.Fault].install(); err != nil {
				fmt.Fprintln(os.Stderr, "the fault cannot be brought about:", err)
				os.Exit(1)
			}
			fmt.Fprintln(os.Stderr, "from now on:", c.Fault)
		}()
	}
	listener, err := net.Listen("tcp", c.Address)
	if err != nil {
		return err
	}
	go http.Serve(listener, s)
	<-s.Failed()
	return s.Err()
}

// A childLedger is a ledger in a process of its own, with three witnesses in
// this one, that can be killed.
type childLedger struct {
	*testLedger
	spec   childSpec
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
}

func newChildLedger(t *testing.T) *childLedger {
	t.Helper()
	logSecret, vkey, err := note.GenerateKey(nil, testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	registrarSecret, registrarKey, err := note.GenerateKey(nil, "registrar.example")
	if err != nil {
		t.Fatal(err)
	}
	policy := "log " + vkey + "\n"
	for i := range 3 {
		key, w := newWitness(t, fmt.Sprintf("witness%d.example", i), vkey, time.Now)
		policy += fmt.Sprintf("witness w%d %s %s\n", i, key, w.url)
	}
	c := &childLedger{spec: childSpec{
		Dir: t.TempDir(), Address: freeAddress(t), LogKey: logSecret, RegistrarKey: registrarSecret,
		Policy: policy + "group two 2 w0 w1 w2\nquorum two\n",
		Rules:  ledger.TrustRulesFormat + "\nregistrar " + registrarKey + "\nregistrars 1\ngrade software because it is a test\n",
	}}
	trust, err := ledger.ParseTrust([]byte(c.spec.Policy), []byte(c.spec.Rules))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(logSecret)
	if err != nil {
		t.Fatal(err)
	}
	c.testLedger = &testLedger{Client: &client.Client{Base: "http://" + c.spec.Address}, config: Config{Dir: c.spec.Dir, Signer: signer, Trust: trust}}
	t.Cleanup(c.killChild)
	return c
}

// startChild starts the process, which does not serve yet.
func (c *childLedger) startChild(t *testing.T) {
	t.Helper()
	encoded, err := json.Marshal(c.spec)
	if err != nil {
		t.Fatal(err)
	}
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(encoded))
	c.cmd.Stderr = testWriter{t}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	c.exited = exited
	go func(cmd *exec.Cmd) {
		cmd.Wait()
		close(exited)
	}(c.cmd)
}

// killChild sends SIGKILL and waits.
func (c *childLedger) killChild() {
	if c.cmd != nil {
		c.cmd.Process.Kill()
		<-c.exited
		c.cmd = nil
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
