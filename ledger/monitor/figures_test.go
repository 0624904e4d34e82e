//go:build figures

package monitor_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/transparency-dev/tessera/api"
	tclient "github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/monitor"
	"github.com/imaledger/imaledger/ledger/testlog"
	"github.com/imaledger/imaledger/tpm/quote"
)

const (
	figureHosts   = 500
	figureRecords = 20 // a segment
	figureAnchors = 16 // segments that share an anchor
)

// inProcess carries requests to a log without sockets, whose cost is the machine's and
// not the audit's. What was asked for before it has in memory, as the log its addenda.
type inProcess struct {
	l    *testlog.Log
	kept *sync.Map // of *answer, by path
}

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if digest, err := ledger.ParseHash(path.Base(r.URL.Path)); err == nil {
		if content, found := p.l.Addenda[digest]; found {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(content)), ContentLength: int64(len(content)), Request: r}, nil
		}
	}
	kept, found := p.kept.Load(r.URL.Path)
	if !found {
		a := &answer{status: http.StatusOK, header: make(http.Header)}
		p.l.ServeHTTP(a, r)
		kept, _ = p.kept.LoadOrStore(r.URL.Path, a)
	}
	a := kept.(*answer)
	return &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body.Bytes())), ContentLength: int64(a.body.Len()), Request: r}, nil
}

// An answer implements http.ResponseWriter.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// figureLog makes a log of n segments.
func figureLog(t *testing.T, n int) (l *testlog.Log, aks map[string]*quote.AK) {
	t.Helper()
	l = must[*testlog.Log](t)(testlog.New(origin, 3))
	aks = make(map[string]*quote.AK)
	var hosts []*testlog.Host
	for i := range figureHosts {
		h := must[*testlog.Host](t)(l.AddHost(fmt.Sprintf("host%d", i)))
		aks[h.Name] = must[*quote.AK](t)(quote.ParseAK(must[[]byte](t)(h.TPM.AK())))
		hosts = append(hosts, h)
	}
	anchor := 0
	for i := range n {
		if i%figureAnchors == 0 {
			anchor = len(l.Entries)
		}
		h := hosts[i%len(hosts)]
		h.Anchor = anchor
		names := make([]string, figureRecords)
		for j := range names {
			names[j] = fmt.Sprintf("/usr/lib/x86_64-linux-gnu/lib%d-%d.so", i, j)
		}
		check(t, h.Measure(testlog.Files(names...)...))
		must[*ledger.Segment](t)(l.Seal(h))
	}
	return l, aks
}

// A cost is what something took: time, and time of all processors. On a machine that
// others use the second says more.
type cost struct{ wall, cpu time.Duration }

func measure(f func()) cost {
	begun, before := time.Now(), processorTime()
	f()
	return cost{time.Since(begun), processorTime() - before}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// TestFigures prints how fast a whole log is audited, and in how much memory.
func TestFigures(t *testing.T) {
	n := 200_000
	if s := os.Getenv("IMALEDGER_SEGMENTS"); s != "" {
		n = must[int](t)(strconv.Atoi(s))
	}
	l, aks := figureLog(t, n)
	within := &http.Client{Transport: inProcess{l, new(sync.Map)}}
	direct := &client.Client{Base: "http://log.example", HTTP: within}
	run := func(c *client.Client, dir string) {
		r := must[*monitor.Report](t)(monitor.Audit(t.Context(), monitor.Config{Ledger: c, Trust: l.Trust, Dir: dir}))
		if len(r.Findings) > 0 || r.Segments != uint64(n) {
			t.Fatalf("%+v", r)
		}
	}
	// In turn, so that a machine that others use is as slow for one as for the other.
	parts := takeApart(t, l, aks)
	var wall, cpu, took []float64
	for range 5 {
		least := measure(func() { bare(t, l, parts) })
		audit := measure(func() { run(direct, "") })
		wall, cpu = append(wall, 100*least.wall.Seconds()/audit.wall.Seconds()), append(cpu, 100*least.cpu.Seconds()/audit.cpu.Seconds())
		took = append(took, audit.wall.Seconds())
	}
	t.Logf("%d segments of %d records: %.0f a second; the bare checks and hashes take %.0f %% of the time, %.0f %% of the processors' (medians of %d; %.0f and %.0f)",
		n, figureRecords, float64(n)/median(took), median(wall), median(cpu), len(wall), wall, cpu)
	parts = nil
	http1 := measure(func() { run(serve(t, l), filepath.Join(t.TempDir(), "audit")) })
	t.Logf("over HTTP on the same processors, and kept on disk: %v", http1.wall)
	figureMemory(t, l, n)

	// Tessera's fsck holds tiles to entries and root, and judges nothing.
	begun := time.Now()
	v := must[note.Verifier](t)(note.NewVerifier(l.Trust.Policy.Logs()[0].VKey))
	fetch := must[*tclient.HTTPFetcher](t)(tclient.NewHTTPFetcher(mustURL(t, "http://log.example/"), within))
	hashes := func(bundle []byte) ([][]byte, error) {
		var b api.EntryBundle
		if err := b.UnmarshalText(bundle); err != nil {
			return nil, err
		}
		var list [][]byte
		for _, e := range b.Entries {
			h := ledger.LeafHash(e)
			list = append(list, h[:])
		}
		return list, nil
	}
	check(t, fsck.New(origin, v, fetch, hashes, fsck.Opts{N: 2}).Check(context.Background()))
	t.Logf("Tessera's fsck, which judges no entry: %v", time.Since(begun))
}

func mustURL(t *testing.T, s string) *url.URL { return must[*url.URL](t)(url.Parse(s)) }
