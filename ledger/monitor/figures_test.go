//go:build figures

package monitor_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
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
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

const (
	figureHosts   = 500
	figureRecords = 20 // a segment
	figureAnchors = 16 // segments that share an anchor
)

// inProcess carries requests to a handler without sockets, whose cost is the
// machine's and not the audit's.
type inProcess struct{ h http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.h.ServeHTTP(w, r)
	return w.Result(), nil
}

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

// bare does what an audit cannot do without: one signature check a quote and
// checkpoint line, one hash of each entry, each payload and each record's place in its
// tree, and a digest and an extend of each record in each bank. On all processors.
func bare(t *testing.T, l *testlog.Log, aks map[string]*quote.AK) time.Duration {
	t.Helper()
	begun := time.Now()
	work := make(chan int)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for from := range work {
				seen := make(map[ledger.Hash]bool)
				for i := from; i < min(from+figureAnchors, len(l.Entries)); i++ {
					ledger.LeafHash(l.Entries[i])
					s, err := ledger.ParseSegment(l.Entries[i])
					if err != nil {
						continue // an enrolment
					}
					if _, err := aks[s.Host].Verify(s.Attest, s.Signature); err != nil {
						t.Error(err)
					}
					if note := s.Anchor.Note; !seen[note] && i%figureAnchors == 0 {
						seen[note] = true
						if _, err := l.Trust.Policy.Verify(l.Addenda[note]); err != nil {
							t.Error(err)
						}
					}
					payload := l.Addenda[s.Payload.Digest]
					sha256.Sum256(payload)
					tree := ledger.NewRecordTree()
					pcrs := map[ima.Bank][]byte{ima.SHA1: make([]byte, 20), ima.SHA256: make([]byte, 32)}
					for r := ima.NewReader(bytes.NewReader(payload), ima.Format{Bank: ima.SHA1}); ; {
						rec, err := r.Next() // which makes the SHA-1
						if err != nil {
							break
						}
						tree.Add(rec.Raw)
						for bank, v := range pcrs {
							h := bank.New()
							h.Write(v)
							h.Write(rec.Sum(bank, ima.StyleDigest))
							pcrs[bank] = h.Sum(v[:0])
						}
					}
				}
			}
		})
	}
	for i := 0; i < len(l.Entries); i += figureAnchors {
		work <- i
	}
	close(work)
	workers.Wait()
	return time.Since(begun)
}

// TestFigures prints how fast a whole log is audited.
func TestFigures(t *testing.T) {
	n := 200_000
	if s := os.Getenv("IMALEDGER_SEGMENTS"); s != "" {
		n = must[int](t)(strconv.Atoi(s))
	}
	l, aks := figureLog(t, n)
	direct := &client.Client{Base: "http://log.example", HTTP: &http.Client{Transport: inProcess{l}}}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := uint64(0)
	run := func(c *client.Client, dir string) time.Duration {
		begun := time.Now()
		r := must[*monitor.Report](t)(monitor.Audit(t.Context(), monitor.Config{Ledger: c, Trust: l.Trust, Dir: dir, Progress: func(done, total uint64) {
			if done%(total/10) < 1024 {
				runtime.ReadMemStats(&after)
				peak = max(peak, after.HeapAlloc-min(before.HeapAlloc, after.HeapAlloc))
			}
		}}))
		if len(r.Findings) > 0 || r.Segments != uint64(n) {
			t.Fatalf("%+v", r)
		}
		return time.Since(begun)
	}
	// In turn, so that a machine that others use is as slow for one as for the other.
	var least, audit time.Duration
	for range 2 {
		least += bare(t, l, aks)
		audit += run(direct, "")
	}
	http1 := run(serve(t, l), filepath.Join(t.TempDir(), "audit"))
	t.Logf("%d segments of %d records: %.0f a second, %.0f %% of the speed of the bare checks and hashes (%v and %v); over HTTP on the same processors, and kept on disk, %v; heap at most %.0f MB over the log's own",
		n, figureRecords, float64(2*n)/audit.Seconds(), 100*least.Seconds()/audit.Seconds(), audit/2, least/2, http1, float64(peak)/1e6)

	// Tessera's fsck holds tiles to entries and root, and judges nothing.
	begun := time.Now()
	v := must[note.Verifier](t)(note.NewVerifier(l.Trust.Policy.Logs()[0].VKey))
	fetch := must[*tclient.HTTPFetcher](t)(tclient.NewHTTPFetcher(mustURL(t, "http://log.example/"), &http.Client{Transport: inProcess{l}}))
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
