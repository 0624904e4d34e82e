//go:build figures

package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// These print the README's figures: go test -tags figures -run TestFigures -v
// -timeout 60m ./ledger/internal/index. IMALEDGER_LEAVES is how many leaves the log
// has, of ten records each.

// A figureLog is a log of hosts that run one distribution: it is made when it is
// read, by the real encoders, and takes no memory but for its tree.
type figureLog struct {
	*testLog
	leaves uint64
	hashes []tlog.Hash // stored hashes of the tree
	at     *ledger.Checkpoint
}

const (
	figureRecords = 10     // of a segment
	figureFiles   = 100000 // that the distribution has
	figureHosts   = 2000
)

// figureFile is a file of the distribution, or, one in a hundred, of a host alone.
func figureFile(entry, n uint64) (path string, digest ledger.Hash) {
	r := rand.New(rand.NewPCG(entry, n))
	if r.IntN(100) == 0 {
		path = fmt.Sprintf("/var/lib/app/%d-%d.so", entry, n)
	} else {
		// Some files are on every host, most on few.
		x := r.Float64()
		path = fmt.Sprintf("/usr/lib/x86_64-linux-gnu/pkg%d/lib%d.so", int(x*x*x*figureFiles)%997, int(x*x*x*figureFiles))
	}
	return path, sha256.Sum256([]byte(path))
}

func (l *figureLog) entry(i uint64) (*ledger.Segment, [][]byte) {
	var records [][]byte
	for n := range uint64(figureRecords) {
		path, digest := figureFile(i, n)
		records = append(records, record(10, "ima-sig", path, digest[:], "\x03\x02\x04\xca\xfe\x00"+string(rune('a'+digest[0]%4))+"\x00\x04sign"))
	}
	payload := bytes.Join(records, nil)
	s := &ledger.Segment{
		Head: ledger.Head{
			Log: origin, Host: fmt.Sprintf("host-%d.example", i%figureHosts), AK: ledger.Name("\x00\x0b" + fmt.Sprintf("%032d", i%figureHosts)), Sequence: 1 + i/figureHosts,
			Anchor: ledger.Anchor{Size: l.anchor.Size, Root: l.anchor.Root, Note: sha256.Sum256(l.anchor.Raw)},
		},
		Body: ledger.Body{
			Join: continues, First: i / figureHosts * figureRecords, Count: figureRecords, List: ledger.List{Bank: "sha1", Order: "le"},
			Styles: []ledger.BankStyle{{Bank: "sha256", Style: "digest"}}, Payload: ledger.Addendum{Size: uint64(len(payload)), Digest: sha256.Sum256(payload)},
			Base: []ledger.PCR{{Bank: "sha256", Index: 10, Value: make([]byte, 32)}}, End: []ledger.PCR{{Bank: "sha256", Index: 10, Value: make([]byte, 32)}},
		},
		Attest: make([]byte, 145), Signature: make([]byte, 72),
	}
	return s, records
}

// ReadHashes implements tlog.HashReader.
func (l *figureLog) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var list []tlog.Hash
	for _, i := range indexes {
		list = append(list, l.hashes[i])
	}
	return list, nil
}

func (l *figureLog) Checkpoint(context.Context, *ledger.Checkpoint) (*ledger.Checkpoint, error) {
	return l.at, nil
}

func (l *figureLog) Entries(_ context.Context, from uint64, of *ledger.Checkpoint) ([][]byte, error) {
	var list [][]byte
	for i := from; i < min(of.Size, from+256); i++ {
		s, _ := l.entry(i)
		list = append(list, s.Marshal())
	}
	return list, nil
}

