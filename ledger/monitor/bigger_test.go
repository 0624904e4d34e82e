package monitor_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/monitor"
	"github.com/imaledger/imaledger/ledger/testlog"
)

// bigger is a log of two windows and six files of entries, of which the last are not
// full. Tests share it, and change nothing of it.
var bigger = sync.OnceValues(func() (*testlog.Log, error) {
	l, err := testlog.New(origin, 5)
	if err != nil {
		return nil, err
	}
	var hosts []*testlog.Host
	for i := range 4 {
		h, err := l.AddHost(fmt.Sprintf("h%d", i))
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, h)
	}
	for len(l.Entries) < biggerSize {
		h := hosts[len(l.Entries)%len(hosts)]
		h.Anchor = len(l.Entries) - len(l.Entries)%100 // a window names some of the one before
		if err := h.Measure(testlog.Files(fmt.Sprint("/bin/", len(l.Entries)))...); err != nil {
			return nil, err
		}
		if _, err := l.Seal(h); err != nil {
			return nil, err
		}
	}
	return l, nil
})

const biggerSize = 1300

// altered serves what f makes of each of a log's files. One for which f gives nothing
// is not there.
func altered(h http.Handler, f func(path string, b []byte) []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		b := f(r.URL.Path, answer.Body.Bytes())
		if len(b) == 0 {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(answer.Code)
		w.Write(b)
	})
}

// in alters the files whose paths begin so.
func in(prefix string, f func([]byte) []byte) func(string, []byte) []byte {
	return func(path string, b []byte) []byte {
		if strings.HasPrefix(path, prefix) && len(b) > 0 {
			return f(b)
		}
		return b
	}
}

// entriesOf reads a file of entries, and joined writes one.
func entriesOf(b []byte) (list [][]byte) {
	for len(b) > 0 {
		end := 2 + int(b[0])<<8 + int(b[1])
		list, b = append(list, b[:end]), b[end:]
	}
	return list
}

func joined(list [][]byte) []byte { return bytes.Join(list, nil) }

// forged has another entry at an index, whose hash stands in the tile of a level.
func forged(index, level int) func(string, []byte) []byte {
	entry := []byte("nothing of ours\n")
	leaf := ledger.LeafHash(entry)
	tile := fmt.Sprintf("/tile/%d/%03d", level, index>>(8*(level+1)))
	file := fmt.Sprintf("/tile/entries/%03d", index/256)
	return func(path string, b []byte) []byte {
		switch {
		case strings.HasPrefix(path, tile):
			copy(b[index>>(8*level)%256*32:], leaf[:])
		case strings.HasPrefix(path, file):
			list := entriesOf(b)
			list[index%256] = append([]byte{0, byte(len(entry))}, entry...)
			b = joined(list)
		}
		return b
	}
}

// inPlaceOf serves another file of the log at paths that begin so.
func inPlaceOf(l http.Handler, prefix, other string) func(string, []byte) []byte {
	return in(prefix, func([]byte) []byte {
		answer := httptest.NewRecorder()
		l.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, other, nil))
		return answer.Body.Bytes()
	})
}

