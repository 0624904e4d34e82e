package server

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// rolledBack is a ledger whose directory is a copy of what it was two entries ago.
func rolledBack(t *testing.T) *testLedger {
	t.Helper()
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	l.submit(t, h, "/bin/sh")
	l.kill()
	time.Sleep(50 * time.Millisecond)
	older := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(l.config.Dir)); err != nil {
		t.Fatal(err)
	}
	l.start(t)
	l.submit(t, h, "/bin/ls")
	l.submit(t, h, "/bin/cat")
	l.kill()
	time.Sleep(50 * time.Millisecond)
	if err := os.RemoveAll(l.config.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(l.config.Dir, os.DirFS(older)); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *testLedger) mark(t *testing.T) string {
	t.Helper()
	mark := filepath.Join(l.config.Dir, restoredMark)
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return mark
}

// mustRefuse wants the ledger not to start.
func (l *testLedger) mustRefuse(t *testing.T, want string) {
	t.Helper()
	s, err := New(t.Context(), l.config)
	if err == nil {
		s.log.close()
		s.lock.Close()
		t.Fatalf("it started; want an error with %q", want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Fatalf("%v; want %q", err, want)
	}
}

// A log that was restored from an older copy does not start, when one witness
// shows that there was more; and stops, when one shows it later.
func TestRolledBack(t *testing.T) {
	l := rolledBack(t)
	for _, w := range l.witnesses[1:] {
		w.away.Store(true)
	}
	l.mustRefuse(t, "witness w0 has cosigned 4 entries of this log, signed by its key, and the log has 2")
	l.witnesses[0].away.Store(true)
	l.start(t)
	if err := l.server.Err(); err != nil {
		t.Fatal(err)
	}
	l.witnesses[2].away.Store(false)
	l.enrol(t, "another") // an idle log is cosigned each minute alone
	select {
	case <-l.server.Failed():
	case <-time.After(patience):
		t.Fatal("a witness refuses and shows why, and the ledger goes on")
	}
	if err := l.server.Err(); !strings.Contains(err.Error(), "witness w2 has cosigned 4 entries") {
		t.Fatal(err)
	}
}

// Two logs with one key, on copies of one directory, are found by the witnesses.
func TestForkedLog(t *testing.T) {
	l := rolledBack(t)
	for _, w := range l.witnesses {
		w.away.Store(true)
	}
	l.start(t)
	for _, name := range []string{"a", "b", "c"} {
		l.enrol(t, name)
	}
	l.kill()
	time.Sleep(50 * time.Millisecond)
	l.witnesses[1].away.Store(false)
	l.mustRefuse(t, "these are two logs with one key")
}

// A witness that lies stops no honest log.
func TestLyingWitness(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	other, _ := signer(t, testOrigin) // another key of the log's name
	c := l.anchor(t)
	c.Size += 1000
	text := strings.Split(string(c.Raw), "\n")
	text[1] = "1000"
	forged, err := note.Sign(&note.Note{Text: strings.Join(text[:3], "\n") + "\n"}, other)
	if err != nil {
		t.Fatal(err)
	}
	l.witnesses[0].lies.Store(&forged)
	l.submit(t, h, "/bin/sh")
	within(t, "the witness's 409 shows", func() bool { return l.witnessHealth("w0").Problem != "" })
	if p := l.witnessHealth("w0").Problem; !strings.Contains(p, "it has seen 1000 entries of this log") {
		t.Error(p)
	}
	l.submit(t, h, "/bin/ls")
	l.restart(t)
	l.submit(t, h, "/bin/cat")
	if err := l.server.Err(); err != nil {
		t.Fatal(err)
	}
}

// A witness that shows another log of the policy, the one that follows say, in this one's
// place says nothing of this one.
func TestWitnessOfOtherLog(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	l.submit(t, h, "/bin/sh")
	next, vkey := signer(t, "next.example/log")
	policy, err := ledger.ParsePolicy(append([]byte("log "+vkey+"\n"), l.policy...))
	if err != nil {
		t.Fatal(err)
	}
	trust := *l.config.Trust
	trust.Policy = policy
	l.config.Trust = &trust
	shown, err := note.Sign(&note.Note{Text: "next.example/log\n1000\n" + strings.Repeat("A", 43) + "=\n"}, next)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.VerifyUnwitnessed(shown); err != nil {
		t.Fatal(err)
	}
	l.witnesses[0].lies.Store(&shown)
	l.restart(t)
	l.submit(t, h, "/bin/ls")
}

func (l *testLedger) witnessHealth(name string) WitnessHealth {
	for _, w := range l.server.log.witnesses.health() {
		if w.Name == name {
			return w
		}
	}
	return WitnessHealth{}
}

// A log that was just restored starts only when those that do not answer could not
// have cosigned by themselves what it lacks.
func TestRestored(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	l.submit(t, h, "/bin/sh")
	l.kill()
	time.Sleep(50 * time.Millisecond)
	mark := l.mark(t)
	for _, w := range l.witnesses[1:] {
		w.away.Store(true)
	}
	l.mustRefuse(t, "the witnesses that do not answer (w")
	l.witnesses[1].away.Store(false)
	l.witnesses[1].hides.Store(true) // it is asked to cosign, and says what it has seen
	l.start(t)
	if _, err := os.Stat(mark); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mark stays: %v", err)
	}
	l.submit(t, h, "/bin/ls")

	older := rolledBack(t)
	mark = older.mark(t)
	for _, w := range older.witnesses {
		w.hides.Store(true)
	}
	older.mustRefuse(t, "says that it has cosigned 4 entries of this log, and the copy that was restored has 2")
	if _, err := os.Stat(mark); err != nil {
		t.Error(err)
	}
}

