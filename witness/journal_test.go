package witness

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// copyState copies a state directory, and its fence where it has one beside it.
func copyState(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	fence, err := os.ReadFile(from + fenceExt)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to+fenceExt, fence)
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// killed gives a copy of a running witness's state, as kill -9 would leave it:
// the fence is that of the start.
func killed(t *testing.T, c Config) Config {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	copyState(t, c.Dir, dir)
	c.Dir = dir
	return c
}

// A bit that flips anywhere in the journal, and a journal cut short anywhere, is
// found, or what it says is as it was: never is less of it believed in silence.
func TestDamagedJournal(t *testing.T) {
	log, other := newTestLog(t, testOrigin), newTestLog(t, "log.example/other")
	c := testConfig(t, log, other)
	w := start(t, c)
	for size := range uint64(12) {
		want(t, w, 200, log.body(t, size, size+1))
	}
	want(t, w, 200, other.body(t, 0, 9))
	used := int(w.state.offset)
	c = killed(t, c)
	whole := read(t, filepath.Join(c.Dir, journalFile))
	_, end, err := parseJournal(whole, func(position, []string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d, %d bytes of %d", seed, used, len(whole))
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 3000 {
		b := bytes.Clone(whole)
		at := random.IntN(used)
		if i%10 == 0 {
			at = random.IntN(len(whole))
		}
		b[at] ^= 1 << random.IntN(8)
		_, got, err := parseJournal(b, func(position, []string) error { return nil })
		if err == nil && got != end {
			t.Fatalf("a bit of byte %d flipped: ends at batch %d, and had %d", at, got.sequence, end.sequence)
		}
		if err == nil && at < used && b[at] != 0 && whole[at] != 0 {
			t.Errorf("a bit of byte %d flipped: not found", at)
		}
	}
	for range 300 {
		if _, _, err := parseJournal(whole[:random.IntN(len(whole))], func(position, []string) error { return nil }); err == nil {
			t.Fatal("a journal cut short is accepted")
		}
	}
	// The same, as an operator meets it.
	for name, damage := range map[string]func() []byte{
		"cut to nothing":      func() []byte { return nil },
		"cut by a sector":     func() []byte { return whole[:len(whole)-sectorSize] },
		"cut to what is used": func() []byte { return whole[:used] },
		"a flipped bit":       func() []byte { b := bytes.Clone(whole); b[used-sectorSize] ^= 4; return b },
		"the last batch gone": func() []byte { b := bytes.Clone(whole); clear(b[used-sectorSize:]); return b },
	} {
		write(t, filepath.Join(c.Dir, journalFile), damage())
		w, err := New(c)
		if name == "the last batch gone" {
			// The fence is that of the start: this is a crash while it was written.
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else {
				w.Close()
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Sectors that a disk gives back as zeroes look like what a crash leaves, and are
// damage where no crash can have left them: before another batch, and in what was
// on disk before the file had its name.
func TestZeroedSectors(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := twoKeys(t, log)
	w := start(t, c)
	want(t, w, 200, log.body(t, 0, 7))
	want(t, w, 200, log.body(t, 7, 12))
	last := int(w.state.offset) / sectorSize
	want(t, w, 200, log.body(t, 12, 13))
	updated := read(t, filepath.Join(c.Dir, journalFile))
	w.Close()
	w = start(t, c)
	renewed, all := read(t, filepath.Join(c.Dir, journalFile)), int(w.state.offset)/sectorSize
	if last < 15 || all < 8 {
		t.Fatalf("%d and %d sectors", last, all)
	}
	for i, b := range [][]byte{updated, renewed} {
		for sector := range []int{last, all}[i] {
			b := bytes.Clone(b)
			clear(b[sector*sectorSize:][:sectorSize])
			if _, _, err := parseJournal(b, func(position, []string) error { return nil }); err == nil {
				t.Errorf("sector %d of journal %d reads as zeroes: not found", sector, i)
			}
		}
	}
}

// What a crash leaves of the last batch, any of its sectors, is left out, unless
// all of it is there.
func TestTornBatch(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := twoKeys(t, log)
	w := start(t, c)
	want(t, w, 200, log.body(t, 0, 7))
	name := filepath.Join(c.Dir, journalFile)
	before := read(t, name)
	want(t, w, 200, log.body(t, 7, 12))
	after := read(t, name)
	_, old, err := parseJournal(before, func(position, []string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	var sectors []int
	for i := 0; i < len(after); i += sectorSize {
		if !bytes.Equal(after[i:i+sectorSize], before[i:i+sectorSize]) {
			sectors = append(sectors, i)
		}
	}
	if len(sectors) < 5 {
		t.Fatalf("a batch of %d sectors", len(sectors))
	}
	for set := range 1 << len(sectors) {
		b := bytes.Clone(before)
		for i, at := range sectors {
			if set>>i&1 == 1 {
				copy(b[at:], after[at:at+sectorSize])
			}
		}
		_, got, err := parseJournal(b, func(position, []string) error { return nil })
		wanted := old.sequence
		if set == 1<<len(sectors)-1 {
			wanted++
		}
		if err != nil || got.sequence != wanted {
			t.Fatalf("sectors %b written: ends at batch %d, want %d; %v", set, got.sequence, wanted, err)
		}
	}
}

func TestOldCopyIsRefused(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := testConfig(t, log)
	w := start(t, c)
	want(t, w, 200, log.body(t, 0, 7))
	w.Close()
	yesterday := filepath.Join(t.TempDir(), "yesterday")
	copyState(t, c.Dir, yesterday)
	w = start(t, c)
	want(t, w, 200, log.body(t, 7, 12))

	refused := func(name string, c Config, wanted string) {
		t.Helper()
		if w, err := New(c); err == nil {
			w.Close()
			t.Errorf("%s: started", name)
		} else if !strings.Contains(err.Error(), wanted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A copy beside the witness that runs.
	beside := c
	beside.Dir, beside.Fence = yesterday, c.Dir+fenceExt
	refused("a copy beside the state", beside, "another witness is using it")
	w.Close()
	refused("yesterday's copy", beside, "older than what this witness last signed")
	empty := beside
	empty.Dir = filepath.Join(t.TempDir(), "empty")
	refused("an empty state and an old key", empty, "the state of this witness is gone")
	lost := c
	lost.Fence = filepath.Join(t.TempDir(), "lost")
	refused("no fence", lost, "the fence")
	foreign := testConfig(t, log)
	start(t, foreign).Close()
	lost.Fence = foreign.Dir + fenceExt
	refused("another state's fence", lost, "each state has a fence of its own")
	gone := killed(t, c)
	if err := os.Remove(filepath.Join(gone.Dir, journalFile)); err != nil {
		t.Fatal(err)
	}
	refused("no journal", gone, "must not start from nothing")
	fence := read(t, c.Dir+fenceExt)
	for _, at := range []int{0, 30, 100, 200} {
		damaged := bytes.Clone(fence)
		damaged[at] ^= 1
		lost.Fence = filepath.Join(t.TempDir(), fmt.Sprint(at))
		write(t, lost.Fence, damaged)
		refused("a flipped bit in the fence", lost, "damaged")
		write(t, lost.Fence, fence[:at+1])
		refused("a fence cut short", lost, "damaged")
	}

	// Two copies that each signed, each with a fence: the other's is found out.
	one, two := killed(t, c), killed(t, c)
	w = start(t, one)
	want(t, w, 200, log.body(t, 12, 13))
	w.Close()
	w = start(t, two)
	want(t, w, 200, log.body(t, 12, 20))
	want(t, w, 200, log.body(t, 20, 21))
	w.Close()
	two.Fence = one.Dir + fenceExt
	refused("the other copy's fence", two, "two copies of one state")

	// An operator who lost the fence alone can say so.
	lost = c
	lost.Fence = filepath.Join(t.TempDir(), "adopted")
	write(t, lost.Fence, []byte(adoptFence+"\n"))
	w = start(t, lost)
	want(t, w, 200, log.body(t, 12, 20))
	w.Close()
	want(t, start(t, lost), 200, log.body(t, 20, 21))
}

// The witness's own cosignature tells it that its state was rolled back, where
// nothing on the machine could.
func TestRolledBack(t *testing.T) {
	log := newTestLog(t, testOrigin)
	for _, path := range []string{"/add-checkpoint", "/sign-subtree"} {
		c := twoKeys(t, log)
		w := start(t, c)
		want(t, w, 200, log.body(t, 0, 7))
		w.Close()
		old := killed(t, c) // and its fence
		w = start(t, c)
		cosigned := sign(t, log.text(log.tree, 14), log.signer) + want(t, w, 200, log.body(t, 7, 14))
		again := want(t, w, 200, "old 14\n\n"+cosigned) // it may be sent its own
		p := newSubtreeProver(14)
		if code := postTo(w, "/sign-subtree", subtreeBody(p, 8, 13, 14, log.text(log.tree, 14)+"\n"+again)).Code; code != 200 {
			t.Fatalf("got %d", code)
		}
		w.Close()

		w = start(t, old)
		// Nobody stops it with what it has not signed.
		want(t, w, 200, "old 7\n"+proofLines(t, log.tree, 7, 8)+"\n"+sign(t, log.text(log.tree, 8), log.signer)+lastLine(cosigned))
		body := "old 8\n" + proofLines(t, log.tree, 8, 14) + "\n" + cosigned
		if path == "/sign-subtree" {
			body = subtreeBody(p, 8, 13, 14, cosigned)
		}
		if response := postTo(w, path, body); response.Code != 500 || strings.Contains(response.Body.String(), "—") {
			t.Errorf("%s: got %d %q", path, response.Code, response.Body)
		}
		want(t, w, 500, log.body(t, 8, 9))
		want(t, w, 500, log.body(t, 8, 8))
		w.Close()
		if _, err := New(old); err == nil || !strings.Contains(err.Error(), "stopped for good") {
			t.Errorf("started again: %v", err)
		}
	}
}

func FuzzJournal(f *testing.F) {
	b, _ := appendBatch(make([]byte, sectorSize), position{}, []string{"a", "bb"})
	b = append(b, make([]byte, 8*sectorSize)...)
	copy(b, journalHeader{id: newStateID(), size: int64(len(b)), snapshot: 1}.marshal())
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		h, end, err := parseJournal(b, func(position, []string) error { n++; return nil })
		if err == nil && (end.sequence-h.sequence != uint64(n) || end.sequence < h.snapshot) {
			t.Fatalf("%d batches, from %d to %d", n, h.sequence, end.sequence)
		}
	})
}
