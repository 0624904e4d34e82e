//go:build figures

package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// These print the README's figures: go test -tags figures -run TestFigures -v
// -timeout 60m ./ledger/server. Each ratio compares what ran in turn on one
// machine, in one run.

// figureHosts is how many hosts submit at a time.
const figureHosts = 512

// parallel calls f for 0 to n-1, from figureHosts goroutines at most.
func parallel(n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, figureHosts) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// perSecond runs submit for each leaf of each host, hosts at the same time, leaves one
// after the other, and returns leaves a second.
func perSecond(t testing.TB, list []prepared, submit func(leaf, payload []byte) error) float64 {
	t.Helper()
	rate, _ := timed(t, list, submit)
	return rate
}

// timed is perSecond that also tells how much time of a processor each leaf took, of
// all that this process did: on a busy machine that says more.
func timed(t testing.TB, list []prepared, submit func(leaf, payload []byte) error) (rate float64, each time.Duration) {
	t.Helper()
	runtime.GC()
	start, used, n := time.Now(), processorTime(t), 0
	for _, p := range list {
		n += len(p.leaves)
	}
	if t.Failed() {
		t.FailNow()
	}
	parallel(len(list), func(i int) {
		for k, leaf := range list[i].leaves {
			if err := submit(leaf, list[i].payloads[k]); err != nil {
				t.Error(err)
				return
			}
		}
	})
	took := time.Since(start)
	return float64(n) / took.Seconds(), (processorTime(t) - used) / time.Duration(n)
}

