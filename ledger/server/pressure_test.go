package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// mostSlowdown is how much slower than alone a good host may be served among many
// bad ones that share two processors with it and with the ledger: the clients of
// this test take more of them than the server does. What it must find is a queue
// that the bad ones fill: with one, a wait of 10 ms for each of them, the good host
// is 36 times slower. The share of the processors that other programs left to this
// one is taken into account.
const mostSlowdown = 25

// A hundred hosts submit garbage as fast as they are answered, each from an
// address of its own; others upload a byte at a time, and connections idle. One
// good host is served all the same. It is served alone and among them in turn,
// three times, since other programs come and go on a machine; the middle ratio
// counts.
func TestPressure(t *testing.T) {
	const rounds, each = 3, 10
	l := closedLedger(t, func(c *Config) { c.Limits, c.Logger = DefaultLimits(), nil })
	h := l.enrolHost(t, "good.example")
	anchor := l.anchor(t)
	leaf, _ := h.fork().segment(t, testOrigin, anchor, "/bin/never")
	p := &pressure{bad: 100, slow: 50, idle: 500, url: l.http.URL, leaf: leaf}
	if soak {
		p.idle = 9_500 // both ends are in this process, of 20,000 files
	}
	var ratios []float64
	for range rounds {
		alone := latency(t, l, h, anchor, each)
		stop := p.start(t)
		ran, waited := scheduled(t)
		among := latency(t, l, h, anchor, each)
		ranAfter, waitedAfter := scheduled(t)
		share := (ranAfter - ran) / (ranAfter - ran + waitedAfter - waited)
		refused, throttled := p.heard()
		for end := time.Now().Add(2 * time.Minute); (refused < int64(p.bad) || throttled == 0) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			refused, throttled = p.heard() // on a machine that is busy with other tests
		}
		stop()
		ratios = append(ratios, share*float64(among)/float64(alone))
		t.Logf("alone %v; among %d bad hosts (%d requests refused, %d throttled so far), %d slow uploads and %d idle connections %v, with %.2f of the processors: %.1f times",
			alone, p.bad, refused, throttled, p.slow, p.idle, among, share, ratios[len(ratios)-1])
		if refused < int64(p.bad) || throttled == 0 {
			t.Error("the bad hosts were not heard: the test has tested nothing")
		}
	}
	for status := range p.answers {
		if n := p.answers[status].Load(); n > 0 && status >= 500 {
			t.Errorf("%d answers of status %d", n, status)
		}
		if n := p.answers[status].Load(); n > 0 && status >= 200 && status < 300 {
			t.Errorf("%d answers of status %d: garbage was taken", n, status)
		}
	}
	slices.Sort(ratios)
	if ratios[rounds/2] > mostSlowdown {
		t.Errorf("the good host is %.1f times slower, want %d at most", ratios[rounds/2], mostSlowdown)
	}
	if got := auditLog(t, l.server); len(got) != 1+1+2*rounds*each {
		t.Errorf("%d entries", len(got)-1)
	}
}

// pressure is what bad hosts do to a ledger.
type pressure struct {
	bad, slow, idle int
	url             string
	leaf            []byte            // which they spoil
	answers         [600]atomic.Int64 // by status
}

// start lets them begin. stop ends what they do, and waits for its end.
func (p *pressure) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range p.bad {
		c := clientFrom(i)
		wg.Go(func() {
			defer c.CloseIdleConnections()
			for n := 0; ctx.Err() == nil; n++ {
				p.answers[garbage(ctx, c, p.url, p.leaf, n)].Add(1)
			}
		})
	}
	address := strings.TrimPrefix(p.url, "http://")
	for range p.slow {
		wg.Go(func() { drip(ctx, address) })
	}
	var connections []net.Conn
	stop = func() {
		cancel()
		wg.Wait()
		for _, c := range connections {
			c.Close()
		}
	}
	for range p.idle {
		c, err := net.Dial("tcp", address)
		if err != nil {
			stop()
			t.Fatal(err)
		}
		connections = append(connections, c)
	}
	return stop
}

// heard returns how many requests were refused, and how many came too often.
func (p *pressure) heard() (refused, throttled int64) {
	for _, status := range []int{http.StatusUnprocessableEntity, http.StatusBadRequest, http.StatusUnauthorized} {
		refused += p.answers[status].Load()
	}
	return refused, p.answers[http.StatusTooManyRequests].Load()
}

// scheduled returns for how many seconds this process's threads ran, and for how many
// they could have run and other threads had the processors. Go has as many threads
// run as there are processors, so those are other programs'.
func scheduled(t *testing.T) (ran, waited float64) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/schedstat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		var run, wait float64 // ns
		if _, err := fmt.Sscan(string(b), &run, &wait); err != nil {
			t.Fatalf("%s: %q: %v", name, b, err)
		}
		ran, waited = ran+run/1e9, waited+wait/1e9
	}
	return ran, waited
}

// latency is the median time from a submission to its acknowledgement.
func latency(t *testing.T, l *testLedger, h *testHost, anchor *ledger.Checkpoint, n int) time.Duration {
	t.Helper()
	var took []time.Duration
	for range n {
		leaf, payload := h.segment(t, testOrigin, anchor, fmt.Sprint("/bin/", h.sequence))
		start := time.Now()
		submit := func(ctx context.Context, entry []byte, wait time.Duration) (*client.Accepted, error) {
			return l.SubmitLeaf(ctx, entry, 0)
		}
		if err := client.Upload(t.Context(), leaf, submit, func() error {
			for _, b := range [][]byte{payload, anchor.Raw} {
				if err := l.PutAddendum(t.Context(), sha256.Sum256(b), int64(len(b)), bytes.NewReader(b)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := submit(t.Context(), leaf, 0); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(start))
		h.took(leaf)
	}
	slices.Sort(took)
	return took[n/2]
}

// clientFrom returns a client with an address of its own; all of 127.0.0.0/8 is
// the loopback interface's on Linux.
func clientFrom(i int) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i/250), byte(1+i%250))}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
}

// garbage sends what a ledger refuses, and returns the status.
func garbage(ctx context.Context, c *http.Client, url string, leaf []byte, n int) int {
	method, path, body := http.MethodPost, "/leaf", bytes.Clone(leaf)
	switch n % 5 {
	case 0:
		body = bytes.Repeat([]byte("garbage "), 200)
	case 1:
		body[len(body)/2] ^= 1
	case 2:
		body = leaf[:len(leaf)/2]
	case 3:
		path, body = "/enrol", []byte(`{"host":"x","ak_public":"AAAA"}`)
	case 4:
		method, path = http.MethodPut, "/"+ledger.AddendumPath(sha256.Sum256(body))
	}
	req, err := http.NewRequestWithContext(ctx, method, url+path, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// drip uploads a byte at a time, and begins anew when it is thrown out.
func drip(ctx context.Context, address string) {
	for ctx.Err() == nil {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		fmt.Fprintf(c, "PUT /%s HTTP/1.1\r\nHost: ledger\r\nContent-Length: 1000000\r\n\r\n", ledger.AddendumPath(ledger.Hash{1}))
		for ctx.Err() == nil {
			if _, err := c.Write([]byte{0}); err != nil {
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
		c.Close()
	}
}
