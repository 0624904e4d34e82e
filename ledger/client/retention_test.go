package client

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/imaledger/imaledger/ledger"
)

// TestKeptSegments: all pages of the segments that are kept are read, and a list that
// is in no order, has no end, or is of a log that only claims to have them, is not.
func TestKeptSegments(t *testing.T) {
	const size = 3500
	tree := &testTree{}
	for n := range int64(size) {
		tree.add(t, n, fmt.Sprint(n))
	}
	leaf := func(n uint64) string {
		h := tlog.RecordHash([]byte(fmt.Sprint(n)))
		return hex.EncodeToString(h[:])
	}
	page := func(from uint64) (p KeptSegments) { // as a ledger makes it, of segments at all even indexes
		for i := from + from%2; i < size+10; i += 2 {
			if len(p.Segments) == keptPage {
				p.Next = i
				break
			}
			p.Segments = append(p.Segments, KeptSegment{Host: "h", Index: i, Leaf: leaf(i)})
		}
		return p
	}
	for name, row := range map[string]struct {
		alter func(p *KeptSegments, from uint64)
		good  bool
	}{
		"the truth":               {func(*KeptSegments, uint64) {}, true},
		"pages of none":           {func(p *KeptSegments, from uint64) { p.Segments = nil }, false},
		"another leaf":            {func(p *KeptSegments, from uint64) { p.Segments[len(p.Segments)-1].Leaf = leaf(1) }, false},
		"a page twice":            {func(p *KeptSegments, from uint64) { p.Next = max(from, 1) }, false},
		"pages of none, for ever": {func(p *KeptSegments, from uint64) { p.Segments, p.Next = nil, from+1 }, false},
		"a segment twice":         {func(p *KeptSegments, from uint64) { p.Segments[7] = p.Segments[6] }, false},
		"segments of the page before": {func(p *KeptSegments, from uint64) {
			if from > 0 {
				*p = page(0)
			}
		}, false},
		"places beyond every log": {func(p *KeptSegments, from uint64) { p.Segments[7].Index = 1 << 60 }, true},
	} {
		asked := 0
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			from, err := strconv.ParseUint(r.URL.Query().Get("from"), 10, 64)
			if strings.HasPrefix(r.URL.Path, "/tile/") {
				tile, err := tlog.ParseTilePath("tile/8/" + strings.TrimPrefix(r.URL.Path, "/tile/"))
				if err != nil {
					t.Error(err)
				}
				b, err := tlog.ReadTileData(tile, tree)
				if err != nil {
					t.Error(err)
				}
				w.Write(b)
				return
			}
			if asked++; err != nil || asked > 20 {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			p := page(from)
			row.alter(&p, from)
			json.NewEncoder(w).Encode(p)
		})
		last := -1
		err := c.KeptSegments(t.Context(), "", tree.at(t, size), func(s KeptSegment) error {
			if int(s.Index) <= last || s.Index >= size {
				t.Errorf("%s: %d after %d", name, s.Index, last)
			}
			last = int(s.Index)
			return nil
		})
		if (err == nil) != row.good || asked > 20 || name == "the truth" && last != size-2 {
			t.Errorf("%s: the last is %d, %d pages were asked for: %v", name, last, asked, err)
		}
	}
}

// TestKeptSegmentsTwins: a log that is one small tree over and over costs its owner
// nothing, and may claim any size. Each of its entries is in the tree.
func TestKeptSegmentsTwins(t *testing.T) {
	const levels = 50
	hashes := []tlog.Hash{tlog.RecordHash([]byte("twin"))} // by level
	for range levels {
		last := hashes[len(hashes)-1]
		hashes = append(hashes, tlog.NodeHash(last, last))
	}
	at := &ledger.Checkpoint{Origin: "log.example", Size: 1 << levels, Root: ledger.Hash(hashes[levels])}
	asked := 0
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/tile/") {
			tile, err := tlog.ParseTilePath("tile/8/" + strings.TrimPrefix(r.URL.Path, "/tile/"))
			if err != nil {
				t.Error(err)
			}
			for range tile.W {
				w.Write(hashes[tile.L*tileHeight][:])
			}
			return
		}
		from, err := strconv.ParseUint(r.URL.Query().Get("from"), 10, 64)
		if asked++; err != nil || asked > 20 {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		json.NewEncoder(w).Encode(KeptSegments{[]KeptSegment{{Host: "h", Sequence: from, Index: from, Leaf: hex.EncodeToString(hashes[0][:])}}, from + 1})
	})
	err := c.KeptSegments(t.Context(), "", at, func(KeptSegment) error { return nil })
	if err == nil || asked != 2 {
		t.Errorf("%d pages were asked for: %v", asked, err)
	}
}

// TestManyHolds: the holds of a large fleet are read, and a list without end is not.
func TestManyHolds(t *testing.T) {
	n := 0
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"time":1,"holds":[`)
		for i := range n {
			if i > 0 {
				fmt.Fprint(w, ",")
			}
			b, err := json.Marshal(HoldInForce{Leaf: strings.Repeat("a", 64), Host: fmt.Sprintf("host-%d.example", i), To: 1, Reason: strings.Repeat("r", ledger.MaxText), Time: 1})
			if err != nil {
				t.Error(err)
			}
			w.Write(b)
		}
		fmt.Fprint(w, "]}")
	})
	n = 20_000
	if r, err := c.Retention(t.Context()); err != nil || len(r.Holds) != n {
		t.Errorf("%d holds: %v", n, err)
	}
	n = 120_000
	if _, err := c.Retention(t.Context()); err == nil {
		t.Errorf("a list of more than %d bytes is read", maxList)
	}
}
