package monitor_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/monitor"
	"github.com/imaledger/imaledger/ledger/testlog"
)

// TestErasedMany: of more missing payloads than findings are kept, each is accounted
// for by its own erasure, and one that has none is told.
func TestErasedMany(t *testing.T) {
	monitor.SetMaxMissing(t, 3)
	l := must[*testlog.Log](t)(testlog.New(origin, 3))
	h := must[*testlog.Host](t)(l.AddHost("h"))
	var erased []ledger.Erased
	for i := range 20 {
		check(t, h.Measure(testlog.Files(fmt.Sprint("/bin/", i))...))
		s := must[*ledger.Segment](t)(l.Seal(h))
		erased = append(erased, ledger.Erased{Leaf: h.Previous, Payload: s.Payload.Digest})
		delete(l.Addenda, s.Payload.Digest)
	}
	slices.SortFunc(erased, func(a, b ledger.Erased) int { return slices.Compare(a.Leaf[:], b.Leaf[:]) })
	policy := must[ledger.Hash](t)(l.State(&ledger.Retention{Log: origin, Policy: 1, Days: 1, Statement: "a day", Time: 1}))
	dir := t.TempDir()
	expect := func(kept, more int) {
		t.Helper()
		for _, d := range []string{dir, ""} {
			r := audit(t, monitor.Config{Ledger: serve(t, l), Trust: l.Trust, Dir: d})
			want, text := kept, ""
			if more > 0 {
				want, text = kept+1, fmt.Sprintf("the records of %d more segment", more)
			}
			if len(r.Findings) != want || want > 0 && !strings.HasPrefix(r.Findings[want-1].Text, text) || r.Class() != class(want) {
				t.Errorf("into %q: %v, want %d and %d more", d, r.Findings, kept, more)
			}
		}
	}
	state := func(list []ledger.Erased) {
		t.Helper()
		must[ledger.Hash](t)(l.State(&ledger.Erasure{Log: origin, Retention: policy, Erased: list, Reason: "a day is over", Time: 2}))
	}
	expect(3, 17)
	l.Now = l.Now.Add(72 * time.Hour)
	first, last := erased[:19], erased[19:]
	kept := 0 // of the last, which may be one of the first three of the log
	r := audit(t, monitor.Config{Ledger: serve(t, l), Trust: l.Trust})
	for _, f := range r.Findings {
		if f.Entry == fmt.Sprintf("%x", last[0].Leaf) {
			kept = 1
		}
	}
	state(first)
	expect(kept, 1-kept)
	state(last)
	expect(0, 0)
}

func class(findings int) ledger.Class {
	if findings > 0 {
		return ledger.Undecided
	}
	return ledger.Noted
}

// TestFindLeaves: every place at which a leaf may stand is found, in whatever steps
// the log grows between questions.
func TestFindLeaves(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	list := make([]ledger.Hash, 20_000)
	for i := range list {
		binary.BigEndian.PutUint64(list[i][:], r.Uint64N(4096)) // so that places share their first bytes
		list[i][31] = byte(i)
	}
	for _, step := range []int{1000, 5000, 20_000} {
		for range 50 {
			leaf := list[r.IntN(len(list))]
			var want []uint64
			for i, h := range list {
				if [8]byte(h[:8]) == [8]byte(leaf[:8]) {
					want = append(want, uint64(i))
				}
			}
			got := monitor.Find(list, step, leaf)
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Fatalf("asked each %d: %v, want %v", step, got, want)
			}
		}
	}
}
