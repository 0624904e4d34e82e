package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/server"
)

func testSequencer(t *testing.T, open func() *server.Storage) {
	q := open().Sequencer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	add := func(entry string, expect map[string]ledger.Hash, sets ...string) (uint64, bool) {
		t.Helper()
		index, ok, err := open().Sequencer.Append(ctx, []byte(entry), expect, sets, nil)
		if err != nil {
			t.Fatal(err)
		}
		return index, ok
	}
	leaf := func(entry string) ledger.Hash { return ledger.LeafHash([]byte(entry)) }
	for _, x := range []struct {
		entry  string
		expect map[string]ledger.Hash
		sets   []string
		index  uint64
		ok     bool
	}{
		{"a0", map[string]ledger.Hash{"a": {}}, []string{"a"}, 0, true},
		{"a0", map[string]ledger.Hash{"a": {}}, []string{"a"}, 0, true}, // the same again
		{"a0'", map[string]ledger.Hash{"a": {}}, []string{"a"}, 0, false},
		{"a1", map[string]ledger.Hash{"a": leaf("a0'")}, []string{"a"}, 0, false},
		{"a1", map[string]ledger.Hash{"a": leaf("a0")}, []string{"a"}, 1, true},
		{"b0", map[string]ledger.Hash{"b": {}, "a": leaf("a0")}, []string{"b"}, 0, false},
		{"b0", map[string]ledger.Hash{"b": {}, "a": leaf("a1")}, []string{"b", "/x"}, 2, true},
		{"a2", map[string]ledger.Hash{"a": leaf("a1"), "/x": {}}, []string{"a"}, 0, false},
		{"a2", map[string]ledger.Hash{"a": leaf("a1"), "/x": leaf("b0")}, []string{"a"}, 3, true},
		{"A0", map[string]ledger.Hash{"A": {}}, []string{"A"}, 4, true}, // names differ by case
	} {
		if index, ok := add(x.entry, x.expect, x.sets...); ok != x.ok || ok && index != x.index {
			t.Fatalf("%s: %d, %v; want %d, %v", x.entry, index, ok, x.index, x.ok)
		}
	}
	heads, next, err := q.Heads(ctx, "a", "/x", "none")
	if err != nil || next != 5 || len(heads) != 2 || heads["a"] != (server.Head{Leaf: leaf("a2"), Index: 3}) || heads["/x"].Index != 2 {
		t.Errorf("%v, %d, %v", heads, next, err)
	}
	if heads, _, err := q.Heads(ctx); err != nil || len(heads) != 4 {
		t.Errorf("%v, %v", heads, err)
	}
}

// testRace: of those who write on one base, whichever process they are in, one wins,
// and what has won is in the tree at its place, which two processes integrate.
func testRace(t *testing.T, open func() *server.Storage) {
	const racers, rounds = 8, 40
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	signer := newSigner(t)
	appender(t, open(), signer)
	_, reader := appender(t, open(), signer)
	storages := make([]*server.Storage, 4)
	for i := range storages {
		storages[i] = open()
	}
	won := make(map[uint64]string)
	base := ledger.Hash{}
	for round := range rounds {
		var wins atomic.Int64
		var wg sync.WaitGroup
		var winner string
		var place uint64
		for i := range racers {
			wg.Go(func() {
				entry := fmt.Sprintf("round %d racer %d", round, i)
				index, ok, err := storages[i%len(storages)].Sequencer.Append(ctx, []byte(entry), map[string]ledger.Hash{"a": base}, []string{"a"}, nil)
				if err != nil {
					t.Error(err)
				}
				if ok {
					wins.Add(1)
					winner, place = entry, index
				}
			})
		}
		wg.Wait()
		if wins.Load() != 1 {
			t.Fatalf("round %d: %d winners", round, wins.Load())
		}
		won[place], base = winner, ledger.LeafHash([]byte(winner))
	}
	if len(won) != rounds {
		t.Fatalf("%d places for %d winners", len(won), rounds)
	}
	var size uint64
	for end := time.Now().Add(20 * time.Second); size < rounds && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		size, _ = reader.IntegratedSize(ctx)
	}
	b, err := client.GetEntryBundle(ctx, reader.ReadEntryBundle, 0, size)
	if err != nil || size != rounds || len(b.Entries) < rounds {
		t.Fatalf("%d of %d integrated, %v", size, rounds, err)
	}
	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for i, e := range b.Entries[:min(rounds, layout.EntryBundleWidth)] {
		if string(e) != won[uint64(i)] {
			t.Errorf("entry %d is %q, want %q", i, e, won[uint64(i)])
		}
		if err := tree.Append(rfc6962.DefaultHasher.HashLeaf(e), nil); err != nil {
			t.Fatal(err)
		}
	}
	want, err := tree.GetRootHash(nil)
	if err != nil {
		t.Fatal(err)
	}
	if size, root, err := open().Tree.State(ctx); err != nil || size != rounds || !bytes.Equal(root, want) {
		t.Errorf("state: %d, %x, %v; want %d, %x", size, root, err, rounds, want)
	}
}