func TestFiguresIndex(t *testing.T) {
	leaves := uint64(1_000_000)
	if s := os.Getenv("IMALEDGER_LEAVES"); s != "" {
		var err error
		if leaves, err = strconv.ParseUint(s, 10, 32); err != nil {
			t.Fatal(err)
		}
	}
	l := &figureLog{testLog: newTestLog(t), leaves: leaves}
	l.anchor = l.checkpoint()
	source := &figureSource{figureLog: l, payloads: make(map[ledger.Hash]uint64, leaves)}
	began := time.Now()
	for i := range leaves {
		s, _ := l.entry(i)
		source.payloads[s.Payload.Digest] = i
		h, err := tlog.StoredHashes(int64(i), s.Marshal(), l)
		if err != nil {
			t.Fatal(err)
		}
		l.hashes = append(l.hashes, h...)
	}
	root, err := tlog.TreeHash(int64(leaves), l)
	if err != nil {
		t.Fatal(err)
	}
	l.at = l.signed(leaves, root[:])
	made := time.Since(began)
	t.Logf("a log of %d leaves and %d records made in %v", leaves, leaves*figureRecords, made.Round(time.Second))

	x, err := Open(Config{Dir: t.TempDir(), Policy: l.policy, Judge: func(uint64, ledger.Hash, ledger.Statement) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	began, busy := time.Now(), cpu(t)
	if err := x.Update(t.Context(), source, nil); err != nil {
		t.Fatal(err)
	}
	if err := x.flush(); err != nil {
		t.Fatal(err)
	}
	built, worked := time.Since(began), cpu(t)-busy
	if err := x.db.Compact(t.Context(), []byte{0}, []byte{0xff}, true); err != nil {
		t.Fatal(err)
	}
	s := x.Status()
	t.Logf("index: %d records, %d measurements, in %v: %.0f records a second, %.0f a second of processor time (making them again included); %.1f bytes a record, %d MB",
		s.Records, s.Measurements, built.Round(time.Second), float64(s.Records)/built.Seconds(), float64(s.Records)/worked.Seconds(), float64(s.Bytes)/float64(s.Records), s.Bytes>>20)

	// A look-up: by the digest of a file that some host has measured, the first hit and
	// its proof, made and verified.
	for _, limit := range []int{1, 100} {
		var times []time.Duration
		for range 2000 {
			_, digest := figureFile(rand.Uint64N(leaves), rand.Uint64N(figureRecords))
			began := time.Now()
			a, err := x.Search(t.Context(), &Query{Filter: ima.Filter{Digest: ima.FileDigest{Digest: digest[:]}}, Limit: limit})
			if err != nil || len(a.Hits) == 0 {
				t.Fatalf("%d hits, %v", len(a.Hits), err)
			}
			h := a.Hits[0]
			path, err := tlog.ProveRecord(int64(leaves), int64(h.Entry), l)
			if err != nil {
				t.Fatal(err)
			}
			seg, records := l.entry(h.Entry)
			p := &ledger.Proof{Index: h.Entry, Checkpoint: l.at.Raw}
			for _, n := range path {
				p.Hashes = append(p.Hashes, ledger.Hash(n))
			}
			if _, err := p.Verify(l.policy, ledger.LeafHash(seg.Marshal())); err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(records[h.Record], digest[:]) {
				t.Fatalf("%v is another record", h.Position)
			}
			times = append(times, time.Since(began))
		}
		slices.Sort(times)
		t.Logf("digest look-up with proof, up to %d hits: p50 %v, p99 %v", limit, times[len(times)/2].Round(time.Microsecond), times[len(times)*99/100].Round(time.Microsecond))
	}
	for _, q := range []Query{{Filter: ima.Filter{Glob: "*/lib777*.so"}, Limit: 100}, {Filter: ima.Filter{Glob: "/usr/lib/x86_64-linux-gnu/pkg7/*"}, Limit: 100}, {Filter: ima.Filter{Path: "/nowhere"}, Limit: 100}} {
		began := time.Now()
		a, err := x.Search(t.Context(), &q)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("pattern %q%q: %d hits in %v", q.Glob, q.Path, len(a.Hits), time.Since(began).Round(time.Microsecond))
	}
}

// cpu returns the processor time that the process has used: the machine may do other
// things.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// figureSource gives records by the digest of them.
type figureSource struct {
	*figureLog
	payloads map[ledger.Hash]uint64
}

func (s *figureSource) Addendum(ctx context.Context, leaf ledger.Hash, a ledger.Addendum) (io.ReadCloser, error) {
	i, found := s.payloads[a.Digest]
	if !found {
		return io.NopCloser(bytes.NewReader(s.anchor.Raw)), nil
	}
	_, records := s.entry(i)
	return io.NopCloser(bytes.NewReader(bytes.Join(records, nil))), nil
}
