package index

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// randomLog makes a log of hosts that measure some of the same files.
func randomLog(t *testing.T, random *rand.Rand, segments int) *testLog {
	l := newTestLog(t)
	for i := range segments {
		var records [][]byte
		for range random.IntN(12) {
			p := fmt.Sprintf("/usr/lib/%c/f%d", 'a'+random.IntN(4), random.IntN(30))
			switch random.IntN(12) {
			case 0:
				records = append(records, record(11, "ima-sig", p, bytes.Repeat([]byte{1}, 32), fmt.Sprintf("\x03\x02\x04\x00\x00\x00%c\x00\x01s", 1+random.IntN(3))))
			case 1:
				records = append(records, record(10, "hidden", p, bytes.Repeat([]byte{2}, 32)))
			default:
				records = append(records, file(p))
			}
		}
		join := continues
		if random.IntN(10) == 0 {
			join = ledger.Join{Kind: ledger.JoinGap, Reason: "trimmed"}
		}
		l.segment(fmt.Sprintf("h%d.example", random.IntN(5)), join, records...)
		l.now += 60
		if i%3 == 0 {
			l.anchor = l.checkpoint()
		}
	}
	return l
}

// slow answers a query by reading the whole log.
func (l *testLog) slow(q Query) (list []Position) {
	for entry, raw := range l.entries {
		e, err := ledger.ParseEntry(raw)
		if err != nil {
			continue
		}
		s, ok := e.(*ledger.Segment)
		if !ok || q.Host != "" && s.Host != q.Host || q.Hosts != nil && !q.Hosts(s.Host) {
			continue
		}
		if _, absent := l.absent[s.Payload.Digest]; absent {
			continue
		}
		r := ima.NewReader(bytes.NewReader(l.addenda[s.Payload.Digest]), ima.Format{Bank: ima.SHA1, Order: ima.LittleEndian})
		for n := uint64(0); ; n++ {
			rec, err := r.Next()
			if err != nil {
				break
			}
			if facts := rec.Facts(); q.Match(&facts) {
				list = append(list, Position{uint64(entry), n})
			}
		}
	}
	return list
}

