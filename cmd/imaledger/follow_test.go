package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/monitor"
	"github.com/imaledger/imaledger/ledger/testlog"
)

// A servedLog is a log that a test serves, and replaces.
type servedLog struct {
	*testlog.Log
	url, trust string // the trust folder

	mu sync.Mutex
	h  http.Handler
}

func (s *servedLog) show(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.h = h
}

func (s *servedLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.h.ServeHTTP(w, r)
}

// serveLog serves a log with a host and some segments.
func serveLog(t *testing.T) (*servedLog, *testlog.Host) {
	t.Helper()
	l, err := testlog.New("log.example/follow", 1)
	if err != nil {
		t.Fatal(err)
	}
	h, err := l.AddHost("web1")
	if err != nil {
		t.Fatal(err)
	}
	s := &servedLog{Log: l, h: l, trust: filepath.Join(t.TempDir(), "trust")}
	s.seal(t, h)
	s.seal(t, h)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	if _, err := writeTrust(s.trust, l.Policy, l.Rules); err != nil {
		t.Fatal(err)
	}
	return s, h
}

func (s *servedLog) seal(t *testing.T, h *testlog.Host) *ledger.Segment {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := h.Measure(testlog.Files(fmt.Sprint("/bin/", h.Sequence))...); err != nil {
		t.Fatal(err)
	}
	seg, err := s.Seal(h)
	if err != nil {
		t.Fatal(err)
	}
	return seg
}

// fork is a log of the same keys, all witnesses included, that went another way.
func (s *servedLog) fork(t *testing.T, from, more int) *testlog.Log {
	t.Helper()
	f, err := s.Fork(from)
	if err != nil {
		t.Fatal(err)
	}
	for i := range more {
		if _, err := f.State(&ledger.Hold{Log: s.Origin, To: uint64(i), Reason: "fork", Time: 1}); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// TestFollow: what is new of a log is audited while it grows, and each finding is one
// alert, on stdout, to a program and to a webhook, with evidence that verifies.
func TestFollow(t *testing.T) {
	s, h := serveLog(t)
	dir := t.TempDir()
	posted := make(chan alert, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var a alert
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			t.Error(err)
		}
		posted <- a
	}))
	defer hook.Close()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\ncat >>"+dir+"/alerts\necho $IMALEDGER_CODE $IMALEDGER_VERDICT >>"+dir+"/codes\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan string, 1)
	r, w := io.Pipe()
	go func() {
		var out bytes.Buffer
		code := cli.Run(ctx, "imaledger", run, []string{"follow", "--ledger", s.url, "--trust", s.trust, "--state", filepath.Join(dir, "state"), "--interval", "1s",
			"--evidence", filepath.Join(dir, "found"), "--exec", program, "--webhook", hook.URL, "--metrics-listen", "127.0.0.1:0"}, nil, &out, w)
		w.Close()
		ended <- fmt.Sprint(code, " ", strings.Count(out.String(), "\n"))
	}()
	// stderr says where the metrics are.
	talk := make(chan string, 100)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := r.Read(b)
			if err != nil {
				close(talk)
				return
			}
			talk <- string(b[:n])
		}
	}()
	metrics := strings.TrimSpace(strings.TrimPrefix(<-talk, "metrics at "))
	show := func(want string) {
		t.Helper()
		for range 200 {
			resp, err := http.Get(metrics)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(b), want) {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Fatalf("the metrics never show %s", want)
	}
	show("imaledger_follow_judged 3")
	s.seal(t, h)
	show("imaledger_follow_judged 4")
	// Records that the ledger lost, and that it gives altered.
	s.mu.Lock()
	lost := h.Last.Payload.Digest
	s.mu.Unlock()
	last := s.seal(t, h)
	s.mu.Lock()
	altered := bytes.Clone(s.Addenda[last.Payload.Digest])
	altered[10] ^= 1
	s.Addenda[last.Payload.Digest] = altered
	delete(s.Addenda, lost) // judged before, so that nobody asks again
	s.mu.Unlock()
	a := <-posted
	if a.Finding.Code != ledger.PayloadDigest || a.Verdict != "contradicted" || a.Missing == "" {
		t.Errorf("%+v", a)
	}
	show(`imaledger_follow_findings{class="contradicted",code="payload-digest"} 1`)
	// A second history, of the same keys.
	s.show(s.fork(t, 3, 4))
	a = <-posted
	if a.Finding.Code != ledger.LogSplit || len(a.Content) == 0 {
		t.Errorf("%+v", a)
	}
	if code, out, talk := tool(t, "verify-equivocation", a.Evidence); code != 0 {
		t.Errorf("the evidence does not verify: %d %s %s", code, out, talk)
	}
	show(`imaledger_follow_findings{class="contradicted",code="log-split"} 1`)
	s.show(http.NotFoundHandler())
	show("imaledger_follow_failures_total 1")
	cancel()
	if got := <-ended; got != "0 2" {
		t.Errorf("it ended with code and alerts %s, want 0 2", got)
	}
	if len(posted) > 0 {
		t.Errorf("an alert twice: %+v", <-posted)
	}
	codes, err := os.ReadFile(filepath.Join(dir, "codes"))
	if err != nil || string(codes) != "payload-digest contradicted\nlog-split contradicted\n" {
		t.Errorf("the program got %q, %v", codes, err)
	}

	// The first finding ends it, if that is asked for.
	s.show(s.fork(t, 3, 4))
	code, out, _ := tool(t, "follow", "--ledger", s.url, "--trust", s.trust, "--state", filepath.Join(dir, "state"), "--exit-on-finding")
	if code != 1 || !strings.Contains(out, "log-split") {
		t.Errorf("%d %s", code, out)
	}
}

