package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// largeSegment adds a segment that is too large to be held, of which each record is of
// a file of its own, but for one in a hundred.
func (l *testLog) largeSegment(host string) (s *ledger.Segment, records int) {
	l.t.Helper()
	var list [][]byte
	for size := 0; size <= maxAhead+(1<<20); {
		name := fmt.Sprintf("/large/%s/%06d-%s", host, len(list), strings.Repeat("n", 1000))
		if len(list)%100 == 7 {
			name = "/large/shared"
		}
		list = append(list, file(name))
		size += len(list[len(list)-1])
	}
	return l.segment(host, continues, list...), len(list)
}

// slices of an addendum, and what happens when so much of it is read.
type cutSource struct {
	*testLog
	of   ledger.Hash
	at   int64
	then func() error
}

func (s *cutSource) Addendum(ctx context.Context, leaf ledger.Hash, a ledger.Addendum) (io.ReadCloser, error) {
	r, err := s.testLog.Addendum(ctx, leaf, a)
	if err != nil || a.Digest != s.of {
		return r, err
	}
	return io.NopCloser(io.MultiReader(io.LimitReader(r, s.at), readerFunc(func(b []byte) (int, error) {
		if s.then != nil {
			if err := s.then(); err != nil {
				return 0, err
			}
			s.then = nil
		}
		return r.Read(b)
	}))), nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestLarge: of a large segment no more is held than a part, no search sees it before
// it is whole, and it is found, over the borders of its parts, as any other.
func TestLarge(t *testing.T) {
	l := newTestLog(t)
	l.segment("b.example", continues, file("/large/shared"))
	seg, records := l.largeSegment("a.example")
	x := l.index(t.TempDir())
	defer x.Close()
	inside := 0
	err := x.Update(t.Context(), &cutSource{l, seg.Payload.Digest, int64(seg.Payload.Size) - 1, func() error {
		for k := range dump(t, x) {
			if k[0] == rowForward && strings.HasPrefix(k, string(key(rowForward, 1))) {
				inside++
			}
		}
		if got := find(t, x, path("/large/shared")); len(got) != 0 {
			t.Errorf("%d records of what is not whole are found", len(got))
		}
		return nil
	}}, nil)
	if err != nil || inside == 0 {
		t.Fatalf("%d parts are written when the last byte is read: %v", inside, err)
	}
	if got := find(t, x, Query{Host: "a.example", Limit: 1000}); len(got) != records || !slices.IsSortedFunc(got, func(a, b Position) int { return int(a.Record) - int(b.Record) }) {
		t.Errorf("%d records are found, want %d", len(got), records)
	}
	want := []Position{{0, 0}}
	for n := 7; n < records; n += 100 {
		want = append(want, Position{1, uint64(n)})
	}
	for _, limit := range []int{1, 7, 1000} {
		for _, q := range []Query{path("/large/shared"), {Until: 1 << 40}} {
			if q.Limit = limit; q.Path == "" && limit < 1000 {
				continue
			}
			got := find(t, x, q)
			if q.Path != "" && !slices.Equal(got, want) || q.Path == "" && len(got) != records+1 {
				t.Errorf("%+v: %d are found, want %d", q, len(got), len(want))
			}
		}
	}
	if s := x.Status(); s.Segments != 2 || s.Records != uint64(records)+1 {
		t.Errorf("%+v", s)
	}
	l.erase(seg)
	l.update(x)
	for k, v := range dump(t, x) {
		if strings.Contains(k+v, "/large/a") || k[0] == rowForward && strings.HasPrefix(k, string(key(rowForward, 1))) {
			t.Fatalf("row %q is left", k)
		}
	}
	if got := find(t, x, path("/large/shared")); !slices.Equal(got, want[:1]) {
		t.Errorf("after the erasure: %v", got)
	}
	if s := x.Status(); s.Segments != 1 || s.Records != 1 {
		t.Errorf("%+v", s)
	}
}

// TestLargeBroken: a large segment that a source does not give to its end, or gives
// wrong, leaves nothing behind, and is read again.
func TestLargeBroken(t *testing.T) {
	l, dir := newTestLog(t), t.TempDir()
	seg, records := l.largeSegment("a.example")
	digest, half := seg.Payload.Digest, int64(seg.Payload.Size/2)
	x := l.index(dir)
	err := x.Update(t.Context(), &cutSource{l, digest, half, func() error { return errBroken }}, nil)
	if !errors.Is(err, errBroken) || x.Failed() != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	// Meanwhile it was erased: what was written of it must go.
	x = l.index(dir)
	defer func() { x.Close() }()
	l.absent[digest] = Missing
	l.update(x)
	left := func() (n int) {
		for k, v := range dump(t, x) {
			if strings.Contains(k+v, "/large/a") {
				n++
			}
		}
		return n
	}
	if n := left(); n > 0 || x.meta.Part != 0 {
		t.Fatalf("%d rows of what broke off are left", n)
	}
	// It breaks off while it is asked for again, and then its bytes are others.
	delete(l.absent, digest)
	err = x.Retry(t.Context(), &cutSource{l, digest, half, func() error {
		if left() == 0 {
			t.Error("nothing is written yet: the test tests little")
		}
		if got := find(t, x, path("/large/shared")); len(got) > 0 {
			t.Errorf("%d records are found of what is not whole", len(got))
		}
		return errBroken
	}})
	if !errors.Is(err, errBroken) || x.Failed() != nil {
		t.Fatal(err)
	}
	if got := find(t, x, path("/large/shared")); len(got) > 0 {
		t.Errorf("%d records are found of what is not whole", len(got))
	}
	content := l.addenda[digest]
	l.addenda[digest] = append(slices.Clone(content[:len(content)-1]), 'x')
	if err := x.Retry(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	limits, err := x.Limits(t.Context(), &Query{}, 10)
	if n := left(); err != nil || n > 0 || limits.Total[Altered] != 1 {
		t.Fatalf("%d rows of what is altered are left; %+v, %v", n, limits, err)
	}
	l.addenda[digest] = content
	if err := x.Retry(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if got := find(t, x, Query{Limit: 1000}); len(got) != records {
		t.Errorf("%d records are found, want %d", len(got), records)
	}
	if limits, err := x.Limits(t.Context(), &Query{}, 10); err != nil || len(limits.Total) > 0 {
		t.Errorf("%+v, %v", limits, err)
	}
}

// TestEraseBroken: where an index was stopped after it deleted what is erased, its
// files are rid of it by the next update, though that has nothing new to read; and what
// it had not deleted to the end is.
func TestEraseBroken(t *testing.T) {
	l, dir := newTestLog(t), t.TempDir()
	secret := l.segment("a.example", continues, file("/home/jane/cv.pdf"))
	l.segment("b.example", continues, file("/bin/sh"))
	x := l.index(dir)
	l.update(x)
	l.erase(secret)
	ctx, cancel := context.WithCancel(t.Context())
	err := x.Update(ctx, l, func(done, _ uint64) {
		if done == uint64(len(l.entries)) {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	// Another one is marked, and its rows are still there.
	w := &writer{Index: x, batch: x.db.NewBatch()}
	if err := w.batch.Set(key(rowSegment, 1), (&segmentRow{Host: "b.example", Sequence: 1, State: Erased}).marshal(), nil); err != nil {
		t.Fatal(err)
	}
	w.meta.Part = 2
	if err := w.commit(); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	x = l.index(dir)
	defer x.Close()
	if !x.meta.Deleted || len(find(t, x, path("/bin/sh"))) > 0 {
		t.Error("what is erased is shown, or it is forgotten that it may be on the disk")
	}
	l.update(x)
	if x.meta.Deleted || x.meta.Part != 0 || x.Status().Size != uint64(len(l.entries)) {
		t.Errorf("%+v", x.meta)
	}
	for k := range dump(t, x) {
		if k[0] == rowForward || k[0] == rowPosting || k[0] == rowMeasurement {
			t.Errorf("row %q is left", k)
		}
	}
}

// used returns how long the processor has worked for this process.
func used(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano())
}

// TestEraseShared: what many hosts have measured is erased of the last as fast as of the
// first. The index counts no time but the processor's, and the one against the other.
func TestEraseShared(t *testing.T) {
	const erasures = 9
	l := newTestLog(t)
	var list [][]byte
	for i := range 30 {
		list = append(list, file(fmt.Sprint("/usr/bin/", i)))
	}
	var segments []*ledger.Segment
	for i := range erasures * ledger.MaxErased {
		segments = append(segments, l.segment(fmt.Sprint("h", i), continues, list...))
	}
	last := l.segment("last", continues, list...)
	x := l.index(t.TempDir())
	defer x.Close()
	l.update(x)
	for s := range slices.Chunk(segments, ledger.MaxErased) {
		l.erase(s...)
	}
	var at []time.Duration
	if err := x.Update(t.Context(), l, func(uint64, uint64) { at = append(at, used(t)) }); err != nil {
		t.Fatal(err)
	}
	var took []time.Duration // by each erasure but the first, before which other work began
	for i := range erasures - 1 {
		took = append(took, at[i+1]-at[i])
	}
	// The least of some, since the database works beside.
	if first, last := slices.Min(took[:4]), slices.Min(took[4:]); last > 2*first {
		t.Errorf("erasures took %v each, later ones %v", first, last)
	}
	if got := find(t, x, Query{Filter: ima.Filter{Glob: "/usr/bin/*"}, Limit: 100}); len(got) != len(list) || got[0].Entry != uint64(len(segments)) {
		t.Errorf("%d records are left, want those of #%d: %v", len(got), last.Sequence, got)
	}
}

// TestLimitsOfMany: what limits the word of absence is looked through for a time as fast as
// for none: a log has a row of it for each segment that was erased. And whatever times the
// log has, what a time selects is what notAfter tells.
func TestLimitsOfMany(t *testing.T) {
	l := newTestLog(t)
	l.segment("a.example", continues, file("/bin/sh"))
	x := l.index(t.TempDir())
	defer x.Close()
	l.update(x)
	const rows = 50_000
	w := &writer{Index: x, batch: x.db.NewBatch()}
	for i := range uint64(rows) {
		row := &segmentRow{Host: fmt.Sprintf("h%d", i%100), Sequence: i/100 + 1, Count: 50, NotBefore: 1, State: Erased}
		if err := w.limit(1+i, row); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 && i < rows-100 {
			if err := w.batch.Set(key(rowTime, i), binary.AppendUvarint(nil, 1_000+i+37*(i%7)), nil); err != nil {
				t.Fatal(err)
			}
		}
		if i%(rows/5) == 0 { // several files, as there are
			if err := errors.Join(w.commit(), x.flush()); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.meta.Verified += rows
	if err := w.commit(); err != nil {
		t.Fatal(err)
	}
	look := func(since uint64) (took time.Duration) { // the least of some, since the database works beside
		for i := range 5 {
			before := used(t)
			limits, err := x.Limits(t.Context(), &Query{Since: since}, 10)
			if err != nil || limits.Total[Erased] != rows {
				t.Fatalf("%+v, %v", limits, err)
			}
			if d := used(t) - before; i == 0 || d < took {
				took = d
			}
		}
		return took
	}
	if all, some := look(0), look(1); some > 4*all {
		t.Errorf("%d rows are looked through in %v, for a time in %v", rows, all, some)
	}
	v, _, err := x.see(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, last := range []uint64{v.last, 30_000, 0} {
		for _, since := range []uint64{1, 1_001, 20_000, 29_999, 30_001, 60_000, 1 << 40} {
			v.last, v.early, v.known = last, nil, false
			selected := 0
			for entry := uint64(1); entry <= rows; entry += 11 {
				at, err := v.notAfter(entry)
				if err != nil {
					t.Fatal(err)
				}
				got, err := v.selects(&Query{Since: since}, entry, &segmentRow{})
				if want := at == 0 || at >= since; err != nil || got != want {
					t.Fatalf("since %d, the tree by %d: entry %d of %d is selected: %v, want %v; %v", since, last, entry, at, got, want, err)
				}
				if got {
					selected++
				}
			}
			if since == 20_000 && (selected == 0 || selected > rows/11) {
				t.Errorf("%d are selected: the test tests little", selected)
			}
		}
	}
}