func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bareAppender is Tessera with the ledger's options and nothing around it.
func bareAppender(t testing.TB) tessera.AddFn {
	t.Helper()
	signer, _ := signer(t, testOrigin)
	driver, err := posix.New(t.Context(), posix.Config{Path: tempDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	appender, _, _, err := tessera.NewAppender(t.Context(), driver, tessera.NewAppendOptions().
		WithCheckpointSigner(signer).WithBatching(batchMaxSize, DefaultBatchMaxAge).
		WithCheckpointInterval(DefaultCheckpointInterval).WithCheckpointRepublishInterval(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return appender.Add
}

// conformanceServer runs Tessera's own server, of the version in go.mod.
func conformanceServer(t testing.TB) (url string) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "bin")
	build := exec.Command("go", "install", "github.com/transparency-dev/tessera/cmd/conformance/posix@v1.0.4")
	build.Dir = os.TempDir()
	build.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=-mod=mod")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	secret, _, err := note.GenerateKey(rand.Reader, testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	cmd := exec.Command(filepath.Join(bin, "posix"), "-storage_dir", tempDir(t), "-listen", address)
	cmd.Env = append(os.Environ(), "LOG_PRIVATE_KEY="+secret)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	url = "http://" + address
	for range 500 {
		if resp, err := http.Get(url + "/checkpoint"); err == nil {
			resp.Body.Close()
			return url
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the conformance server does not answer")
	return ""
}

// anySignature is the one check that no admission can do without.
func anySignature(t testing.TB) (key *ecdsa.PublicKey, digest, signature []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d := sha256.Sum256([]byte("a quote"))
	signature, err = ecdsa.SignASN1(rand.Reader, private, d[:])
	if err != nil {
		t.Fatal(err)
	}
	return &private.PublicKey, d[:], signature
}

func poster() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * figureHosts}}
}

func post(c *http.Client, url string, body []byte) error {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Prefer", "wait=0")
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return err
}

// figureLedger is a ledger as imaledgerd has it by default.
func figureLedger(t testing.TB, interval time.Duration) *testLedger {
	t.Helper()
	l := newConfig(t, ledger.GradeSoftware)
	l.config.CheckpointInterval, l.config.BatchMaxAge, l.config.Logger = interval, DefaultBatchMaxAge, nil
	return l.start(t)
}

// TestFiguresAdmission: verified admissions a second, in the process and over
// HTTP, against Tessera without and with its own server.
func TestFiguresAdmission(t *testing.T) {
	const each, rounds = 20, 3
	url := conformanceServer(t)
	var inProcess, checked, overHTTP []float64
	for range rounds {
		l := figureLedger(t, DefaultCheckpointInterval)
		add, c := bareAppender(t), poster()
		list := prepare(t, l, figureHosts, each, true)
		bare := perSecond(t, list, func(leaf, _ []byte) error {
			_, err := add(t.Context(), tessera.NewEntry(leaf))()
			return err
		})
		key, digest, signature := anySignature(t)
		signed := perSecond(t, list, func(leaf, _ []byte) error {
			if !ecdsa.VerifyASN1(key, digest, signature) {
				return errors.New("the signature does not verify")
			}
			_, err := add(t.Context(), tessera.NewEntry(leaf[1:]))()
			return err
		})
		verified, _ := l.admitted(t, list)
		list = prepare(t, l, figureHosts, each, true)
		conformance := perSecond(t, list, func(leaf, _ []byte) error { return post(c, url+"/add", leaf) })
		served := perSecond(t, list, func(leaf, _ []byte) error { return post(c, l.http.URL+"/leaf", leaf) })
		list = prepare(t, l, figureHosts, 4, false)
		whole := perSecond(t, list, func(leaf, payload []byte) error {
			if err := l.PutAddendum(t.Context(), sha256.Sum256(payload), int64(len(payload)), bytes.NewReader(payload)); err != nil {
				return err
			}
			return post(c, l.http.URL+"/leaf", leaf)
		})
		t.Logf("leaves of %d bytes: bare appender %.0f/s, with one signature check %.0f/s, verified %.0f/s (%.0f %%, %.0f %%); over HTTP: Tessera's server %.0f/s, ledger %.0f/s; with the upload of each payload %.0f/s",
			len(list[0].leaves[0]), bare, signed, verified, 100*verified/bare, 100*verified/signed, conformance, served, whole)
		inProcess, checked, overHTTP = append(inProcess, verified/bare), append(checked, verified/signed), append(overHTTP, served/conformance)
		l.kill()
	}
	slices.Sort(inProcess)
	slices.Sort(checked)
	slices.Sort(overHTTP)
	t.Logf("medians: %.2f of the bare appender, %.2f of one that checks one ECDSA signature, %.2f of Tessera's server", inProcess[rounds/2], checked[rounds/2], overHTTP[rounds/2])
}

// TestFiguresLatency: from POST /leaf to a proof with two of three witnesses. Hosts
// submit at moments of their own: were each to wait the same time after a proof, all
// would come together after each checkpoint, and find a log at rest.
func TestFiguresLatency(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	for _, interval := range []time.Duration{200 * time.Millisecond, time.Second} {
		l := figureLedger(t, interval)
		p50, p99 := toProof(t, l, interval, uint64(seed))
		t.Logf("checkpoint interval %v: p50 %v, p99 %v; p50 is %.2f intervals", interval, p50.Round(time.Millisecond), p99.Round(time.Millisecond), float64(p50)/float64(interval))
		l.kill()
	}
}

// toProof returns how long entries take from POST /leaf to a witnessed proof.
func toProof(t testing.TB, l *testLedger, interval time.Duration, seed uint64) (p50, p99 time.Duration) {
	t.Helper()
	const hosts, each = 20, 20
	list := prepare(t, l, hosts, each, true)
	var mu sync.Mutex
	var took []time.Duration
	parallel(hosts, func(i int) {
		moments := mathrand.New(mathrand.NewPCG(seed, uint64(i)))
		for _, leaf := range list[i].leaves {
			time.Sleep(time.Duration(moments.ExpFloat64() * float64(interval)))
			start := time.Now()
			a, err := l.SubmitLeaf(t.Context(), leaf, client.MaxWait)
			if err != nil || a.Proof == "" {
				t.Error(a, err)
				return
			}
			mu.Lock()
			took = append(took, time.Since(start))
			mu.Unlock()
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100]
}

// heapSize returns what is reachable, in MiB.
func heapSize() float64 {
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	return float64(memory.HeapAlloc) / (1 << 20)
}

// admitted returns verified admissions a second, in the process, and what each took
// of a processor.
func (l *testLedger) admitted(t testing.TB, list []prepared) (rate float64, each time.Duration) {
	t.Helper()
	return timed(t, list, func(leaf, _ []byte) error {
		_, _, err := l.server.admit(leaf)
		return err
	})
}

// TestFiguresHosts: what ten thousand hosts' chains take in memory, and how long
// they take to read at a start.
func TestFiguresHosts(t *testing.T) {
	const hosts = 10_000
	l := figureLedger(t, DefaultCheckpointInterval)
	before := heapSize()
	for range 10 {
		l.admitted(t, prepare(t, l, hosts/10, 1, true))
	}
	added := heapSize() - before
	start := time.Now()
	l.restart(t)
	t.Logf("%d hosts with a segment each: %.0f MiB, %.1f KiB a host; started again in %v", len(l.server.chains.hosts), added, added*1024/hosts, time.Since(start).Round(time.Millisecond))
}

// TestFiguresSize: admissions a second in logs of growing size, each beside those in
// a log of a thousand leaves; time to a proof, memory, and time of a start.
func TestFiguresSize(t *testing.T) {
	const small, rounds = 1e3, 3
	measure := func(l *testLedger) (float64, time.Duration) {
		return l.admitted(t, prepare(t, l, figureHosts, 20, true))
	}
	began := time.Now()
	l := figureLedger(t, DefaultCheckpointInterval)
	for _, size := range []uint64{small, 1e5, 1e6} {
		fill(t, l, size)
		have, hosts, heap := len(l.server.chains.index), len(l.server.chains.hosts), heapSize()
		var here, beside, ratio, work []float64
		for range rounds {
			other := figureLedger(t, DefaultCheckpointInterval)
			fill(t, other, small)
			b, bEach := measure(other)
			other.kill()
			h, hEach := measure(l)
			here, beside, ratio, work = append(here, h), append(beside, b), append(ratio, h/b), append(work, float64(hEach)/float64(bEach))
		}
		p50, p99 := toProof(t, l, DefaultCheckpointInterval, size)
		start := time.Now()
		l.restart(t)
		took := time.Since(start)
		for _, list := range [][]float64{here, beside, ratio, work} {
			slices.Sort(list)
		}
		t.Logf("at %d leaves of %d hosts: %.0f verified/s, beside it %.0f/s at %.0f leaves: %.2f of that (%.2f to %.2f), with %.2f times the work (%.2f to %.2f); to a proof p50 %v, p99 %v; heap %.0f MiB; started again in %v; %v in all",
			have, hosts, here[rounds/2], beside[rounds/2], float64(small), ratio[rounds/2], ratio[0], ratio[rounds-1], work[rounds/2], work[0], work[rounds-1],
			p50.Round(time.Millisecond), p99.Round(time.Millisecond), heap, took.Round(time.Millisecond), time.Since(began).Round(time.Second))
	}
}

// fill has a ledger admit segments of new hosts, forty each, until its log has a size.
func fill(t testing.TB, l *testLedger, size uint64) {
	t.Helper()
	for {
		have, err := l.server.log.reader.IntegratedSize(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if have >= size {
			return
		}
		n := int(min(40, 1+(size-have)/figureHosts))
		l.admitted(t, prepare(t, l, int(min(figureHosts, 1+(size-have)/uint64(n+1))), n, true))
	}
}
