package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

var errCrash = errors.New("crash")

// The process dies between two steps of admit: nothing is lost, nothing stands
// in the log twice, and the same leaf gets one index.
func TestCrashBetweenSteps(t *testing.T) {
	for name, test := range map[string]struct {
		add    func(tessera.AddFn) tessera.AddFn
		logged bool // whether the leaf was durable before the crash
	}{
		"before the leaf is added": {func(tessera.AddFn) tessera.AddFn {
			return func(context.Context, *tessera.Entry) tessera.IndexFuture {
				return func() (tessera.Index, error) { return tessera.Index{}, errCrash }
			}
		}, false},
		"after the leaf is added": {func(add tessera.AddFn) tessera.AddFn {
			return func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
				return func() (tessera.Index, error) {
					if _, err := add(ctx, e)(); err != nil {
						t.Error(err)
					}
					return tessera.Index{}, errCrash
				}
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := startLedger(t, ledger.GradeSoftware)
			h := l.enrolHost(t, "h")
			anchor := l.anchor(t)
			leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
			l.upload(t, payload, anchor.Raw)
			l.server.log.add = test.add(l.server.log.add)
			_, err := l.SubmitLeaf(t.Context(), leaf, 0)
			problem(t, err, http.StatusServiceUnavailable, "")
			// What the log holds is not known now, so nothing more is taken.
			_, err = l.SubmitLeaf(t.Context(), leaf, 0)
			problem(t, err, http.StatusServiceUnavailable, "")
			resp, body := l.do(t, http.MethodGet, "/healthz", nil)
			if resp.StatusCode != http.StatusServiceUnavailable || !bytes.Contains(body, []byte("stopped")) {
				t.Fatalf("healthz: %s %s", resp.Status, body)
			}

			l.restart(t)
			_, found := l.server.chains.find(ledger.LeafHash(leaf))
			if found != test.logged {
				t.Fatalf("after the restart the log has the leaf: %v, want %v", found, test.logged)
			}
			for range 2 {
				a, err := l.SubmitLeaf(t.Context(), leaf, client.MaxWait)
				if err != nil || a.Index != 1 {
					t.Fatalf("%+v, %v; want index 1", a, err)
				}
			}
			h.took(leaf)
			if _, a := l.submit(t, h, "/bin/ls"); a.Index != 2 {
				t.Fatalf("the next leaf has index %d, want 2", a.Index)
			}
			l.checkTiles(t, 3)
		})
	}
}

// A failing store keeps an entry out of the log.
type brokenStore struct {
	addendaStore
	put, open, size error
}

func (b brokenStore) Put(d ledger.Hash, r io.Reader, max int64) (bool, error) {
	if b.put != nil {
		return false, b.put
	}
	return b.addendaStore.Put(d, r, max)
}

func (b brokenStore) Open(d ledger.Hash) (io.ReadCloser, bool, error) {
	if b.open != nil {
		return nil, false, b.open
	}
	return b.addendaStore.Open(d)
}

func (b brokenStore) Size(d ledger.Hash) (int64, bool, error) {
	if b.size != nil {
		return 0, false, b.size
	}
	return b.addendaStore.Size(d)
}

func TestBrokenStore(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	anchor := l.anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
	l.upload(t, payload, anchor.Raw)
	good := l.server.addenda
	disk := errors.New("input/output error")
	for name, broken := range map[string]brokenStore{"open": {good, nil, disk, nil}, "size": {good, nil, nil, disk}} {
		l.server.addenda = broken
		_, err := l.SubmitLeaf(t.Context(), leaf, 0)
		if p := problem(t, err, http.StatusInternalServerError, ""); strings.Contains(p.Error(), "input/output") {
			t.Errorf("%s: a stranger is told %q", name, p)
		}
	}
	l.server.addenda = brokenStore{good, disk, nil, nil}
	fresh := newTestAK(t)
	_, _, err := l.Enrol(t.Context(), client.EnrolRequest{Host: "new", AKPublic: fresh.ak}, 0)
	problem(t, err, http.StatusInternalServerError, "")
	if n, err := l.server.log.reader.IntegratedSize(t.Context()); err != nil || n != 1 {
		t.Fatalf("%d entries, %v; want 1", n, err)
	}
	// The disk is back: everything goes on.
	l.server.addenda = good
	if _, err := l.SubmitLeaf(t.Context(), leaf, 0); err != nil {
		t.Fatal(err)
	}
}

// A payload that decays on disk between upload and admission is not admitted,
// nor served, and a second upload mends it.
func TestDecayedPayload(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	anchor := l.anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
	l.upload(t, payload, anchor.Raw)
	s, err := ledger.ParseSegment(leaf)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(l.config.Dir, ledger.AddendumPath(s.Payload.Digest))
	bad := bytes.Clone(payload)
	bad[len(bad)/2] ^= 4
	if err := os.WriteFile(path, bad, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = l.SubmitLeaf(t.Context(), leaf, 0)
	if err == nil {
		t.Fatal("admitted a decayed payload")
	}
	if err := l.Addendum(t.Context(), s.Payload.Digest, 1<<20, io.Discard); err == nil {
		t.Fatal("served a decayed payload")
	}
	l.upload(t, payload)
	if _, err := l.SubmitLeaf(t.Context(), leaf, 0); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := l.Addendum(t.Context(), s.Payload.Digest, 1<<20, &got); err != nil || !bytes.Equal(got.Bytes(), payload) {
		t.Fatalf("%d bytes, %v", got.Len(), err)
	}
}

// childSpec is what a ledger in a process of its own is told.
type childSpec struct{ Dir, Address, LogKey, RegistrarKey, Policy, Rules string }

const childEnv = "IMALEDGER_TEST_CHILD"

// child runs a ledger until it is killed.
func child(spec string) error {
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
	s, err := New(context.Background(), Config{Dir: c.Dir, Signer: logKey, Trust: trust, Registrars: []note.Signer{registrar}, AllowSoftware: true,
		CheckpointInterval: 100 * time.Millisecond, BatchMaxAge: 2 * time.Millisecond})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.Address)
	if err != nil {
		return err
	}
	go http.Serve(listener, s)
	<-s.Failed()
	return s.Err()
}

