package monitor_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/monitor"
	"github.com/imaledger/imaledger/ledger/testlog"
)

// TestKept: what an audit keeps does not grow with the segments, but for eight bytes
// of each leaf hash and, up to a limit, the tiles of 32 bytes an entry. A segment that
// is kept would be 4,000.
func TestKept(t *testing.T) {
	const (
		window = 1024 // entries that are in memory in any case
		limit  = 128  // bytes a segment
	)
	l := must[*testlog.Log](t)(testlog.New(origin, 2))
	var hosts []*testlog.Host
	for i := range 8 {
		hosts = append(hosts, must[*testlog.Host](t)(l.AddHost(fmt.Sprintf("h%d", i))))
	}
	for i := 0; len(l.Entries) < 5*window; i++ {
		h := hosts[i%len(hosts)]
		h.Anchor = len(l.Entries) - len(l.Entries)%16
		check(t, h.Measure(testlog.Files(fmt.Sprint("/bin/", i))...))
		must[*ledger.Segment](t)(l.Seal(h))
	}
	kept := func(size int) (bytes int64) {
		var before, after runtime.MemStats
		collect(&before)
		r := audit(t, monitor.Config{Ledger: serve(t, l.At(size)), Trust: l.Trust, Progress: func(done, total uint64) {
			if done == total {
				collect(&after)
			}
		}})
		if len(r.Findings) > 0 || r.Judged != uint64(size) {
			t.Fatalf("%+v", r)
		}
		return int64(after.HeapAlloc) - int64(before.HeapAlloc)
	}
	kept(window) // and whatever a process makes once
	few, many := kept(window), kept(5*window)
	t.Logf("%d bytes kept of %d entries, %d of %d", few, window, many, 5*window)
	if each := (many - few) / (4 * window); each > limit {
		t.Errorf("%d bytes are kept of each segment, want at most %d", each, limit)
	}
}

// collect reads how much is in use after all that is not was let go of, pools too.
func collect(m *runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(m)
}
