package server

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

func noProgress(string, uint64, uint64) {}

// mustCheck wants a directory to be sound.
func mustCheck(t *testing.T, dir string, trust *ledger.Trust) *CheckReport {
	t.Helper()
	r, err := Check(t.Context(), dir, trust, noProgress)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) > 0 || len(r.Damage) > 0 || len(r.Unknown) > 0 {
		t.Fatalf("%v %v %v", r.Findings, r.Damage, r.Unknown)
	}
	return r
}

// archived is a ledger with two hosts, an erased segment, and more than a tile of
// entries.
func archived(t *testing.T) (l *testLedger, erased []byte) {
	t.Helper()
	l = startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	g := l.enrolHost(t, "g")
	erased, _ = l.submit(t, h, "/bin/sh")
	l.submit(t, g, "/bin/ls", "/bin/cat")
	anchor := l.anchor(t)
	for i := range 260 {
		leaf, payload := h.segment(t, testOrigin, anchor, fmt.Sprint("/bin/true", i))
		l.upload(t, payload, anchor.Raw)
		if _, err := l.SubmitLeaf(t.Context(), leaf, 0); err != nil {
			t.Fatal(err)
		}
		h.took(leaf)
	}
	policy := l.mustState(t, &ledger.Retention{Log: testOrigin, Policy: 1, Days: 1, Statement: "a day", Time: 1})
	l.pass(t, day, g)
	l.pass(t, 2*day, g)
	l.mustState(t, erasureOf(policy, erased))
	return l, erased
}

// TestCheck: a sound directory is found sound, while it is served too; and each
// single bit that flips in any file of the log, its addenda and its days is found.
func TestCheck(t *testing.T) {
	l, erased := archived(t)
	r := mustCheck(t, l.config.Dir, l.config.Trust)
	if r.Hosts != 2 || r.Segments != 264 || r.Size != 268 || r.Published != 268 || r.Erased != 1 || r.Unnamed != 0 || r.Addenda < 260 {
		t.Errorf("%+v", r)
	}
	if e := r.Erasures; len(e) != 1 || e[0].Segments != 1 || e[0].Policy != 1 || e[0].Witnessed == 0 || !slices.Equal(e[0].By, []string{"operator.example"}) || e[0].Reason != "it is time" {
		t.Errorf("%+v", e)
	}
	l.kill()
	time.Sleep(50 * time.Millisecond)

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	flipped, folders := 0, make(map[string]int)
	var files []string
	for _, dir := range []string{logDir, addendaDir, historyDir} {
		err := filepath.WalkDir(filepath.Join(l.config.Dir, dir), func(path string, d fs.DirEntry, err error) error {
			// Locks are empty, and Tessera's state but for the size says nothing.
			if err == nil && !d.IsDir() && !strings.Contains(path, ".state") {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// Partial tiles of smaller sizes are not part of the log any more: they are
	// files that nobody needs.
	size := func(name string) bool {
		_, tile, partial := strings.Cut(name, logDir+"/tile/")
		return !partial || !strings.Contains(tile, ".p/") || slices.Contains([]string{"0/001.p/12", "entries/001.p/12", "1/000.p/1"}, tile)
	}
	files = slices.DeleteFunc(files, func(name string) bool { return !size(name) })
	// All of the log's and the days', and some of the many payloads.
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(b, a) })
	for _, name := range files {
		rel, _ := filepath.Rel(l.config.Dir, name)
		folder, _, _ := strings.Cut(rel, string(filepath.Separator))
		if folders[folder]++; folder == addendaDir && folders[folder] > 12 {
			continue
		}
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) == 0 {
			continue
		}
		altered := bytes.Clone(content)
		at := random.IntN(len(altered))
		altered[at] ^= 1 << random.IntN(8)
		if err := os.WriteFile(name, altered, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := Check(t.Context(), l.config.Dir, l.config.Trust, noProgress)
		// A signature line can become one by an unknown key: see TestCheckSignatures.
		signed := folder == historyDir || rel == filepath.Join(logDir, "checkpoint")
		if err != nil || r.Class() != ledger.Contradicted && !(signed && r.Class() == ledger.Undecided) {
			t.Errorf("%s: byte %d was altered and that is not found: %v %+v", rel, at, err, r)
		}
		if folder == addendaDir && (err != nil || !slices.ContainsFunc(r.Findings, func(f ledger.Finding) bool { return strings.Contains(f.Text, filepath.Base(name)) })) {
			t.Errorf("%s: the finding does not name the file: %v %+v", rel, err, r)
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
		flipped++
	}
	t.Logf("%d files altered, one bit each: %v", flipped, folders)
	if folders[logDir] != 6 || folders[addendaDir] < 12 || folders[historyDir] < 2 {
		t.Fatalf("the test has altered too little: %v", folders)
	}

	// A file that is gone and that no erasure accounts for.
	l.start(t)
	other, _ := l.submit(t, l.enrolHost(t, "i"), "/bin/cp")
	if err := os.Remove(l.fileOf(t, other)); err != nil {
		t.Fatal(err)
	}
	r, err := Check(t.Context(), l.config.Dir, l.config.Trust, noProgress)
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Code != ledger.PayloadMissing || r.Class() != ledger.Undecided {
		t.Errorf("%v %+v", err, r)
	}
	if p := l.there(t, erased); p == nil || p.Status != http.StatusGone {
		t.Error(p)
	}
}

// TestDecayedNotServed: nobody gets all bytes of a file that has decayed.
func TestDecayedNotServed(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	leaf, _ := l.submit(t, l.enrolHost(t, "h"), "/bin/sh", "/bin/ls")
	name := l.fileOf(t, leaf)
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := range content {
		altered := bytes.Clone(content)
		altered[at] ^= 0x20
		if err := os.WriteFile(name, altered, 0o644); err != nil {
			t.Fatal(err)
		}
		got := new(bytes.Buffer)
		if err := l.Addendum(t.Context(), payloadOf(t, leaf), 1<<20, got); err == nil || got.Len() >= len(content) {
			t.Fatalf("byte %d altered: %d of %d bytes were served, %v", at, got.Len(), len(content), err)
		}
	}
}
