package audit_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// forkRows have a log that shows some entries in one tree and others in another
// one, each cosigned by a quorum: no two of its checkpoints need have one size.
func forkRows() []playRow {
	return []playRow{
		{"two trees of two sizes, one entry at another's index", func(w *world, _ *host) {
			w.forked = map[int][]ledger.Hash{2: {w.leaves[0], w.leaves[2]}}
		}, ledger.LogSplit},
		{"two trees of two sizes, another entry before both", func(w *world, _ *host) {
			w.forked = map[int][]ledger.Hash{3: append([]ledger.Hash{{1}}, append(slices.Clone(w.leaves[1:]), ledger.Hash{2})...)}
		}, ledger.LogSplit},
		{"anchored to a tree that the proofs rule out", func(w *world, h *host) {
			h.measure(5)
			was := w.leaves
			w.leaves = slices.Clone(was)
			w.leaves[0][0] ^= 1
			s := h.assemble(0, selection)
			w.leaves = was
			h.submit(s)
		}, ledger.LogSplit},
	}
}

func TestForkedTrees(t *testing.T) {
	for _, row := range forkRows() {
		t.Run(row.name, func(t *testing.T) {
			w, h := small(t)
			w.t = t
			row.play(w, h)
			refuse(t, w.check(w.bundle(nil)), row.want)
		})
	}
}

// TestTreesOfOneLog: proofs from trees of all sizes of one history never
// contradict each other, and a fork shows where proofs reach what differs.
func TestTreesOfOneLog(t *testing.T) {
	seed := [32]byte{byte(rand.Int()), byte(rand.Int())}
	t.Logf("seed %x", seed)
	r := rand.New(rand.NewChaCha8(seed))
	w := newWorld(t)
	for i := range 37 {
		w.state(&ledger.Hold{Log: origin, Host: fmt.Sprintf("h%d", i), To: 1, Reason: "x", Time: 1})
	}
	honest := func() *audit.Report { // each entry proven in a tree of any size
		w.forked = make(map[int][]ledger.Hash)
		for i := range w.leaves {
			w.forked[i] = w.leaves[:i+1+r.IntN(len(w.leaves)-i)]
		}
		return w.check(w.bundle(nil))
	}
	for range 20 {
		if got := honest(); len(got.Findings) > 0 {
			t.Fatalf("an honest log: %v", got.Findings)
		}
	}
	for range 20 {
		// One entry is proven in a fork that differs in another one. Of the first 32
		// all nodes are complete, so the two trees' proofs meet; a node that the
		// tree has not filled yet may change, and tells nothing.
		at := r.IntN(32)
		fork := slices.Clone(w.leaves)
		fork[at] = ledger.Hash{7}
		other := (at + 1 + r.IntN(31)) % 32
		w.forked = map[int][]ledger.Hash{other: append(fork, ledger.Hash{8})}
		if got := w.check(w.bundle(nil)); !slices.Contains(codes(got), ledger.LogSplit) {
			t.Errorf("entry %d differs in the tree that proves entry %d: %v", at, other, got.Findings)
		}
	}
}