// A real process is killed with SIGKILL again and again while hosts submit. All
// that was acknowledged stays, at its index; no chain forks; no restart needs a
// hand.
func TestKill(t *testing.T) {
	const kills, hosts = 6, 5
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

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
		key, w := newWitness(t, fmt.Sprintf("witness%d.example", i), vkey)
		policy += fmt.Sprintf("witness w%d %s %s\n", i, key, w.url)
	}
	spec := childSpec{
		Dir: t.TempDir(), Address: freeAddress(t), LogKey: logSecret, RegistrarKey: registrarSecret,
		Policy: policy + "group two 2 w0 w1 w2\nquorum two\n",
		Rules:  ledger.TrustRulesFormat + "\nregistrar " + registrarKey + "\nregistrars 1\ngrade software because it is a test\n",
	}
	encoded, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+string(encoded))
		cmd.Stderr = testWriter{t}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}

	trust, err := ledger.ParseTrust([]byte(spec.Policy), []byte(spec.Rules))
	if err != nil {
		t.Fatal(err)
	}
	l := &testLedger{Client: &client.Client{Base: "http://" + spec.Address}, config: Config{Trust: trust}}
	ctx, stop := context.WithCancel(t.Context())
	acked := make([]map[ledger.Hash]uint64, hosts)
	list := make([]*testHost, hosts)
	var wg sync.WaitGroup
	cmd := start()
	for i := range hosts {
		acked[i], list[i] = make(map[ledger.Hash]uint64), &testHost{name: fmt.Sprint("host-", i), tpm: newTestAK(t)}
		wg.Go(func() { list[i].run(ctx, t, l, acked[i]) })
	}
	for range kills {
		time.Sleep(time.Duration(200+random.IntN(500)) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		cmd = start()
	}
	time.Sleep(500 * time.Millisecond)
	stop()
	wg.Wait()
	cmd.Process.Kill()
	cmd.Wait()

	// New judges every entry again, and holds the entries to the tree.
	logKey, err := note.NewSigner(logSecret)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), Config{Dir: spec.Dir, Signer: logKey, Trust: trust})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.log.close(); s.lock.Close() }()
	total := 0
	for i, h := range list {
		for leaf, index := range acked[i] {
			if got, found := s.chains.find(leaf); !found || got != index {
				t.Errorf("%s: leaf %x was acknowledged at %d; the log has it: %v, at %d", h.name, leaf[:6], index, found, got)
			}
		}
		total += len(acked[i])
		// At most the one entry under way was not acknowledged.
		if _, sequence, _, found := s.chains.head(h.name); !found || sequence+1 < uint64(len(acked[i])) || sequence > uint64(len(acked[i])) {
			t.Errorf("%s: chain ends at #%d, %d entries acknowledged", h.name, sequence, len(acked[i]))
		}
	}
	if total < 4*hosts {
		t.Fatalf("only %d entries were acknowledged: the test has tested nothing", total)
	}
	t.Logf("%d kills, %d entries acknowledged, none lost", kills, total)
}

// run submits segments until the context ends, each again and again until it is
// acknowledged, as an agent does.
func (h *testHost) run(ctx context.Context, t *testing.T, l *testLedger, acked map[ledger.Hash]uint64) {
	retry := func(what string, try func() error) bool {
		for ctx.Err() == nil {
			err := try()
			var p *client.Problem
			if err == nil {
				return true
			}
			if errors.As(err, &p) && p.Status < 500 && p.Status != http.StatusNotFound {
				t.Errorf("%s: %s: %v", h.name, what, err)
				return false
			}
			time.Sleep(5 * time.Millisecond)
		}
		return false
	}
	if !retry("enrol", func() error {
		_, a, err := l.Enrol(ctx, client.EnrolRequest{Host: h.name, AKPublic: h.tpm.ak}, 0)
		if err == nil {
			h.leaf = ledger.LeafHash(a.Entry)
			acked[h.leaf] = a.Index
		}
		return err
	}) {
		return
	}
	for i := 0; ctx.Err() == nil; i++ {
		var anchor *ledger.Checkpoint
		if !retry("checkpoint", func() error {
			raw, err := l.Checkpoint(ctx)
			if err == nil {
				anchor, err = l.config.Trust.Policy.Verify(raw)
			}
			return err
		}) {
			return
		}
		leaf, payload := h.segment(t, testOrigin, anchor, fmt.Sprint("/bin/", i))
		if !retry("submit", func() error {
			for _, b := range [][]byte{payload, anchor.Raw} {
				digest := ledger.Hash(sha256.Sum256(b))
				if err := l.PutAddendum(ctx, digest, int64(len(b)), bytes.NewReader(b)); err != nil {
					return err
				}
			}
			a, err := l.SubmitLeaf(ctx, leaf, 0)
			if err == nil {
				acked[ledger.LeafHash(leaf)] = a.Index
			}
			return err
		}) {
			return
		}
		h.took(leaf)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
