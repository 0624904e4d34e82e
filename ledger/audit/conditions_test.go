package audit_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// Conditions that no other test here would miss if they were gone.

// TestConditions: bundles in which one thing is rare.
func TestConditions(t *testing.T) {
	for _, row := range []struct {
		name string
		play func(w *world, h *host)
		keep func(s ledger.BundleSource) bool // of the bundle's files; nil keeps all
		want []ledger.Code
	}{
		{"software, and an EK in its evidence", func(w *world, h *host) {
			e := pinned(h, "big-7.3")
			e.Grade, e.EK = ledger.GradeSoftware, ledger.NameNone
			h.enrol(e)
		}, nil, []ledger.Code{ledger.EnrolmentEvidenceInvalid}},
		{"one EK for two hosts, and evidence of neither", func(w *world, h *host) {
			h.enrol(pinned(h, "big-7.3"))
			other := w.newHost("other", "stock-6.1/boot1/cut1")
			other.enrol(pinned(other, "big-7.3"))
		}, func(s ledger.BundleSource) bool { return s.Folder != ledger.FolderEvidence },
			[]ledger.Code{ledger.EKReused, ledger.EnrolmentEvidenceMissing}},
		{"erasure and appraisal that name an enrolment", func(w *world, h *host) {
			p := w.retain(1, 30)
			w.now = w.now.Add(31 * day)
			w.state(&ledger.Erasure{Log: origin, Retention: p, Erased: []ledger.Erased{{Leaf: w.leaves[0]}}, Reason: "x", Time: 2})
			w.state(&ledger.Appraisal{Log: origin, Host: "stock", Segment: w.leaves[0], Passed: true, Report: ledger.Addendum{Size: 1}, Time: 1})
		}, nil, nil},
		{"anchored to the empty tree", func(w *world, h *host) {
			empty := w.checkpoint(0)
			w.keep(ledger.FolderAnchors, empty)
			h.anchor = func(a *ledger.Anchor) { *a = ledger.Anchor{Root: sha256.Sum256(nil), Note: sha256.Sum256(empty)} }
			h.measure(5)
			h.seal(0)
		}, nil, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, h := small(t)
			w.t = t
			row.play(w, h)
			files := w.files(nil)
			if row.keep != nil {
				files = slices.DeleteFunc(files, func(s ledger.BundleSource) bool { return !row.keep(s) })
			}
			if r := w.check(w.write(files)); !slices.Equal(codes(r), row.want) {
				t.Errorf("found %v, want %v", r.Findings, row.want)
			}
		})
	}
}

// TestNothingIsOfNoAge: a bundle of no entry claims nothing of any time, so that its
// checkpoint is old would be a word too many.
func TestNothingIsOfNoAge(t *testing.T) {
	w := newWorld(t)
	w.trust.MaxAge = 3600
	r := w.check(w.write(nil))
	r.CheckAge(w.trust, 1_900_000_000)
	if got := codes(r); !slices.Equal(got, []ledger.Code{ledger.EntryMissing}) {
		t.Errorf("found %v", r.Findings)
	}
}

// TestSubjects: a finding names a host's entry by the host and its place, whoever finds
// it.
func TestSubjects(t *testing.T) {
	w, h := small(t)
	h.measure(5)
	h.alter = func(s *ledger.Segment) { s.Signature[len(s.Signature)-1] ^= 1 }
	h.seal(0)
	files := slices.DeleteFunc(w.files(nil), func(s ledger.BundleSource) bool { return s.Folder == ledger.FolderProofs })
	var subjects []string
	for _, f := range w.check(w.write(files)).Findings {
		if f.Code == ledger.ProofMissing || f.Code == ledger.QuoteSignature {
			subjects = append(subjects, f.Subject)
		}
	}
	slices.Sort(subjects)
	if want := []string{"stock #0", "stock #1", "stock #2", "stock #3", "stock #4", "stock #4"}; !slices.Equal(subjects, want) {
		t.Errorf("%q, want %q", subjects, want)
	}
}

