package client

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"
)

// TestKeptSegments: all pages of the segments that are kept are read, and a list that
// is in no order, or has no end, is not.
func TestKeptSegments(t *testing.T) {
	const size = 3500
	page := func(from uint64) (p KeptSegments) { // as a ledger makes it, of segments at all even indexes
		for i := from + from%2; i < size+10; i += 2 {
			if len(p.Segments) == keptPage {
				p.Next = i
				break
			}
			p.Segments = append(p.Segments, KeptSegment{Host: "h", Index: i})
		}
		return p
	}
	for name, row := range map[string]struct {
		alter func(p *KeptSegments, from uint64)
		good  bool
	}{
		"the truth":               {func(*KeptSegments, uint64) {}, true},
		"segments of other hosts": {func(p *KeptSegments, from uint64) { p.Segments = nil }, true},
		"a page twice":            {func(p *KeptSegments, from uint64) { p.Next = max(from, 1) }, false},
		"pages of one each":       {func(p *KeptSegments, from uint64) { p.Segments, p.Next = p.Segments[:1], p.Segments[0].Index+1 }, false},
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
			if asked++; err != nil || asked > 20 {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			p := page(from)
			row.alter(&p, from)
			json.NewEncoder(w).Encode(p)
		})
		last := -1
		err := c.KeptSegments(t.Context(), "", size, func(s KeptSegment) error {
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
