package gather_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/gather"
	"github.com/imaledger/imaledger/ledger/testlog"
)

const size = 700

// many is a ledger of several files of entries, by two hosts. Tests share it, and
// change nothing of it.
var many = sync.OnceValues(func() (*testlog.Log, error) {
	l, err := testlog.New("log.example/gather", 1)
	if err != nil {
		return nil, err
	}
	a, err := l.AddHost("a")
	if err != nil {
		return nil, err
	}
	b, err := l.AddHost("b")
	if err != nil {
		return nil, err
	}
	for len(l.Entries) < size {
		h := a
		if len(l.Entries)%3 == 0 {
			h = b
		}
		if err := h.Measure(testlog.Files(fmt.Sprint("/bin/", len(l.Entries)))...); err != nil {
			return nil, err
		}
		if _, err := l.Seal(h); err != nil {
			return nil, err
		}
	}
	return l, nil
})

// open opens the ledger, whose answers are altered.
func open(t *testing.T, ctx context.Context, alter func(path string, body []byte) []byte) *gather.Ledger {
	t.Helper()
	l, err := many()
	if err != nil {
		t.Fatal(err)
	}
	answers := l.Ledger()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		answers.ServeHTTP(answer, r)
		body := alter(r.URL.Path, answer.Body.Bytes())
		w.WriteHeader(answer.Code)
		w.Write(body)
	}))
	t.Cleanup(s.Close)
	g, err := gather.Open(ctx, &client.Client{Base: s.URL}, l.Trust)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestSegmentsBeyond: a chain is asked for no further than it goes, whatever end is named.
func TestSegmentsBeyond(t *testing.T) {
	for _, to := range []uint64{1000, math.MaxUint64 - 1, math.MaxUint64} {
		ctx, cancel := context.WithCancel(t.Context())
		asked := 0
		_, err := open(t, ctx, func(path string, body []byte) []byte {
			if asked++; asked > 2*size {
				cancel() // it asks on and on
			}
			return body
		}).Segments(ctx, "a", 0, to, gather.Options{NoPayloads: true})
		var f *gather.FindingError
		if ctx.Err() != nil || !errors.As(err, &f) || f.Finding.Code != ledger.EntryMissing {
			t.Errorf("to #%d: %v after %d questions", to, err, asked)
		}
		cancel()
	}
}

// TestHeld: the records of a long chain are not held in memory, however small those of
// each segment are.
func TestHeld(t *testing.T) {
	const segments, most = 24, 8 << 20 // segments of 1 MiB; bytes that may be held
	l, err := testlog.New("log.example/held", 1)
	if err != nil {
		t.Fatal(err)
	}
	h, err := l.AddHost("a")
	if err != nil {
		t.Fatal(err)
	}
	for i := range segments {
		for j := range 256 {
			if err := h.Measure(testlog.Files(fmt.Sprintf("/%4000d", i*256+j))...); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.Seal(h); err != nil {
			t.Fatal(err)
		}
	}
	answers := l.Ledger()
	s := httptest.NewServer(answers)
	defer s.Close()
	g, err := gather.Open(t.Context(), &client.Client{Base: s.URL}, l.Trust)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	e, err := g.Segments(t.Context(), "a", 0, segments, gather.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > most {
		t.Errorf("%d bytes are held, of %d of records", held, segments<<20)
	}
	r, err := g.Check(e)
	if err != nil || r.Class() != ledger.Noted || len(r.Segments) != segments || !r.Segments[segments-1].Replayed {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestNewest: the newest entry of a chain is the newest that the tree has, in few
// questions, whatever number a ledger begins with.
func TestNewest(t *testing.T) {
	l, err := many()
	if err != nil {
		t.Fatal(err)
	}
	older, err := l.Checkpoint(300)
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[int]uint64) // by size
	for i, raw := range l.Entries {
		want[i+1] = want[i]
		if e, err := ledger.ParseEntry(raw); err == nil {
			if host, n, _ := e.(ledger.HostEntry).Link(); host == "a" {
				want[i+1] = n
			}
		}
	}
	beyond := regexp.MustCompile(`"index":\d+`)
	for _, row := range []struct {
		name  string
		alter func(path string, body []byte) []byte
		want  uint64 // 0 for an error
	}{
		{"the truth", func(_ string, b []byte) []byte { return b }, want[size]},
		{"of a log that has grown", func(path string, b []byte) []byte {
			if path == "/checkpoint" {
				return older
			}
			return b
		}, want[300]},
		{"a number that no chain has", func(path string, b []byte) []byte {
			if strings.HasSuffix(path, "/head") {
				return []byte(`{"host":"a","sequence":4611686018427387904}`)
			}
			return b
		}, 0},
		{"a number that no chain has, and places for all below", func(path string, b []byte) []byte {
			switch {
			case strings.HasSuffix(path, "/head"):
				return []byte(`{"host":"a","sequence":4611686018427387904}`)
			case strings.HasSuffix(path, "/chain"):
				return []byte(`{"host":"a","entries":[{"sequence":1,"index":18446744073709551615}]}`)
			}
			return b
		}, 0},
		{"no place in the tree for any", func(path string, b []byte) []byte {
			if strings.HasSuffix(path, "/chain") {
				return beyond.ReplaceAll(b, []byte(`"index":700`))
			}
			return b
		}, 0},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		asked := 0
		n, err := open(t, ctx, func(path string, body []byte) []byte {
			if asked++; asked > 30 {
				cancel() // it asks on and on
			}
			return row.alter(path, body)
		}).Newest(ctx, "a")
		if ctx.Err() != nil || (err == nil) != (row.want > 0) || n != row.want {
			t.Errorf("%s: %d, %v after %d questions, want %d", row.name, n, err, asked, row.want)
		}
		cancel()
	}
}
