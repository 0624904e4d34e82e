package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/witness"
)

const testOrigin = "ledger.example/test"

// A testLedger is a ledger on loopback HTTP with three witnesses, of whose
// cosignatures it needs two.
type testLedger struct {
	*client.Client
	server    *Server
	config    Config
	vkey      string
	policy    []byte
	witnesses []*testWitness
	operator  note.Signer
	ahead     atomic.Int64 // nanoseconds that the witnesses' clocks are ahead
	http      *httptest.Server
	enrolled  map[string]*testTPM // by enrol
	patience  time.Duration       // of a load's hosts, for proofs; at least a second
}

// signer makes a key and returns its verifier key too.
func signer(t testing.TB, name string) (note.Signer, string) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return s, vkey
}

// A testWitness is a real witness that can be away, that shows what it has cosigned
// last unless it hides that, and that counts how often it is asked.
type testWitness struct {
	*witness.Witness
	config witness.Config // of the same, to start it again
	url    string
	signer note.Signer // with the witness's key, for what the witness would refuse
	away   atomic.Bool
	hides  atomic.Bool
	lies   atomic.Pointer[[]byte] // a checkpoint that it says it has seen
	asked  atomic.Int64
	newest atomic.Pointer[[]byte] // checkpoint and cosignature
}

func (w *testWitness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.asked.Add(1)
	newest, lie := w.newest.Load(), w.lies.Load()
	switch {
	case lie != nil && r.Method == http.MethodGet:
		rw.Write(*lie)
	case lie != nil:
		rw.WriteHeader(http.StatusConflict)
		rw.Write(bytes.Split(*lie, []byte("\n"))[1])
	case w.away.Load():
		http.Error(rw, "away", http.StatusBadGateway)
	case r.Method == http.MethodGet && (w.hides.Load() || newest == nil):
		http.NotFound(rw, r)
	case r.Method == http.MethodGet:
		rw.Write(*newest)
	default:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		w.Witness.ServeHTTP(answer, r)
		if answer.Code == http.StatusOK {
			_, checkpoint, _ := bytes.Cut(body, []byte("\n\n"))
			shown := append(checkpoint, answer.Body.Bytes()...)
			w.newest.Store(&shown)
		}
		maps.Copy(rw.Header(), answer.Header())
		rw.WriteHeader(answer.Code)
		rw.Write(answer.Body.Bytes())
	}
}

func newWitness(t testing.TB, name, logKey string, now func() time.Time) (vkey string, tw *testWitness) {
	t.Helper()
	key, err := witness.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	l, err := witness.ParseLog(logKey)
	if err != nil {
		t.Fatal(err)
	}
	config := witness.Config{Keys: []*witness.Key{key}, Logs: []witness.Log{l}, Dir: t.TempDir(), Now: now}
	w, err := witness.New(config)
	if err != nil {
		t.Fatal(err)
	}
	cosigner, err := fnote.NewSignerForCosignatureV1(key.Secret())
	if err != nil {
		t.Fatal(err)
	}
	tw = &testWitness{Witness: w, config: config, signer: cosigner}
	server := httptest.NewServer(tw)
	tw.url = server.URL
	t.Cleanup(func() { server.Close(); w.Close() })
	return key.VKey(), tw
}

// newConfig makes the keys, witnesses and trust folder of a ledger.
func newConfig(t testing.TB, grades ...ledger.Grade) *testLedger {
	t.Helper()
	l := &testLedger{}
	logSigner, vkey := signer(t, testOrigin)
	registrar, registrarKey := signer(t, "registrar.example")
	policy := fmt.Sprintf("log %s\n", vkey)
	for i := range 3 {
		key, w := newWitness(t, fmt.Sprintf("witness%d.example", i), vkey, func() time.Time { return time.Now().Add(time.Duration(l.ahead.Load())) })
		policy += fmt.Sprintf("witness w%d %s %s\n", i, key, w.url)
		l.witnesses = append(l.witnesses, w)
	}
	policy += "group two 2 w0 w1 w2\nquorum two\n"
	operator, operatorKey := signer(t, "operator.example")
	l.operator = operator
	rules := ledger.TrustRulesFormat + "\nregistrar " + registrarKey + "\nregistrars 1\noperator " + operatorKey + "\n"
	software := false
	for _, g := range grades {
		rules += "grade " + string(g)
		if g == ledger.GradeSoftware {
			rules += " because it is a test"
			software = true
		}
		rules += "\n"
	}
	trust, err := ledger.ParseTrust([]byte(policy), []byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	l.vkey, l.policy = vkey, []byte(policy)
	l.config = Config{
		Dir: tempDir(t), Signer: logSigner, Trust: trust, Registrars: []note.Signer{registrar}, AllowSoftware: software, PublicPayloads: true, PublicUploads: true,
		CheckpointInterval: 100 * time.Millisecond, BatchMaxAge: 5 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	return l
}

// tempDir is t.TempDir for a directory that Tessera writes to: its workers end
// some moments after they are told to.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "ledger")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 100 {
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	return dir
}

// testWriter writes to a test's log, until it ends.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSuffix(string(b), "\n"))
	}
	return len(b), nil
}

