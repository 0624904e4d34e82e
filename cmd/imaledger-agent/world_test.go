package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/server"
	"github.com/imaledger/imaledger/tpm"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/securityfs"
	"github.com/imaledger/imaledger/witness"
)

// atExit ends what all tests share.
var atExit = func() {}

// inParallel is how many tests run at a time: most of them wait for checkpoints.
var inParallel = "8"

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", inParallel); err != nil {
		panic(err) // testing has such a flag
	}
	server.RouteLogs(nil)
	code := m.Run()
	atExit()
	os.Exit(code)
}

// A world is a real ledger with two witnesses of which both are demanded, and
// the host of a fakeKernel.
type world struct {
	t      testing.TB
	trust  *ledger.Trust
	server *server.Server
	client *client.Client
	kernel *fakeKernel
	dir    string
	change func(*agent.Config)
	// before, if it is set, may answer in the ledger's place.
	before atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]

	policy, rules        string
	signer, registrar    note.Signer
	logKey, registrarKey string
	nextSigner           note.Signer // of the same log, which the witnesses know too
	nextKey              string
	served               server.Config
	witnesses            []*witness.Key
}

func keyPair(t testing.TB, name string) (note.Signer, string) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, vkey
}

func newWorld(t testing.TB, flavour securityfs.Flavour) *world {
	t.Helper()
	return newWorldOf(t, newFakeKernel(t, flavour))
}

func newWorldOf(t testing.TB, k *fakeKernel) *world {
	t.Helper()
	w := &world{t: t, kernel: k, dir: filepath.Join(t.TempDir(), "agent")}
	w.signer, w.logKey = keyPair(t, "log.example/agent")
	w.nextSigner, w.nextKey = keyPair(t, "log.example/agent")
	w.registrar, w.registrarKey = keyPair(t, "registrar.example")
	for i := range 2 {
		key, err := witness.GenerateKey(rand.Reader, fmt.Sprintf("witness%d.example", i))
		if err != nil {
			t.Fatal(err)
		}
		w.witnesses = append(w.witnesses, key)
	}
	w.server, w.trust = w.newLedger()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if f := w.before.Load(); f == nil || !(*f)(rw, r) {
			w.server.ServeHTTP(rw, r)
		}
	}))
	t.Cleanup(s.Close)
	w.client = &client.Client{Base: s.URL}
	return w
}