func testWithhold(t *testing.T, open func() *server.Storage) {
	mine, other := open().Sequencer, open().Sequencer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	digest := ledger.Hash{9}
	add := func(q server.Sequencer, entry string, want bool) {
		t.Helper()
		_, ok, err := q.Append(ctx, []byte(entry), nil, []string{entry}, []ledger.Hash{{8}, digest})
		if err != nil || ok != want {
			t.Fatalf("%s: %v, %v; want %v", entry, ok, err, want)
		}
	}
	add(other, "before", true)
	next, ok, err := mine.Withhold(ctx, digest)
	if err != nil || !ok || next != 1 {
		t.Fatalf("%d, %v, %v", next, ok, err)
	}
	if _, ok, err := other.Withhold(ctx, digest); err != nil || ok {
		t.Errorf("two withhold one: %v, %v", ok, err)
	}
	add(mine, "meanwhile", false)
	add(other, "meanwhile", false)
	if err := other.Release(ctx, digest); err != nil {
		t.Error(err)
	}
	add(other, "released by another", false)
	if err := mine.Release(ctx, digest); err != nil {
		t.Error(err)
	}
	add(other, "after", true)
}

// testWithholdRace: of an addendum that is withheld while entries that need it are
// written, whoever withholds it is told of all that have a place.
func testWithholdRace(t *testing.T, open func() *server.Storage) {
	const rounds, writers = 20, 4
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	remover, storages := open().Sequencer, make([]*server.Storage, writers)
	for i := range storages {
		storages[i] = open()
	}
	for round := range rounds {
		digest := ledger.Hash{7, byte(round)}
		var below atomic.Uint64 // of the entries that have a place, one more than the last
		var wg sync.WaitGroup
		for i, s := range storages {
			wg.Go(func() {
				for n := 0; ; n++ {
					entry := fmt.Sprintf("round %d writer %d entry %d", round, i, n)
					index, ok, err := s.Sequencer.Append(ctx, []byte(entry), nil, []string{entry}, []ledger.Hash{digest})
					if err != nil {
						t.Error(err)
					}
					if err != nil || !ok {
						return
					}
					for last := below.Load(); last <= index && !below.CompareAndSwap(last, index+1); {
						last = below.Load()
					}
				}
			})
		}
		time.Sleep(time.Duration(round) * time.Millisecond)
		next, ok, err := remover.Withhold(ctx, digest)
		if err != nil || !ok {
			t.Errorf("round %d: %v, %v", round, ok, err)
			cancel()
		}
		wg.Wait()
		if below.Load() > next {
			t.Errorf("round %d: %d places were given when it was withheld, and an entry that needs it has place %d", round, next, below.Load()-1)
		}
		if err := remover.Release(ctx, digest); err != nil {
			t.Error(err)
		}
	}
}