// TestMissingEntries: what is missing of a chain is named.
func TestMissingEntries(t *testing.T) {
	w, _ := small(t)
	for text, missing := range map[string][]uint64{"#2 is missing": {2}, "#1 to #2 are missing": {1, 2}} {
		r := w.check(w.bundle(func(_ int, e ledger.Entry) bool { _, n := link(e); return !slices.Contains(missing, n) }))
		if !slices.ContainsFunc(r.Findings, func(f ledger.Finding) bool { return f.Text == text }) {
			t.Errorf("found %v, want %s", r.Findings, text)
		}
	}
}

// TestAcrossRoots: two trees of one size whose proofs have every complete node in
// common differ by their roots alone.
func TestAcrossRoots(t *testing.T) {
	w := newWorld(t)
	for range 7 {
		w.retain(uint64(len(w.leaves)+1), 30)
	}
	entry := func(index int) *audit.Report {
		return w.check(w.bundle(func(i int, _ ledger.Entry) bool { return i == index }))
	}
	one := entry(0)
	fork := slices.Clone(w.leaves)
	fork[6] = ledger.Hash{7}
	w.forked = map[int][]ledger.Hash{1: fork}
	r := across(t, []*audit.Report{one, entry(1)})
	if got := codes(r); !slices.Equal(got, []ledger.Code{ledger.LogSplit}) {
		t.Errorf("found %v", r.Findings)
	}
}

// A logOf is a Log of one segment.
type logOf struct {
	leaf ledger.Hash
	seg  *audit.Placed
}

func (l logOf) Segment(leaf ledger.Hash) (*audit.Placed, bool, error) {
	return l.seg, leaf == l.leaf, nil
}
func (l logOf) NotAfter(ledger.Hash) uint64 { return l.seg.NotAfter }

// TestAppraised: a policy that demands an appraisal has the newest that covers a
// segment decide.
func TestAppraised(t *testing.T) {
	w := newWorld(t)
	seg := &audit.Placed{Segment: &ledger.Segment{Head: ledger.Head{Host: "stock", Sequence: 1}}, NotBefore: 1_800_000_000, NotAfter: 1_800_000_001}
	s := audit.NewState(w.trust)
	s.SetLog(logOf{ledger.Hash{1}, seg})
	commit := func(e ledger.Statement) {
		if err := ledger.Sign(e, w.operator); err != nil {
			t.Fatal(err)
		}
		j := s.Judge(ledger.LeafHash(e.Marshal()), e, nil)
		if len(j.Findings) > 0 {
			t.Fatal(j.Findings)
		}
		s.Commit(j)
	}
	commit(&ledger.Retention{Log: origin, Policy: 1, Days: 30, Appraisal: true, Statement: "x", Time: 1})
	for i, passed := range []bool{true, false, true} {
		commit(&ledger.Appraisal{Log: origin, Host: "stock", Segment: ledger.Hash{1}, Passed: passed, Report: ledger.Addendum{Size: 1}, Time: uint64(i)})
		if got := s.Keeps(seg, 1_900_000_000); strings.Contains(got, "appraisal") == passed || got == "" != passed {
			t.Errorf("after appraisal %d: %q", i, got)
		}
	}
}

// A brokenReader fails, once it is broken, where a part of a file stands.
type brokenReader struct {
	io.ReaderAt
	from, to int64
	broken   bool
}

var errBroken = errors.New("the disk is broken")

func (r *brokenReader) ReadAt(p []byte, at int64) (int, error) {
	if r.broken && at < r.to && at+int64(len(p)) > r.from {
		return 0, errBroken
	}
	return r.ReaderAt.ReadAt(p, at)
}

// TestUnreadable: a payload that cannot be read is no finding, and the bundle is not
// judged.
func TestUnreadable(t *testing.T) {
	w, h := small(t)
	raw := w.bundle(nil)
	payload := h.list[:h.sealed][h.sealed-int(h.last.Payload.Size):]
	at := int64(bytes.Index(raw, payload))
	disk := &brokenReader{ReaderAt: bytes.NewReader(raw), from: at, to: at + int64(len(payload))}
	b, err := ledger.OpenBundle(disk, int64(len(raw)))
	if err != nil || at < 0 {
		t.Fatal(err, at)
	}
	disk.broken = true
	if r, err := audit.CheckBundle(w.trust, b); !errors.Is(err, errBroken) {
		t.Errorf("%+v, %v", r, err)
	}
}