// newLedger starts a ledger and witnesses with the world's keys, that remember
// nothing. A second one makes all of them liars.
func (w *world) newLedger() (*server.Server, *ledger.Trust) {
	t := w.t
	t.Helper()
	policy := "log " + w.logKey + "\n"
	for i, key := range w.witnesses {
		policy += fmt.Sprintf("witness w%d %s %s\n", i, key.VKey(), startWitness(t, key, w.logKey, w.nextKey))
	}
	policy += "group both all w0 w1\nquorum both\n"
	rules := ledger.TrustRulesFormat + "\nregistrar " + w.registrarKey + "\nregistrars 1\n"
	if _, software := w.kernel.tpm.(*tpm.Software); software {
		rules += "grade software because this is a test\n"
	} else {
		rules += "grade first-use\n"
	}
	w.policy, w.rules = policy, rules
	trust, err := ledger.ParseTrust([]byte(policy), []byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	// Tessera's workers end some moments after they are told to.
	dir, err := os.MkdirTemp("", "ledger")
	if err != nil {
		t.Fatal(err)
	}
	w.served = server.Config{
		Dir: dir, Signer: w.signer, Trust: trust, Registrars: []note.Signer{w.registrar}, AllowSoftware: strings.Contains(rules, "software"), PublicPayloads: true,
		PrivateEntries: true, Limits: server.DefaultLimits(), // a host needs no more than what is given to every one
		CheckpointInterval: 100 * time.Millisecond, BatchMaxAge: 5 * time.Millisecond,
	}
	s, err := server.New(t.Context(), w.served)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s.Close(ctx)
		for range 100 {
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	return s, trust
}

func startWitness(t testing.TB, key *witness.Key, logKeys ...string) (url string) {
	t.Helper()
	var logs []witness.Log
	for _, logKey := range logKeys {
		l, err := witness.ParseLog(logKey)
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
	w, err := witness.New(witness.Config{Keys: []*witness.Key{key}, Logs: logs, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(w)
	t.Cleanup(func() { s.Close(); w.Close() })
	return s.URL
}

// answer lets f answer in the ledger's place where it returns true; nil ends it.
func (w *world) answer(f func(w http.ResponseWriter, r *http.Request) bool) {
	if f == nil {
		w.before.Store(nil)
		return
	}
	w.before.Store(&f)
}

func (w *world) down() {
	w.answer(func(rw http.ResponseWriter, _ *http.Request) bool {
		http.Error(rw, "down", http.StatusServiceUnavailable)
		return true
	})
}

// errPower is a power cut.
var errPower = errors.New("power cut")

// config is what a host's agent is given.
func (w *world) config() agent.Config {
	c := agent.Config{
		Host: "h.example", Trust: w.trust, Dir: w.dir, TPM: w.kernel.tpm, Kernel: w.kernel, Ledger: w.client, BootID: w.kernel.bootID,
		Errors: agent.KernelErrors{Staged: securityfs.ErrStaged, Nothing: securityfs.ErrNothing, Suspended: securityfs.ErrSuspended},
		Banks:  []ima.Bank{ima.SHA256}, SpoolLimit: 1 << 20, Wait: 10 * time.Second,
		Logger: slog.New(slog.NewTextHandler(testLog{w.t}, nil)),
	}
	c.Shrinks = w.kernel.flavour != securityfs.ReadOnly
	c.Delete = map[securityfs.Flavour]agent.Deletion{
		securityfs.Staging: agent.DeleteStaged, securityfs.Counted: agent.DeleteCount, securityfs.ReadOnly: agent.DeleteNever}[w.kernel.flavour]
	if w.change != nil {
		w.change(&c)
	}
	return c
}

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}

// open starts an agent. A program that another test starts just now has this one's
// lock too, until it is executed.
func (w *world) open(c agent.Config) (a *agent.Agent, err error) {
	for range 6000 {
		if a, err = agent.New(c); !errors.Is(err, agent.ErrLocked) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return a, err
}

// once starts an agent, has it make a round, and stops it. A step's name cuts
// the power there.
func (w *world) once(cut string) (err error) {
	w.t.Helper()
	return w.onceWithin(w.t.Context(), cut)
}

func (w *world) onceWithin(ctx context.Context, cut string) (err error) {
	w.t.Helper()
	c := w.config()
	c.Step = func(step string) {
		if step == cut {
			panic(errPower)
		}
	}
	a, err := w.open(c)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() {
		if e := a.Close(); e != nil {
			w.t.Error(e)
		}
		if r := recover(); r != nil {
			if r != errPower {
				panic(r)
			}
			err = errPower
		}
	}()
	return a.Once(ctx)
}

// try is once, where the directory may not open.
func (w *world) try() error {
	a, err := w.open(w.config())
	if err != nil {
		return err
	}
	return errors.Join(a.Once(w.t.Context()), a.Close())
}

// round is once, and must succeed.
func (w *world) round() {
	w.t.Helper()
	if err := w.once(""); err != nil {
		w.t.Fatal(err)
	}
}

// evidence puts together what a stranger gets, and has it checked.
func (w *world) evidence() (*audit.Report, [][]byte) {
	w.t.Helper()
	var sources []ledger.BundleSource
	var payloads [][]byte
	read := func(name string) []byte {
		b, err := os.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		return b
	}
	entries, err := filepath.Glob(filepath.Join(w.dir, "chain", "*.entry"))
	if err != nil {
		w.t.Fatal(err)
	}
	seen := make(map[string]bool)
	add := func(folder string, content []byte, leaf ledger.Hash) {
		if key := folder + string(leaf[:]) + string(content); !seen[key] {
			seen[key] = true
			sources = append(sources, ledger.SourceBytes(folder, content, leaf))
		}
	}
	for _, name := range entries {
		raw, base := read(name), name[:len(name)-len(".entry")]
		leaf := ledger.LeafHash(raw)
		add(ledger.FolderLeaves, raw, ledger.Hash{})
		add(ledger.FolderProofs, read(base+".proof"), leaf)
		entry, err := ledger.ParseEntry(raw)
		if err != nil {
			w.t.Fatal(err)
		}
		var content bytes.Buffer
		switch e := entry.(type) {
		case *ledger.Enrolment:
			if err := w.client.Addendum(w.t.Context(), e.Evidence.Digest, ledger.MaxEnrolmentEvidence, &content); err != nil {
				w.t.Fatal(err)
			}
			add(ledger.FolderEvidence, content.Bytes(), ledger.Hash{})
		case *ledger.Segment:
			if err := w.client.Addendum(w.t.Context(), e.Payload.Digest, ledger.MaxPayload, &content); err != nil {
				w.t.Fatal(err)
			}
			payloads = append(payloads, content.Bytes())
			add(ledger.FolderPayloads, content.Bytes(), ledger.Hash{})
			add(ledger.FolderAnchors, read(base+".anchor"), ledger.Hash{})
		}
	}
	var tar bytes.Buffer
	if err := ledger.WriteBundle(&tar, sources); err != nil {
		w.t.Fatal(err)
	}
	b, err := ledger.OpenBundle(bytes.NewReader(tar.Bytes()), int64(tar.Len()))
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := audit.CheckBundle(w.trust, b)
	if err != nil {
		w.t.Fatal(err)
	}
	return r, payloads
}

// newestSegments returns the two newest segments in the agent's directory.
func (w *world) newestSegments() (last, before *ledger.Segment) {
	w.t.Helper()
	entries, err := filepath.Glob(filepath.Join(w.dir, "chain", "*.entry"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range entries {
		b, err := os.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		if s, err := ledger.ParseSegment(b); err == nil {
			last, before = s, last
		}
	}
	return last, before
}

// gapped tells of a gap, if the newest segment in the agent's directory is one.
func (w *world) gapped() string {
	if last, _ := w.newestSegments(); last != nil && last.Join.Kind == ledger.JoinGap {
		return last.Join.String()
	}
	return ""
}

// whole checks that the evidence contradicts nothing, and that what the ledger
// has of each boot is what the kernel listed: the same records in the same order,
// but for the unsealed at its end. It returns how many are sealed in all.
func (w *world) whole() int {
	w.t.Helper()
	r, payloads := w.evidence()
	if r.Class() != ledger.Noted && r.Class() != 0 {
		w.t.Errorf("%v", r.Findings)
	}
	boot, sealed := -1, 0
	for from := 0; from < len(r.Segments); {
		// A boot's first segment may be what every boot begins with: the boot is
		// known by all of them.
		to, records := from+1, bytes.Clone(payloads[from])
		for to < len(r.Segments) && r.Segments[to].Join != string(ledger.JoinBoot) {
			records = append(records, payloads[to]...)
			to++
		}
		first := boot + 1
		for boot++; boot < len(w.kernel.history) && !bytes.HasPrefix(bytes.Join(w.kernel.history[boot], nil), records); boot++ {
			// nothing of that one was sealed
		}
		if boot == len(w.kernel.history) {
			w.t.Fatalf("#%d to #%d have records that no boot from the %dth on listed", r.Segments[from].Sequence, r.Segments[to-1].Sequence, first)
		}
		for ; from < to; from++ {
			sealed += int(r.Segments[from].Count)
		}
	}
	return sealed
}

// exported checks that the newest list is all that the kernel listed in this
// boot.
func (w *world) exported() {
	w.t.Helper()
	lists, err := filepath.Glob(filepath.Join(w.dir, "lists", "*", "sha1"))
	if err != nil || len(lists) == 0 {
		w.t.Fatalf("no lists: %v", err)
	}
	list, err := os.ReadFile(lists[len(lists)-1])
	if err != nil {
		w.t.Fatal(err)
	}
	if want := bytes.Join(w.kernel.history[len(w.kernel.history)-1], nil); !bytes.Equal(list, want) {
		w.t.Errorf("the exported list has %d bytes, the kernel listed %d", len(list), len(want))
	}
}

// writeTrust writes the world's trust folder.
func (w *world) writeTrust(dir string) {
	w.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	for name, content := range map[string]string{ledger.TrustPolicyFile: w.policy, ledger.TrustRulesFile: w.rules} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
}
