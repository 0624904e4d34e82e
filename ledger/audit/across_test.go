package audit_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// An acrossVector is bundles, and what is found when they are held to one another.
type acrossVector struct {
	Name    string        `json:"name"`
	Bundles []string      `json:"bundles"` // files
	Trust   string        `json:"trust"`   // folder
	Codes   []ledger.Code `json:"codes"`   // of what is found across them, sorted, each once
}

// An acrossRow makes bundles, each of which is well by itself.
type acrossRow struct {
	name string
	make func() [][]byte
	want []ledger.Code
}

func acrossRows(t testing.TB) []acrossRow {
	// A log of so many entries that proofs leave much of it unsaid.
	grown := func() *world {
		w := newWorld(t)
		for i := range 8 {
			w.state(&ledger.Hold{Log: origin, Host: fmt.Sprintf("h%d", i), To: 1, Reason: "x", Time: 1})
		}
		return w
	}
	entry := func(w *world, index int) []byte {
		return w.bundle(func(i int, _ ledger.Entry) bool { return i == index })
	}
	// forked proves an entry in a tree of the first size entries, of which one is another.
	forked := func(index, size, other int) []byte {
		w := grown()
		fork := slices.Clone(w.leaves[:size])
		fork[other] = ledger.Hash{7}
		w.forked = map[int][]ledger.Hash{index: fork}
		return entry(w, index)
	}
	split := []ledger.Code{ledger.LogSplit}
	return []acrossRow{
		{"two parts of one history", func() [][]byte { w := grown(); return [][]byte{entry(w, 1), entry(w, 6), entry(w, 1)} }, nil},
		{"trees of two sizes of one history", func() [][]byte {
			w := grown()
			w.forked = map[int][]ledger.Hash{0: w.leaves[:6]}
			return [][]byte{entry(w, 0), entry(w, 6)}
		}, nil},
		{"two trees of one size, whose proofs do not meet", func() [][]byte {
			w := grown()
			w.forked = map[int][]ledger.Hash{0: w.leaves[:6]}
			return [][]byte{entry(w, 0), forked(1, 6, 5)}
		}, split},
		{"two trees whose proofs meet", func() [][]byte { return [][]byte{entry(grown(), 0), forked(1, 7, 2)} }, split},
		{"a tree that the proofs of another rule out", func() [][]byte { return [][]byte{forked(0, 6, 5), entry(grown(), 6)} }, split},
		{"three bundles, of which the first two show too little", func() [][]byte {
			w := grown()
			w.forked = map[int][]ledger.Hash{4: w.leaves[:5]}
			return [][]byte{forked(0, 6, 5), entry(w, 4), entry(w, 6)}
		}, split},
		{"two entries at one place of a chain, without proofs", func() [][]byte {
			var bundles [][]byte
			for range 2 {
				w, h := small(t)
				h.measure(1) // each signs anew
				files := w.files(func(_ int, e ledger.Entry) bool { _, n := link(e); return n == 0 })
				bundles = append(bundles, w.write(slices.DeleteFunc(files, func(s ledger.BundleSource) bool { return s.Folder == ledger.FolderProofs })))
			}
			return bundles
		}, []ledger.Code{ledger.ChainFork}},
		{"a log that ended, and its successor, with one host in both", func() [][]byte {
			ended, next := endedLog(t)
			next.succeed(ended, ended.freeze(next, nil), nil)
			next.newHost("stock", "stock-6.1/boot1/cut1")
			return [][]byte{ended.bundle(nil), next.write(append(next.files(nil), ended.files(func(i int, _ ledger.Entry) bool { return i == len(ended.leaves)-1 })...))}
		}, nil},
		{"a log that ended, and went on", func() [][]byte {
			ended, next := endedLog(t)
			ended.freeze(next, nil)
			first := ended.bundle(func(i int, _ ledger.Entry) bool { return i == len(ended.leaves)-1 })
			ended.retain(1, 30)
			return [][]byte{first, ended.bundle(func(i int, _ ledger.Entry) bool { return i == len(ended.leaves)-1 })}
		}, []ledger.Code{ledger.LogFrozen}},
	}
}

// across holds bundles to one another, which are all well by themselves.
func across(t testing.TB, reports []*audit.Report) *audit.Report {
	var names []string
	for i, r := range reports {
		names = append(names, fmt.Sprintf("%d.tar", i))
		if r.Class() == ledger.Contradicted {
			t.Errorf("bundle %d by itself: %v", i, r.Findings)
		}
	}
	return &audit.Report{Findings: audit.Across(names, reports)}
}

func TestAcross(t *testing.T) {
	var vectors []acrossVector
	readJSON(t, "across.json", &vectors)
	for _, v := range vectors {
		for range 2 { // also in the other order
			var reports []*audit.Report
			for _, name := range v.Bundles {
				reports = append(reports, checkVector(t, bundleVector{Bundle: name, Trust: v.Trust}))
			}
			if r := across(t, reports); !slices.Equal(codes(r), v.Codes) {
				t.Errorf("%s: %v, want %v", v.Name, r.Findings, v.Codes)
			}
			slices.Reverse(v.Bundles)
		}
	}
	if len(vectors) < len(acrossRows(t)) {
		t.Errorf("%d vectors: some are gone", len(vectors))
	}
}

func (m *maker) makeAcross() {
	m.t.Helper()
	var vectors []acrossVector
	for _, row := range acrossRows(m.t) {
		// Its policy names the log that follows too.
		v := acrossVector{Name: row.name, Trust: "trust/6", Codes: append([]ledger.Code{}, row.want...)}
		for i, raw := range row.make() {
			name := fmt.Sprintf("across/%s-%d.tar", slug(row.name), i+1)
			m.write(name, raw)
			v.Bundles = append(v.Bundles, name)
		}
		vectors = append(vectors, v)
	}
	m.writeJSON("across.json", vectors)
}
