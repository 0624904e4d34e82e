package client

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/imaledger/imaledger/ledger"
)

// A testTree is a log in memory, by another implementation than the ledger's.
type testTree struct{ hashes []tlog.Hash }

func (t *testTree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var list []tlog.Hash
	for _, i := range indexes {
		list = append(list, t.hashes[i])
	}
	return list, nil
}

func (t *testTree) add(test *testing.T, n int64, record string) {
	test.Helper()
	h, err := tlog.StoredHashes(n, []byte(record), t)
	if err != nil {
		test.Fatal(err)
	}
	t.hashes = append(t.hashes, h...)
}

func (t *testTree) at(test *testing.T, size int64) *ledger.Checkpoint {
	test.Helper()
	root, err := tlog.TreeHash(size, t)
	if err != nil {
		test.Fatal(err)
	}
	return &ledger.Checkpoint{Origin: "log.example", Size: uint64(size), Root: ledger.Hash(root)}
}

func TestConsistent(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const size = 700
	tree, forked := &testTree{}, &testTree{}
	for n := range int64(size) {
		tree.add(t, n, fmt.Sprint(n))
		record := fmt.Sprint(n)
		if n == 300 {
			record = "another"
		}
		forked.add(t, n, record)
	}
	served, broken := tree, ""
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		tile, err := tlog.ParseTilePath("tile/8/" + strings.TrimPrefix(r.URL.Path, "/tile/"))
		if err != nil {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		b, err := tlog.ReadTileData(tile, served)
		if err != nil {
			t.Error(err)
		}
		switch broken {
		case "cut":
			b = b[:len(b)-1]
		case "altered":
			b[random.IntN(len(b))] ^= 1
		case "gone":
			http.NotFound(w, r)
			return
		}
		w.Write(b)
	})
	for range 200 {
		n := 1 + random.Int64N(size)
		m := random.Int64N(n + 1)
		if err := c.Consistent(t.Context(), tree.at(t, m), tree.at(t, n)); err != nil {
			t.Errorf("%d to %d: %v", m, n, err)
		}
	}
	// A fork: it serves tiles that fit the newer root, and those do not fit the
	// older one.
	served = forked
	for _, m := range []int64{301, 400, 512, size} {
		if err := c.Consistent(t.Context(), tree.at(t, m), forked.at(t, size)); !errors.Is(err, ledger.ErrConsistency) {
			t.Errorf("fork before %d: %v", m, err)
		}
	}
	if err := c.Consistent(t.Context(), tree.at(t, 300), forked.at(t, size)); err != nil {
		t.Errorf("fork after 300: %v", err)
	}
	// What it does not give, or gives wrong, proves nothing either way.
	served = tree
	for _, broken = range []string{"cut", "altered", "gone"} {
		if err := c.Consistent(t.Context(), tree.at(t, 300), tree.at(t, size)); err == nil || errors.Is(err, ledger.ErrConsistency) {
			t.Errorf("tiles %s: %v", broken, err)
		}
	}
	broken = ""
	if err := c.Consistent(t.Context(), tree.at(t, size), tree.at(t, 300)); err == nil {
		t.Error("a tree that shrank")
	}
}