// The index says what reading the whole log says, for queries of all kinds, also
// where more measurements are selected than postings are looked up for.
func TestSearch(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	l := randomLog(t, random, 400)
	x := l.index(t.TempDir())
	defer x.Close()
	l.update(x)
	digest := func(b byte) ima.FileDigest { return ima.FileDigest{Digest: bytes.Repeat([]byte{b}, 32)} }
	number := func(n uint32) *uint32 { return &n }
	found := 0
	for _, q := range []Query{
		{}, path("/usr/lib/a/f3"), path("/usr/lib/a/f"), {Filter: ima.Filter{Digest: digest(1)}}, {Filter: ima.Filter{Digest: digest(9)}},
		{Filter: ima.Filter{Digest: ima.FileDigest{Algorithm: "sha512", Digest: bytes.Repeat([]byte{1}, 32)}}},
		{Filter: ima.Filter{Glob: "/usr/lib/b/*"}}, {Filter: ima.Filter{Glob: "*7"}}, {Filter: ima.Filter{Glob: "/usr/lib/?/f1*", PCR: number(11)}},
		{Filter: ima.Filter{KeyID: number(2)}}, {Filter: ima.Filter{PCR: number(11)}}, {Filter: ima.Filter{PCR: number(12)}}, {Filter: ima.Filter{Template: "ima-sig"}},
		{Filter: ima.Filter{Template: "hidden"}}, {Host: "h2.example"}, {Host: "h2.example", Filter: ima.Filter{Path: "/usr/lib/a/f3"}}, {Host: "nobody"},
		{Hosts: func(h string) bool { return h < "h2" }, Filter: ima.Filter{Glob: "*f1*"}}, {Limit: 1, Filter: ima.Filter{Glob: "*/f2*"}}, {Limit: 1000},
	} {
		got, want := find(t, x, q), l.slow(q)
		if !slices.Equal(got, want) {
			t.Errorf("%+v: %d hits, want %d:\n%v\n%v", q, len(got), len(want), got, want)
		}
		found += len(got)
	}
	if found < 1000 {
		t.Errorf("%d hits: the test tests little", found)
	}
	a, err := x.Search(t.Context(), &Query{Filter: ima.Filter{Path: "/usr/lib/a/f3"}, Limit: 1})
	if err != nil || a.Size != 400 || a.Root != l.checkpoint().Root || a.Origin != origin || a.Hits[0].Path != "/usr/lib/a/f3" {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := x.Search(canceled(), &Query{Limit: 10}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// A module with an appended signature is found by the key that this names.
func TestModsig(t *testing.T) {
	// Of OpenSSL 3.0, as the kernel's scripts/sign-file signs; the certificate's serial
	// number is 2a00…80c0ffee.
	signature, err := hex.DecodeString("3081d406092a864886f70d010702a081c63081c3020101310d300b0609608648016503040201300b06092a864886f70d0107013181a130819e02010130383020311e301c06035504030c154275696c642074696d65206b65726e656c206b657902142a00000000000000000000000000000080c0ffee300b0609608648016503040201300a06082a8648ce3d0403020446304402203ff74c6d89fda5babeec8ec489c7ae533320a43ed21347fd7becb6480a99da3f02206272f7ea4c4896ffb82213ddb09c30ceed1881a69336120d3ea1bf72aacd37fe")
	if err != nil {
		t.Fatal(err)
	}
	l := newTestLog(t)
	digest := bytes.Repeat([]byte{1}, 32)
	signed := "sha256:\x00" + string(digest)
	l.segment("a.example", continues, file("/bin/sh"), record(10, "ima-modsig", "/lib/modules/a.ko", digest, "", signed, string(signature)))
	x := l.index(t.TempDir())
	defer x.Close()
	l.update(x)
	for id, want := range map[uint32][]Position{0x80c0ffee: {{0, 1}}, 1: nil} {
		q := Query{Filter: ima.Filter{KeyID: &id}}
		if got := find(t, x, q); !slices.Equal(got, want) || !slices.Equal(l.slow(q), want) {
			t.Errorf("%08x: %v, want %v", id, got, want)
		}
	}
}

// Segments are selected by when their quote may have been made: not before their
// anchor, not after the first later anchor whose tree has them.
func TestTime(t *testing.T) {
	l := newTestLog(t)
	start := l.now
	l.now += 1000
	l.anchor = l.checkpoint()
	l.segment("h", continues, file("/a")) // anchored at 1000, had at 2000
	l.now += 1000
	l.anchor = l.checkpoint()
	l.segment("h", continues, file("/a")) // anchored at 2000, had at 5000: the newest checkpoint
	l.now += 3000
	x := l.index(t.TempDir())
	defer x.Close()
	l.update(x)
	for _, c := range []struct {
		since, until uint64
		want         []Position
	}{
		{0, 999, nil}, {0, 1000, []Position{{0, 0}}}, {0, 2000, []Position{{0, 0}, {1, 0}}}, {2000, 0, []Position{{0, 0}, {1, 0}}},
		{2001, 0, []Position{{1, 0}}}, {2001, 2002, []Position{{1, 0}}}, {5001, 0, nil},
	} {
		q := path("/a")
		if c.since > 0 {
			q.Since = start + c.since
		}
		if c.until > 0 {
			q.Until = start + c.until
		}
		if got := find(t, x, q); !slices.Equal(got, c.want) {
			t.Errorf("%d to %d: %v, want %v", c.since, c.until, got, c.want)
		}
	}
	q := path("/a")
	q.Limit = 1
	a, err := x.Search(t.Context(), &q)
	if err != nil || a.Hits[0].NotBefore != start+1000 || a.Hits[0].NotAfter != start+2000 {
		t.Errorf("%+v, %v", a, err)
	}
}

// dump returns all rows.
func dump(t *testing.T, x *Index) map[string]string {
	t.Helper()
	rows := make(map[string]string)
	if err := scan(x.db, nil, func(k, v []byte) error { rows[string(k)] = string(v); return nil }); err != nil {
		t.Fatal(err)
	}
	return rows
}

// What is written before a crash is whole entries, and the index goes on from there.
func TestCrashBetweenBatches(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	l := randomLog(t, random, 120)
	l.state(&ledger.Retention{Log: origin, Policy: 1, Days: 1, Statement: "x", Time: 1})
	reads := 0
	l.judged = func(uint64, ledger.Hash, ledger.Statement) bool { reads++; return true }
	whole := l.index(t.TempDir())
	defer whole.Close()
	l.update(whole)
	want := dump(t, whole)
	for range 5 {
		dir := t.TempDir()
		cut := 1 + random.Uint64N(119)
		x := l.index(dir)
		// The source breaks off, after which what was applied is written: as a batch
		// that was full would be.
		err := x.Update(t.Context(), &breaking{l, cut}, nil)
		if !errors.Is(err, errBroken) {
			t.Fatalf("broken at %d: %v", cut, err)
		}
		if a, err := x.Search(t.Context(), &Query{Limit: 10}); err != nil || len(a.Hits) > 0 || a.Size != 0 {
			t.Fatalf("entries that no checkpoint was held to are shown: %+v, %v", a, err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		x = l.index(dir)
		if x.Status().Applied != cut {
			t.Fatalf("%d entries were kept, want %d", x.Status().Applied, cut)
		}
		l.update(x)
		got := dump(t, x)
		// The checkpoint is signed anew each time; the rows are the same.
		delete(got, "M")
		for k, v := range want {
			if k != "M" && got[k] != v {
				t.Fatalf("cut at %d: row %q is %q, want %q", cut, k, got[k], v)
			}
			delete(got, k)
		}
		if len(got) > 0 {
			t.Fatalf("cut at %d: %d rows more", cut, len(got))
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Each statement is judged once when it is applied, and once when it is loaded.
	x := l.index(t.TempDir())
	reads = 0
	l.update(x)
	x.Close()
	if reads != 1 {
		t.Errorf("judged %d times", reads)
	}
}

var errBroken = errors.New("broken")

// breaking gives no entry from one on.
type breaking struct {
	*testLog
	at uint64
}

func (b *breaking) Entries(ctx context.Context, from uint64, of *ledger.Checkpoint) ([][]byte, error) {
	if from >= b.at {
		return nil, errBroken
	}
	list, err := b.testLog.Entries(ctx, from, of)
	return list[:min(uint64(len(list)), b.at-from)], err
}

// A machine that is gone at any moment leaves an index that can be opened, and has
// some first entries of the log, all of each.
func TestCrash(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	l := newTestLog(t)
	disk := vfs.NewCrashableMem()
	open := func(fs vfs.FS) *Index {
		x, err := Open(Config{Dir: "index", Policy: l.policy, Judge: func(uint64, ledger.Hash, ledger.Statement) bool { return true }, fs: fs})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := open(disk)
	defer x.Close()
	kept, partly := 0, 0
	var live []*ledger.Segment
	// Chance says what is on the disk, so rounds go on until both were seen.
	for round := 0; round < 12 || round < 200 && (kept == 0 || partly == 0); round++ {
		for range random.IntN(20) {
			live = append(live, l.segment(fmt.Sprintf("h%d", random.IntN(3)), continues, file(fmt.Sprint("/f", random.IntN(50))), file(fmt.Sprint("/g", len(l.entries)))))
		}
		if round%4 == 2 && len(live) > 4 {
			l.erase(live[0], live[2])
			live = live[3:]
		}
		l.update(x)
		if random.IntN(3) == 0 {
			if err := x.flush(); err != nil {
				t.Fatal(err)
			}
		}
		y := open(disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random}))
		switch n := y.Status().Applied; {
		case n > 0 && n < uint64(len(l.entries)):
			partly++
		case n > 0:
			kept++
		}
		l.update(y)
		if got, want := find(t, y, Query{Limit: 100}), l.slow(Query{}); !slices.Equal(got, want) {
			t.Fatalf("round %d: %d hits, want %d", round, len(got), len(want))
		}
		if got, want := find(t, y, Query{Filter: ima.Filter{Glob: "/f*"}, Limit: 100}), l.slow(Query{Filter: ima.Filter{Glob: "/f*"}}); !slices.Equal(got, want) {
			t.Fatalf("round %d: %d hits of a pattern, want %d", round, len(got), len(want))
		}
		if err := y.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if kept == 0 || partly == 0 {
		t.Errorf("the index was whole %d times and partly there %d times: the test tests little", kept, partly)
	}
}

// An index goes on where its policy has other witnesses, also of a log that has not
// grown since.
func TestOtherWitness(t *testing.T) {
	l, dir := newTestLog(t), t.TempDir()
	l.segment("a.example", continues, file("/bin/sh"))
	x := l.index(dir)
	l.update(x)
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	other := newTestLog(t)
	other.entries, other.tree, other.addenda, other.signer = l.entries, l.tree, l.addenda, l.signer
	text := strings.Replace(l.text, l.wvkey, other.wvkey, 1)
	var err error
	if other.policy, err = ledger.ParsePolicy([]byte(text)); err != nil {
		t.Fatal(err)
	}
	x = other.index(dir)
	defer x.Close()
	other.update(x)
	if got := find(t, x, path("/bin/sh")); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// An index that is not of the log that it follows says so, and is made again.
func TestMismatch(t *testing.T) {
	dir := t.TempDir()
	l := randomLog(t, rand.New(rand.NewPCG(1, 1)), 50)
	x := l.index(dir)
	l.update(x)
	other := randomLog(t, rand.New(rand.NewPCG(2, 2)), 60)
	other.signer, other.witness, other.policy = l.signer, l.witness, l.policy
	err := x.Update(t.Context(), other, nil)
	if !errors.Is(err, ErrMismatch) {
		t.Fatalf("another history: %v", err)
	}
	if a, err := x.Search(t.Context(), &Query{Limit: 1}); err != nil || a.Size != 50 {
		t.Errorf("what was verified before is no longer answered: %+v, %v", a, err)
	}
	if err := x.Reset(); err != nil {
		t.Fatal(err)
	}
	if rows := dump(t, x); len(rows) > 0 {
		t.Errorf("%d rows after Reset", len(rows))
	}
	other.update(x)
	if got, want := find(t, x, Query{}), other.slow(Query{}); !slices.Equal(got, want) {
		t.Errorf("made again: %d hits, want %d", len(got), len(want))
	}
	x.Close()

	// A log that has shrunk.
	x = other.index(dir)
	if err := x.Update(t.Context(), l, nil); !errors.Is(err, ledger.ErrConsistency) {
		t.Errorf("a shorter log: %v", err)
	}
	// Another format, and rows that are none.
	for _, meta := range []string{`{"Format":1,"Applied":4}`, `{`, fmt.Sprintf(`{"Format":%d,"Applied":5}`, format)} {
		if err := x.db.Set([]byte{rowMeta}, []byte(meta), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		x.Close()
		x = other.index(dir)
		if x.Status().Applied != 0 || len(dump(t, x)) > 0 {
			t.Errorf("%s: the index was not begun anew", meta)
		}
		other.update(x)
	}
	x.Close()
}

// A busySource counts the payloads that are read and not applied yet. The first is not
// given before some others are asked for.
type busySource struct {
	*testLog
	applied atomic.Int64
	mu      sync.Mutex
	asked   int64
	most    int64 // that were held at once
	others  chan struct{}
}

func (s *busySource) Addendum(ctx context.Context, leaf ledger.Hash, a ledger.Addendum) (io.ReadCloser, error) {
	if a.Size == large {
		s.mu.Lock()
		s.asked++
		first := s.asked == 1
		s.most = max(s.most, s.asked-s.applied.Load())
		if s.asked == ahead/(large>>20+1) {
			close(s.others)
		}
		s.mu.Unlock()
		if first {
			<-s.others
			time.Sleep(50 * time.Millisecond) // for more, which would be too many
		}
	}
	return s.testLog.Addendum(ctx, leaf, a)
}

const large = 3 << 20

// TestLargeAhead: of large payloads fewer are read while others are applied.
func TestLargeAhead(t *testing.T) {
	l, made := newTestLog(t), newTestLog(t)
	const segments = 40
	for i := range segments {
		seg := made.segment("a.example", continues, file(fmt.Sprint("/bin/", i)))
		seg.Payload.Size = large // it says
		l.add(seg.Marshal())
	}
	l.addenda = made.addenda
	x := l.index(t.TempDir())
	defer x.Close()
	s := &busySource{testLog: l, others: make(chan struct{})}
	if err := x.Update(t.Context(), s, func(done, _ uint64) { s.applied.Store(int64(done)) }); err != nil {
		t.Fatal(err)
	}
	if s.asked != segments || s.most > ahead/(large>>20+1)+1 { // one may be applied, and not counted yet
		t.Errorf("%d payloads were asked for, and up to %d held", s.asked, s.most)
	}
	if got := find(t, x, path("/bin/39")); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// TestErasedElsewhere: a statement that was made for another log is shown to no judge,
// and erases nothing.
func TestErasedElsewhere(t *testing.T) {
	l, dir := newTestLog(t), t.TempDir()
	s := l.segment("a.example", continues, file("/bin/sh"))
	l.state(&ledger.Erasure{Log: "other.example", Retention: ledger.Hash{1}, Reason: "test", Time: 1,
		Erased: []ledger.Erased{{Leaf: ledger.LeafHash(s.Marshal()), Payload: s.Payload.Digest}}})
	judged := 0
	l.judged = func(uint64, ledger.Hash, ledger.Statement) bool { judged++; return true }
	for range 2 {
		x := l.index(dir)
		l.update(x)
		if got := find(t, x, path("/bin/sh")); len(got) != 1 || judged != 0 {
			t.Errorf("%v, %d judged", got, judged)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What a statement erases is no longer in the database, nor in its files; and that
// is told.
func TestErase(t *testing.T) {
	l, dir := newTestLog(t), t.TempDir()
	secret := l.segment("a.example", continues, file("/shared"), file("/home/jane/cv.pdf"), file("/home/jane/letter.pdf"))
	second := l.segment("a.example", continues, file("/home/jane/cv.pdf"), file("/other"))
	l.segment("b.example", continues, file("/shared"))
	refuse := false
	l.judged = func(uint64, ledger.Hash, ledger.Statement) bool { return !refuse }
	x := l.index(dir)
	defer x.Close()
	l.update(x)
	if got := find(t, x, path("/home/jane/cv.pdf")); len(got) != 2 {
		t.Fatalf("%v", got)
	}
	before := dump(t, x)

	refuse = true
	l.erase(secret)
	l.update(x)
	if got := find(t, x, path("/home/jane/cv.pdf")); len(got) != 2 {
		t.Fatalf("a statement that states nothing erased: %v", got)
	}
	refuse = false
	l.erase(secret, second)
	l.update(x)
	for p, want := range map[string][]Position{"/home/jane/cv.pdf": nil, "/other": nil, "/shared": {{2, 0}}} {
		if got := find(t, x, path(p)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", p, got, want)
		}
	}
	for k, v := range dump(t, x) {
		if strings.Contains(k+v, "jane") || strings.Contains(k+v, "/other") {
			t.Errorf("row %q %q is left", k, v)
		}
	}
	if len(dump(t, x)) >= len(before) {
		t.Error("no row is gone")
	}
	// Pebble deletes files that are no longer part of the database some moments later.
	var left []string
	for range 1200 {
		if left = filesWith(t, dir, "jane"); len(left) == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if len(left) > 0 {
		t.Errorf("%v have what was erased", left)
	}
	limits, err := x.Limits(t.Context(), &Query{}, 10)
	if err != nil || len(limits.Runs) != 1 || limits.Runs[0] != (Limit{Host: "a.example", From: 1, To: 2, Segments: 2, State: Erased}) || limits.Total[Erased] != 2 {
		t.Errorf("%+v, %v", limits, err)
	}
	if s := x.Status(); s.Segments != 1 || s.Records != 1 {
		t.Errorf("%+v", s)
	}
	// Measured again, it is found again: and its number is no other's.
	l.segment("c.example", continues, file("/home/jane/cv.pdf"))
	l.update(x)
	if got := find(t, x, path("/home/jane/cv.pdf")); !slices.Equal(got, []Position{{5, 0}}) {
		t.Errorf("%v", got)
	}
}

// filesWith returns the tables and logs that have a text in them.
func filesWith(t *testing.T, dir, text string) (list []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(text)) {
			list = append(list, f.Name())
		}
	}
	return list
}

// A new index of a log whose records are erased already says the same as one that
// saw them erased.
func TestErasedBefore(t *testing.T) {
	l := newTestLog(t)
	s := l.segment("a.example", continues, file("/x"))
	l.erase(s)
	x := l.index(t.TempDir())
	defer x.Close()
	l.update(x)
	limits, err := x.Limits(t.Context(), &Query{}, 10)
	if err != nil || limits.Total[Erased] != 1 || limits.Total[Missing] != 0 {
		t.Errorf("%+v, %v", limits, err)
	}
}

// Records that a source does not have, does not give or gives wrong are told, with
// gaps and records that do not say what they are of; and they are asked for again.
func TestLimits(t *testing.T) {
	l := newTestLog(t)
	for i, state := range []State{Read, Missing, Refused, Altered} {
		s := l.segment("a.example", continues, file(fmt.Sprint("/f", i)))
		if state != Read {
			l.absent[s.Payload.Digest] = state
		}
	}
	bad := l.segment("b.example", ledger.Join{Kind: ledger.JoinGap, Reason: "trimmed"}, []byte("no list"))
	l.segment("b.example", continues, record(10, "hidden", "/bin/sh", make([]byte, 32)), file("/bin/sh"))
	l.segment("b.example", ledger.Join{Kind: ledger.JoinGap, Reason: "unknown"}, file("/bin/sh"))
	l.add([]byte("imaledger/none/v1\n"))
	x := l.index(t.TempDir())
	defer x.Close()
	l.update(x)
	want := []Limit{
		{Segments: 1, State: Malformed}, {"a.example", 2, 2, 1, Missing, 0, 0}, {"a.example", 3, 3, 1, Refused, 0, 0}, {"a.example", 4, 4, 1, Altered, 0, 0},
		{"b.example", 1, 1, 1, Malformed, 1, 0}, {"b.example", 2, 2, 1, Read, 0, 1}, {"b.example", 3, 3, 1, Read, 1, 0},
	}
	limits, err := x.Limits(t.Context(), &Query{}, 10)
	if err != nil || !slices.Equal(limits.Runs, want) || limits.Gaps != 2 || limits.Opaque != 1 {
		t.Errorf("%+v, %v; payload %s", limits, err, hex.EncodeToString(bad.Payload.Digest[:4]))
	}
	if l, err := x.Limits(t.Context(), &Query{Host: "b.example"}, 2); err != nil || len(l.Runs) != 2 || !l.More || l.Gaps != 2 {
		t.Errorf("%+v, %v", l, err)
	}
	clear(l.absent)
	if err := x.Retry(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if limits, err = x.Limits(t.Context(), &Query{Host: "a.example"}, 10); err != nil || len(limits.Runs) > 0 {
		t.Errorf("%+v, %v", limits, err)
	}
	if got := find(t, x, path("/f2")); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// A database that fails does not end the process, and answers no more.
func TestDatabaseFails(t *testing.T) {
	l := randomLog(t, rand.New(rand.NewPCG(1, 1)), 5)
	x := l.index(t.TempDir())
	l.update(x)
	func() {
		var err error
		defer func() {
			if !errors.Is(err, ErrFailed) {
				t.Errorf("%v", err)
			}
		}()
		defer x.caught(&err)
		logger{x.config.Logger}.Fatalf("no space left: %d", 1)
	}()
	if _, err := x.Search(t.Context(), &Query{Limit: 1}); !errors.Is(err, ErrFailed) {
		t.Errorf("search: %v", err)
	}
	if err := x.Update(t.Context(), l, nil); !errors.Is(err, ErrFailed) {
		t.Errorf("update: %v", err)
	}
	if err := x.db.Close(); err != nil {
		t.Error(err)
	}
}

func TestNumbersSort(t *testing.T) {
	var last []byte
	for _, n := range []uint64{0, 1, 255, 256, 65535, 65536, 1 << 40, 1<<64 - 1} {
		b := appendNumber(nil, n)
		got, rest, err := number(append(b, 7))
		if err != nil || got != n || len(rest) != 1 || bytes.Compare(last, b) >= 0 {
			t.Errorf("%d: %d, %x, %v", n, got, b, err)
		}
		last = b
	}
	for _, bad := range [][]byte{nil, {1}, {9, 1, 2, 3, 4, 5, 6, 7, 8, 9}} {
		if _, _, err := number(bad); err == nil {
			t.Errorf("%x", bad)
		}
	}
}
