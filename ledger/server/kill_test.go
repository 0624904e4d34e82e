package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

// soak makes the random tests long: make soak sets it.
var soak = os.Getenv("IMALEDGER_SOAK") != ""

// A load is hosts that submit segments, and what each was told.
type load struct {
	hosts []*testHost
	told  []told
	stop  func()
	wg    sync.WaitGroup
}

// told is what one host was told.
type told struct {
	acked  map[ledger.Hash]uint64
	proofs []*client.Accepted
	// While the host submits.
	acks, faults atomic.Int64 // acknowledgements; answers with a status of 5xx
}

// startLoad lets hosts submit until they are stopped, or the ledger refuses.
func startLoad(t *testing.T, l *testLedger, hosts int) *load {
	ctx, stop := context.WithCancel(t.Context())
	w := &load{told: make([]told, hosts), stop: stop}
	for i := range hosts {
		w.told[i].acked = make(map[ledger.Hash]uint64)
		h := &testHost{name: fmt.Sprint("host-", i), tpm: newTestAK(t)}
		w.hosts = append(w.hosts, h)
		w.wg.Go(func() { h.run(ctx, t, l, &w.told[i]) })
	}
	return w
}

func (w *load) end() {
	w.stop()
	w.wg.Wait()
}

// await waits until n entries are acknowledged: a machine that is busy with other
// tests may take long for what takes an idle one some milliseconds.
func (w *load) await(t *testing.T, n int64) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); w.acks() < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d entries acknowledged in two minutes, want %d: the ledger does not go on", w.acks(), n)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

// acks returns how many acknowledgements there were so far, faults how many
// requests were answered with a status of 5xx.
func (w *load) acks() (n int64) {
	for i := range w.told {
		n += w.told[i].acks.Load()
	}
	return n
}

func (w *load) faults() (n int64) {
	for i := range w.told {
		n += w.told[i].faults.Load()
	}
	return n
}

// check holds what the hosts were told against the log in the directory, of
// which no process is at work: nothing acknowledged is lost or stands elsewhere,
// no chain forks, each proof is of the tree that the log has, and an audit of
// every leaf with its records finds nothing.
func (w *load) check(t *testing.T, config Config) (acked int) {
	t.Helper()
	// New judges every entry again, and holds the entries to the tree.
	s, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.log.close(); s.lock.Close() }()
	if q := s.storage.Sequencer; q != nil {
		_, next, err := q.Heads(t.Context(), endChain)
		if err == nil {
			err = s.reach(t.Context(), next)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	roots := auditLog(t, s)
	proofs := 0
	for i, h := range w.hosts {
		for leaf, index := range w.told[i].acked {
			if got, found := s.chains.find(leaf); !found || got != index {
				t.Errorf("%s: leaf %x was acknowledged at %d; the log has it: %v, at %d", h.name, leaf[:6], index, found, got)
			}
		}
		acked += len(w.told[i].acked)
		// At most the one entry under way was not acknowledged.
		if n := uint64(len(w.told[i].acked)); n > 0 {
			if _, sequence, _, found := s.chains.head(h.name); !found || sequence+1 < n || sequence > n {
				t.Errorf("%s: chain ends at #%d, %d entries acknowledged", h.name, sequence, n)
			}
		}
		for _, a := range w.told[i].proofs {
			p, err := ledger.ParseProof([]byte(a.Proof))
			if err != nil {
				t.Fatal(err)
			}
			c, err := p.Verify(config.Trust.Policy, ledger.LeafHash(a.Entry))
			if err != nil || c.Size >= uint64(len(roots)) || roots[c.Size] != c.Root || p.Index != a.Index {
				t.Errorf("%s: a proof for index %d of size %d is not of this log: %v", h.name, p.Index, c.Size, err)
			}
			proofs++
		}
	}
	// So does what the operator has for it, which holds the files to each other too.
	if config.Storage == nil {
		mustCheck(t, config.Dir, config.Trust)
	}
	t.Logf("%d hosts, %d entries acknowledged, none lost; %d proofs, all true; %d entries audited", len(w.hosts), acked, proofs, len(roots)-1)
	return acked
}

// auditLog judges every leaf with its addenda, as an auditor does who has them
// all, and returns the root of each size.
func auditLog(t *testing.T, s *Server) []ledger.Hash {
	t.Helper()
	size, err := s.log.reader.IntegratedSize(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	state := audit.NewState(s.config.Trust)
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	tree, roots := factory.NewEmptyRange(0), make([]ledger.Hash, 1, size+1)
	for index := range size {
		raw, err := s.log.entry(t.Context(), index, size)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := ledger.ParseEntry(raw)
		if err != nil {
			t.Fatalf("entry %d: %v", index, err)
		}
		leaf := ledger.LeafHash(raw)
		j := state.Judge(leaf, entry, s.addenda)
		if j.Err != nil || len(j.Findings) > 0 {
			t.Errorf("entry %d: %v, %v", index, j.Findings, j.Err)
		}
		state.Commit(j)
		if err := tree.Append(leaf[:], nil); err != nil {
			t.Fatal(err)
		}
		root, err := tree.GetRootHash(nil)
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, ledger.Hash(root))
	}
	return roots
}

// A real process is killed with SIGKILL again and again while hosts submit. No
// restart needs a hand.
func TestKill(t *testing.T) {
	kills, hosts := 6, 5
	if soak {
		kills, hosts = 200, 50
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := newChildLedger(t)
	c.startChild(t)
	w := startLoad(t, c.testLedger, hosts)
	for range kills {
		// Most at work, some at their start.
		if random.IntN(4) > 0 {
			w.await(t, w.acks()+1)
		}
		time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
		c.killChild()
		c.startChild(t)
	}
	w.await(t, w.acks()+int64(4*hosts))
	w.end()
	c.killChild()
	w.check(t, c.config)
	t.Logf("%d kills", kills)
}

// run submits segments until the context ends, each again and again until it is
// acknowledged, as an agent does.
// Each fourth time it waits for the proof.
func (h *testHost) run(ctx context.Context, t *testing.T, l *testLedger, told *told) {
	retry := func(what string, try func() error) bool {
		for ctx.Err() == nil {
			err := try()
			var p *client.Problem
			if err == nil {
				return true
			}
			if errors.As(err, &p) && p.Status >= 500 {
				told.faults.Add(1)
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
			told.acked[h.leaf] = a.Index
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
			wait := time.Duration(0)
			if i%4 == 0 {
				wait = max(time.Second, l.patience)
			}
			a, err := l.SubmitLeaf(ctx, leaf, wait)
			if err == nil {
				told.acked[ledger.LeafHash(leaf)] = a.Index
				told.acks.Add(1)
			}
			if err == nil && a.Proof != "" {
				a.Entry = leaf
				told.proofs = append(told.proofs, a)
			}
			return err
		}) {
			return
		}
		h.took(leaf)
	}
}
