package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// securityfs writes what the fake kernel lists where a program reads it.
func (k *fakeKernel) securityfs(dir string) {
	k.t.Helper()
	for name, content := range map[string][]byte{
		"binary_runtime_measurements": bytes.Join(k.list, nil), "runtime_measurements_count": fmt.Appendln(nil, len(k.list)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o440); err != nil {
			k.t.Fatal(err)
		}
	}
}

// TestService is the agent as systemd runs it: it says when it is ready and how it
// is, writes its status and its metrics, makes a round when it is told to, and one
// more before it ends.
func TestService(t *testing.T) {
	device := newSwtpm(t)
	w := newWorldOf(t, newFakeKernelOf(t, securityfs.ReadOnly, device))
	w.kernel.measure(5)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	w.kernel.securityfs(dir)
	w.writeTrust(path("trust"))
	conf := fmt.Sprintf("ledger %s\nhost h.example\nsecurityfs %s\ntpm %s\ntrust %s\nstate %s\nrun %s\ninterval 1h\nmetrics %s\n",
		w.client.Base, dir, device.s.Socket(), path("trust"), w.dir, path("run"), path("agent.prom"))
	if err := os.WriteFile(path("agent.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	device.release()
	if code, out, stderr := tool(t, "check", "--config", path("agent.conf")); code != cli.ExitOK {
		t.Errorf("check: exit %d\n%s%s", code, out, stderr)
	}

	if code, out, stderr := tool(t, "enrol", "--config", path("agent.conf")); code != cli.ExitOK || !strings.Contains(out, "h.example is enrolled with log.example/agent, grade first-use") {
		t.Errorf("enrol: exit %d\n%s%s", code, out, stderr)
	}
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", path("notify"))
	said := func(want string) {
		t.Helper()
		b := make([]byte, 4096)
		n, err := systemd.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), want) {
			t.Errorf("systemd was told %q, %v; want %q", b[:n], err, want)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int)
	go func() {
		ended <- cli.Run(ctx, name, run, []string{"run", "--config", path("agent.conf")}, nil, testLog{t}, testLog{t})
	}()
	said("READY=1\nSTATUS=6 records listed, 6 receipted, 6 in the kernel")

	code, object, stderr := tool(t, "status", "--json", "--config", path("agent.conf"))
	var s agent.Status
	if err := json.Unmarshal([]byte(object), &s); err != nil || code != cli.ExitOK || s.Receipted != 6 || s.Grade != "first-use" || s.Receipt.NotBefore == 0 || s.Receipt.NotAfter < s.Receipt.NotBefore {
		t.Errorf("status: exit %d, %v: %s%s", code, err, object, stderr)
	}
	metrics, err := os.Open(path("agent.prom"))
	if err != nil {
		t.Fatal(err)
	}
	defer metrics.Close()
	promtool := exec.Command("promtool", "check", "metrics")
	promtool.Stdin = metrics
	if out, err := promtool.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v: %s", err, out)
	}

	code, out, stderr := tool(t, "resume", "--config", path("agent.conf"))
	if code != cli.ExitOK || !strings.Contains(out, "makes a round now") {
		t.Errorf("resume: exit %d\n%s%s", code, out, stderr)
	}
	said("STATUS=6 records listed")
	if code, text, _ := tool(t, "status", "--config", path("agent.conf")); code != cli.ExitOK || !strings.HasPrefix(text, "host") {
		t.Errorf("status: exit %d\n%s", code, text)
	}
	stop()
	said("STOPPING=1")
	said("STATUS=6 records listed")
	if code := <-ended; code != cli.ExitOK {
		t.Errorf("run: exit %d", code)
	}
	if _, text, _ := tool(t, "status", "--config", path("agent.conf")); !strings.HasPrefix(text, "the agent does not run now") {
		t.Errorf("status: %s", text)
	}
	// Without a running agent, resume makes the round itself.
	if code, out, stderr := tool(t, "resume", "--config", path("agent.conf")); code != cli.ExitOK || !strings.Contains(out, "6 receipted") {
		t.Errorf("resume: exit %d\n%s%s", code, out, stderr)
	}
}

// TestClock: the clock decides nothing but whether TLS is accepted; where that fails
// for it, the mend says so, and it goes on when the clock is right.
func TestClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	s := httptest.NewTLSServer(w.server)
	defer s.Close()
	off := time.Duration(0)
	transport := s.Client().Transport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	transport.TLSClientConfig.Time = func() time.Time { return time.Now().Add(off) }
	w.client = &client.Client{Base: s.URL, HTTP: &http.Client{Transport: transport}}
	a := w.running()
	for _, off = range []time.Duration{0, time.Hour, -time.Hour, 100 * 365 * 24 * time.Hour, -100 * 365 * 24 * time.Hour, 0} {
		w.kernel.measure(2)
		err := a.Once(t.Context())
		if off.Abs() <= time.Hour {
			if err != nil || w.kernel.held() != 0 {
				t.Errorf("%s off: %d records are in the kernel, %v", off, w.kernel.held(), err)
			}
			continue
		}
		if err == nil || w.kernel.held() < 2 || !strings.Contains(a.Status().Problems[0].Mend, "is this host's clock right? It says 20") {
			t.Errorf("%s off: %d records are in the kernel, %v, %+v", off, w.kernel.held(), err, a.Status().Problems)
		}
	}
	if n := w.whole(); n != 13 {
		t.Errorf("%d records sealed, want 13", n)
	}
}