// Witnesses that fail are asked seldom; the state shows, and it mends by itself.
func TestQuorumLost(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	p := l.server.log.newest
	p.mu.Lock()
	p.grace = 500 * time.Millisecond
	p.mu.Unlock()
	status := func(path string) string {
		_, body := l.do(t, http.MethodGet, path, nil)
		var got health
		decode(t, body, &got)
		return got.Status
	}
	if got := status("/healthz"); got != healthOK {
		t.Fatal(got)
	}
	// Two of the three may have been quicker than this one.
	cosigned := l.witnessHealth("w1").Cosigned
	for _, w := range l.witnesses[1:] {
		w.away.Store(true)
	}
	anchor := l.anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
	l.upload(t, payload, anchor.Raw)
	for _, w := range l.witnesses {
		w.asked.Store(0)
	}
	began := time.Now()
	resp, body := l.doWith(t, http.MethodPost, "/leaf", bytes.NewReader(leaf), "Prefer", "wait=0")
	if resp.StatusCode != http.StatusAccepted || !bytes.Contains(body, []byte(`"status":"not yet witnessed"`)) {
		t.Fatalf("%s %s", resp.Status, body)
	}
	within(t, "the lost quorum shows", func() bool { return status("/healthz") == healthUnwitnessed })
	if got := status("/readyz"); got != healthUnwitnessed {
		t.Errorf("readyz: %s; the ledger takes entries", got)
	}
	within(t, "the good witness is asked again and again", func() bool { return time.Since(began) > 4*time.Second && l.witnesses[0].asked.Load() >= 8 })
	rounds := int64(time.Since(began) / l.config.CheckpointInterval)
	if good, bad := l.witnesses[0].asked.Load(), l.witnesses[1].asked.Load(); bad*4 > rounds || bad < 2 || good < 2*bad {
		t.Errorf("in the time of %d checkpoints the good witness was asked %d times, one that is away %d times", rounds, good, bad)
	}
	if w := l.witnessHealth("w1"); w.Problem == "" || w.Next == nil || w.Cosigned == nil && cosigned != nil {
		t.Errorf("%+v", w)
	}
	for _, w := range l.witnesses[1:] {
		w.away.Store(false)
	}
	a, err := l.Proof(t.Context(), ledger.LeafHash(leaf), client.MaxWait)
	if err != nil || a.Proof == "" {
		t.Fatalf("after the witnesses came back: %v", err)
	}
	if got := status("/healthz"); got != healthOK {
		t.Error(got)
	}
}

// An idle log has its checkpoint cosigned anew, so that its age stays small; the
// health says when that fails.
func TestIdle(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	l.config.RepublishInterval = 300 * time.Millisecond
	l.start(t)
	l.enrolHost(t, "h")
	policy, first := l.config.Trust.Policy, l.anchor(t)
	within(t, "its cosignatures are younger", func() bool { // which state whole seconds
		c := l.anchor(t)
		if c.Size != first.Size || c.Root != first.Root {
			t.Fatalf("the log has grown to %d", c.Size)
		}
		return policy.NotBefore(c) > policy.NotBefore(first)
	})
	p := l.server.log.newest
	p.mu.Lock()
	p.grace = 200 * time.Millisecond
	p.mu.Unlock()
	for _, w := range l.witnesses[1:] {
		w.away.Store(true)
	}
	within(t, "an idle log that nobody cosigns is called unwitnessed", func() bool { return !l.server.log.newest.witnessed() })
	for _, w := range l.witnesses[1:] {
		w.away.Store(false)
	}
	within(t, "the witnesses are back", l.server.log.newest.witnessed)
}

// Readiness is about taking entries, health about the process.
func TestReadiness(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	l.enrolHost(t, "h")
	get := func(path string, want int, status string) {
		t.Helper()
		resp, body := l.do(t, http.MethodGet, path, nil)
		var got health
		decode(t, body, &got)
		if resp.StatusCode != want || got.Status != status || len(got.Witnesses) != 3 {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
	get("/readyz", http.StatusOK, healthOK)
	good := l.server.writable.dir
	l.server.writable = writable{dir: filepath.Join(good, "none")}
	get("/readyz", http.StatusServiceUnavailable, healthStorage)
	get("/healthz", http.StatusOK, healthOK)
	l.server.writable = writable{dir: good}
	get("/readyz", http.StatusOK, healthOK)
	l.server.Drain()
	get("/readyz", http.StatusServiceUnavailable, healthDraining)
	get("/healthz", http.StatusOK, healthOK)
}