// TestLiesInMany: what only a log of many entries can lie about.
func TestLiesInMany(t *testing.T) {
	l, err := bigger()
	check(t, err)
	want := audit(t, monitor.Config{Ledger: serve(t, l), Trust: l.Trust})
	if len(want.Findings) > 0 || want.Judged != biggerSize || !want.Whole() {
		t.Fatalf("%+v", want)
	}
	without := func(i int) func([]byte) []byte {
		return func(b []byte) []byte { list := entriesOf(b); return joined(slices.Delete(list, i, i+1)) }
	}
	twice := func(i int) func([]byte) []byte {
		return func(b []byte) []byte { list := entriesOf(b); return joined(slices.Insert(list, i, list[i])) }
	}
	longer := func(b []byte) []byte { return append(b, bytes.Repeat([]byte{7}, 8192-len(b))...) }
	for _, row := range []struct {
		name  string
		lie   func(path string, b []byte) []byte
		holds bool // it is what a log that has grown may give
	}{
		{"an entry forged with its tile", forged(300, 0), false},
		{"the first forged", forged(0, 0), false},
		{"one forged at the begin of the second window", forged(1024, 0), false},
		{"one forged in the partial file", forged(biggerSize-3, 0), false},
		{"one forged with a tile above", forged(300, 1), false},
		{"one forged with both tiles", func(path string, b []byte) []byte { return forged(300, 1)(path, forged(300, 0)(path, b)) }, false},
		{"a tile in the place of another", inPlaceOf(l, "/tile/0/002", "/tile/0/001"), false},
		{"a tile in the place of the partial one", inPlaceOf(l, "/tile/0/005", "/tile/0/001"), false},
		{"a tile in the place of the one above", inPlaceOf(l, "/tile/1/", "/tile/0/001"), false},
		{"entries in the place of others", inPlaceOf(l, "/tile/entries/002", "/tile/entries/001"), false},
		{"entries and their tile in the place of others", func(path string, b []byte) []byte {
			return inPlaceOf(l, "/tile/entries/002", "/tile/entries/001")(path, inPlaceOf(l, "/tile/0/002", "/tile/0/001")(path, b))
		}, false},
		{"a partial tile that is narrower", in("/tile/0/005", func(b []byte) []byte { return b[:len(b)-32] }), false},
		{"a partial tile that is wider", in("/tile/0/005", func(b []byte) []byte { return append(b, make([]byte, 32)...) }), true},
		{"the full tile in place of the partial one", in("/tile/0/005", longer), true},
		{"the full one, where what the tree has is another's", in("/tile/0/005", func(b []byte) []byte { return longer(flip(b)) }), false},
		{"a tile that is more than full", in("/tile/0/005", func(b []byte) []byte { return append(longer(b), 7) }), false},
		{"a tile that is not there", in("/tile/0/002", func([]byte) []byte { return nil }), false},
		{"partial entries that are fewer", in("/tile/entries/005", without(3)), false},
		{"partial entries with others behind them", in("/tile/entries/005", twice(biggerSize%256-1)), true},
		{"the last entry of a window left out", in("/tile/entries/003", without(255)), false},
		{"the last entry of a window twice", in("/tile/entries/003", func(b []byte) []byte { return without(254)(twice(255)(b)) }), false},
		{"the first entry of a window left out", in("/tile/entries/004", without(0)), false},
		{"the first entry of a window twice", in("/tile/entries/004", twice(0)), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			r, err := monitor.Audit(t.Context(), monitor.Config{Ledger: serve(t, altered(l, row.lie)), Trust: l.Trust})
			switch {
			case row.holds:
				if err != nil || !reflect.DeepEqual(r, want) {
					t.Errorf("%+v, %v", r, err)
				}
			case strings.HasSuffix(row.name, "not there"):
				if err == nil {
					t.Errorf("%v", r.Findings)
				}
			case err != nil || r.Class() != ledger.Contradicted || r.Findings[0].Code != ledger.LogTiles || r.Whole():
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// TestLiesBehind: what is false in the part that an earlier audit has judged is not
// read again, or is a finding; the rest is judged as ever.
func TestLiesBehind(t *testing.T) {
	l, err := bigger()
	check(t, err)
	want := audit(t, monitor.Config{Ledger: serve(t, l), Trust: l.Trust})
	for _, since := range []int{700, 1024, 1290} {
		before := t.TempDir()
		audit(t, monitor.Config{Ledger: serve(t, l.At(since)), Trust: l.Trust, Dir: before})
		for name, lie := range map[string]func(string, []byte) []byte{
			"the first tile": in("/tile/0/000", flip), "the first entries": in("/tile/entries/000", flip), "the tile that it ended in": in(fmt.Sprintf("/tile/0/%03d", since/256), flip),
			"the entries that it ended in": in(fmt.Sprintf("/tile/entries/%03d", since/256), flip), "the tile above": in("/tile/1/", flip),
		} {
			dir := t.TempDir()
			check(t, os.CopyFS(dir, os.DirFS(before)))
			var told atomic.Bool
			r := audit(t, monitor.Config{Ledger: serve(t, altered(l, func(path string, b []byte) []byte {
				was := bytes.Clone(b)
				b = lie(path, b)
				if !bytes.Equal(b, was) {
					told.Store(true)
				}
				return b
			})), Trust: l.Trust, Dir: dir})
			switch {
			case r.Class() == ledger.Contradicted:
				if len(r.Findings) != 1 || r.Findings[0].Code != ledger.LogTiles || r.Whole() {
					t.Errorf("%s, from %d on: %v", name, since, r.Findings)
				}
			default:
				r.Since, r.Resumed = 0, nil
				if told.Load() || !reflect.DeepEqual(r, want) {
					t.Errorf("%s, from %d on, was asked for: %v\n%+v", name, since, told.Load(), r)
				}
			}
		}
	}
}

// TestRollbackInAFile: a log that goes back, and gives no tiles of what it had shown,
// is read up to where it was judged, which may be in the middle of a file.
func TestRollbackInAFile(t *testing.T) {
	l, err := bigger()
	check(t, err)
	config := func(h http.Handler, dir string) monitor.Config {
		return monitor.Config{Ledger: serve(t, h), Trust: l.Trust, Dir: dir}
	}
	for _, judged := range []int{700, 1023, 1024, 1025} {
		dir := t.TempDir()
		audit(t, config(l.At(judged), dir))
		if _, err := monitor.Audit(t.Context(), config(refuse(l.At(1250), "/tile/entries/", http.StatusServiceUnavailable), dir)); err == nil {
			t.Fatal("entries that cannot be had")
		}
		r := audit(t, config(must[*testlog.Log](t)(l.Fork(judged+10)), dir))
		if len(r.Findings) != 1 || r.Findings[0].Code != ledger.LogRollback || r.Class() != ledger.Undecided || strings.Contains(r.Findings[0].Text, "could not be found out") {
			t.Errorf("judged %d: %v", judged, r.Findings)
		}
		r = audit(t, config(alter(must[*testlog.Log](t)(l.Fork(judged-10)), "/tile/entries/", flip), dir))
		if len(r.Findings) != 2 || r.Findings[0].Code != ledger.LogTiles || r.Findings[1].Code != ledger.LogRollback {
			t.Errorf("judged %d, and its entries are altered: %v", judged, r.Findings)
		}
		fork := must[*testlog.Log](t)(l.Fork(judged - 1))
		must[ledger.Hash](t)(fork.State(&ledger.Hold{Log: origin, To: 1, Reason: "x", Time: 1}))
		if r := audit(t, config(fork, dir)); len(r.Findings) != 1 || r.Findings[0].Code != ledger.LogSplit {
			t.Errorf("judged %d, and its last is another: %v", judged, r.Findings)
		}
	}
}