// TestCosign: an auditor cosigns what he has read and nothing else, and a policy can
// demand it.
func TestCosign(t *testing.T) {
	s, h := serveLog(t)
	dir := t.TempDir()
	key, state, out := filepath.Join(dir, "auditor.key"), filepath.Join(dir, "state"), filepath.Join(dir, "checkpoint")
	code, vkey, talk := tool(t, "keygen", "--kind", "witness", "--name", "auditor.example", "--out", key)
	if code != 0 {
		t.Fatal(talk)
	}
	cosign := func(args ...string) (code int, stdout, stderr string) {
		return tool(t, append([]string{"cosign", "--ledger", s.url, "--trust", s.trust, "--state", state, "--key", key}, args...)...)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, talk := cosign("--out", out); code != cli.ExitUsage || !strings.Contains(talk, "can be read by others") {
		t.Errorf("a key that others can read: exit %d, %s", code, talk)
	}
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, talk := cosign("--out", out); code != 0 || !strings.Contains(talk, "audited and cosigned") {
		t.Fatalf("%d %s", code, talk)
	}
	note, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	// The policy of one who wants the log read.
	demanding, err := ledger.ParsePolicy([]byte(strings.Replace(s.Policy, "quorum two\n", "witness auditor "+strings.TrimSpace(vkey)+"\ngroup read all two auditor\nquorum read\n", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := demanding.Verify(note); err != nil || c.Size != 3 {
		t.Errorf("the auditor's checkpoint: %v", err)
	}
	published, err := s.Checkpoint(3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := demanding.Verify(published); err == nil {
		t.Error("the policy does not demand the auditor")
	}
	// Not what he could not read, unless he is told to, and not what contradicts.
	seg := s.seal(t, h)
	kept := s.Addenda[seg.Payload.Digest]
	delete(s.Addenda, seg.Payload.Digest)
	if code, out, talk := cosign(); code != 3 || out != "" || !strings.Contains(talk, "--allow-unread") {
		t.Errorf("records missing: %d %q %s", code, out, talk)
	}
	if code, out, _ := cosign("--allow-unread"); code != 0 || !strings.Contains(out, "\n4\n") || !strings.Contains(out, "auditor.example") {
		t.Errorf("records missing, and allowed: %d %q", code, out)
	}
	s.Addenda[seg.Payload.Digest] = kept
	s.show(s.fork(t, 3, 3))
	if code, out, talk := cosign("--allow-unread"); code != 1 || out != "" {
		t.Errorf("a fork: %d %q %s", code, out, talk)
	}
	// Also with an audit from the beginning, by one who forgot: the witness has not.
	if err := os.Remove(filepath.Join(state, "audit.json")); err != nil {
		t.Fatal(err)
	}
	if code, out, talk := cosign("--allow-unread"); code != 1 || out != "" || !strings.Contains(talk, "does not continue what was cosigned at size 4") {
		t.Errorf("a fork, the audit forgotten: %d %q %s", code, out, talk)
	}
	for _, args := range [][]string{{"cosign", "--ledger", s.url, "--trust", s.trust, "--key", key}, {"cosign", "--ledger", s.url, "--trust", s.trust, "--key", s.trust + "/policy", "--state", state}} {
		if code, _, _ := tool(t, args...); code != 2 {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}

// TestCosignServes: what an auditor has cosigned is where other witnesses' is, and
// where a ledger's is; he takes no checkpoints of others.
func TestCosignServes(t *testing.T) {
	s, h := serveLog(t)
	dir := t.TempDir()
	key := filepath.Join(dir, "auditor.key")
	if code, _, talk := tool(t, "keygen", "--kind", "witness", "--name", "auditor.example", "--out", key); code != 0 {
		t.Fatal(talk)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- cli.Run(ctx, "imaledger", run, []string{"cosign", "--ledger", s.url, "--trust", s.trust, "--state", filepath.Join(dir, "state"), "--key", key, "--listen", "127.0.0.1:0", "--interval", "1s"}, nil, io.Discard, w)
		w.Close()
	}()
	b := make([]byte, 4096)
	n, err := r.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, r)
	_, url, _ := strings.Cut(strings.TrimSpace(string(b[:n])), " is at ")
	get := func(want string) string {
		t.Helper()
		for range 200 {
			resp, err := http.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil && strings.Contains(string(b), want) {
				return string(b)
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Fatalf("%s never has %q", url, want)
		return ""
	}
	get("\n3\n")
	s.seal(t, h)
	if got := get("\n4\n"); !strings.Contains(got, "witness1.example") || !strings.Contains(got, "auditor.example") {
		t.Errorf("%s", got)
	}
	resp, err := http.Post(strings.TrimSuffix(url, "checkpoint")+"add-checkpoint", "", strings.NewReader("old 0\n\n"+get("\n4\n")))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a checkpoint of somebody's: %s", resp.Status)
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestFollowForYears: a finding that stands is one alert, also where its text has
// other numbers at each audit, and takes no more memory the longer it stands. One that
// was gone and comes back is a new one.
func TestFollowForYears(t *testing.T) {
	var f follower
	var out bytes.Buffer
	alerts := func(findings ...ledger.Finding) int {
		t.Helper()
		out.Reset()
		if _, err := f.alert(t.Context(), &monitor.Report{Findings: findings}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		return strings.Count(out.String(), "\n")
	}
	gap := ledger.Finding{Code: ledger.Gap, Subject: "web1 #3", Text: "records are missing", Entry: "ab"}
	for n := range 100 {
		want := 0
		if n == 0 {
			want = 2
		}
		older := ledger.Finding{Code: ledger.LogRollback, Subject: "checkpoint", Text: fmt.Sprintf("the log has shown size 500, and shows %d now", n)}
		if got := alerts(gap, older); got != want {
			t.Fatalf("audit %d: %d alerts, want %d:\n%s", n, got, want, out.String())
		}
	}
	if len(f.alerted) != 2 {
		t.Errorf("%d findings are kept in mind", len(f.alerted))
	}
	other := gap
	other.Entry = "cd"
	if n := alerts(gap, other); n != 1 {
		t.Errorf("one more finding: %d alerts", n)
	}
	alerts()
	if n := alerts(gap); n != 1 {
		t.Errorf("a finding that comes back: %d alerts", n)
	}
}