// start opens the ledger and serves it.
func (l *testLedger) start(t testing.TB) *testLedger {
	t.Helper()
	s, err := New(t.Context(), l.config)
	if err != nil {
		t.Fatal(err)
	}
	l.server = s
	l.http = httptest.NewServer(s)
	l.Client = &client.Client{Base: l.http.URL}
	t.Cleanup(l.kill)
	return l
}

// kill ends the ledger as a crash would: nothing is waited for, nothing written.
func (l *testLedger) kill() {
	if l.server == nil {
		return
	}
	l.http.CloseClientConnections()
	l.http.Close()
	l.server.log.close()
	l.server.search.close()
	l.server.active.Wait()
	l.server.lock.Close()
	l.server = nil
}

// restart ends the ledger as a crash would and starts it again.
func (l *testLedger) restart(t testing.TB) {
	t.Helper()
	l.kill()
	// Tessera's workers are not waited for by a crash of the same process.
	time.Sleep(50 * time.Millisecond)
	l.start(t)
}

func startLedger(t testing.TB, grades ...ledger.Grade) *testLedger {
	t.Helper()
	return newConfig(t, grades...).start(t)
}

// enrolHost enrols a host at grade software.
func (l *testLedger) enrolHost(t testing.TB, name string) *testHost {
	t.Helper()
	h := &testHost{name: name, tpm: newTestAK(t)}
	ch, a, err := l.Enrol(t.Context(), client.EnrolRequest{Host: name, AKPublic: h.tpm.ak}, client.MaxWait)
	if err != nil || ch != nil {
		t.Fatalf("enrol %s: challenge %v, %v", name, ch, err)
	}
	h.leaf = ledger.LeafHash(a.Entry)
	return h
}

// enrol enrols a host and does not wait for witnesses.
func (l *testLedger) enrol(t testing.TB, name string) {
	t.Helper()
	tpm := newTestAK(t)
	if _, _, err := l.Enrol(t.Context(), client.EnrolRequest{Host: name, AKPublic: tpm.ak}, 0); err != nil {
		t.Fatal(err)
	}
	if l.enrolled == nil {
		l.enrolled = make(map[string]*testTPM)
	}
	l.enrolled[name] = tpm
}

func decode(t testing.TB, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
}

// anchor returns the newest checkpoint.
func (l *testLedger) anchor(t testing.TB) *ledger.Checkpoint {
	t.Helper()
	raw, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.config.Trust.Policy.Verify(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// upload stores the addenda of a segment.
func (l *testLedger) upload(t testing.TB, list ...[]byte) {
	t.Helper()
	for _, b := range list {
		if err := l.PutAddendum(t.Context(), sha256.Sum256(b), int64(len(b)), bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
}

// submit makes a segment of a host, uploads and submits it.
func (l *testLedger) submit(t testing.TB, h *testHost, files ...string) (leaf []byte, a *client.Accepted) {
	t.Helper()
	anchor := l.anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, files...)
	l.upload(t, payload, anchor.Raw)
	a, err := l.SubmitLeaf(t.Context(), leaf, client.MaxWait)
	if err != nil {
		t.Fatal(err)
	}
	h.took(leaf)
	return leaf, a
}

// problem wants an error to be a Problem with the status and, unless empty, a
// finding of the code.
func problem(t testing.TB, err error, status int, code ledger.Code) *client.Problem {
	t.Helper()
	var p *client.Problem
	if !errors.As(err, &p) || p.Status != status {
		t.Fatalf("got %v, want status %d", err, status)
	}
	for _, f := range p.Findings {
		if f.Code == code {
			return p
		}
	}
	if code != "" {
		t.Fatalf("got %v, want finding %s", p, code)
	}
	return p
}

// do makes a request that the client would not make.
func (l *testLedger) do(t testing.TB, method, path string, body io.Reader) (*http.Response, []byte) {
	t.Helper()
	return l.doWith(t, method, path, body)
}

// doWith is do with headers: names and values.
func (l *testLedger) doWith(t testing.TB, method, path string, body io.Reader, header ...string) (*http.Response, []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, l.http.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Prefer", "wait=0")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}

// patience is how long a test waits for what happens at once on an idle machine.
const patience = time.Minute

// within wants something to become true.
func within(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

// signedCheckpoint makes a checkpoint that the log's key and a number of
// witnesses sign, whatever they have seen before.
func signedCheckpoint(t testing.TB, l *testLedger, size uint64, root ledger.Hash, witnesses int) []byte {
	t.Helper()
	text := fmt.Sprintf("%s\n%d\n%s\n", testOrigin, size, base64.StdEncoding.EncodeToString(root[:]))
	signers := []note.Signer{l.config.Signer}
	for _, w := range l.witnesses[:witnesses] {
		signers = append(signers, w.signer)
	}
	raw, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
