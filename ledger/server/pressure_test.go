package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
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
// that the bad ones fill, which would make seconds of milliseconds.
const mostSlowdown = 25

// A hundred hosts submit garbage as fast as they are answered, each from an
// address of its own; others upload a byte at a time, and connections idle. One
// good host is served all the same.
func TestPressure(t *testing.T) {
	bad, slow, idle := 100, 50, 500
	if soak {
		idle = 9_500 // both ends are in this process, of 20,000 files
	}
	l := closedLedger(t, func(c *Config) { c.Limits, c.Logger = DefaultLimits(), nil })
	h := l.enrolHost(t, "good.example")
	anchor := l.anchor(t)
	alone := latency(t, l, h, anchor, 30)

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var answers [600]atomic.Int64
	leaf, _ := h.fork().segment(t, testOrigin, anchor, "/bin/never")
	for i := range bad {
		c := clientFrom(i)
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				answers[garbage(ctx, c, l.http.URL, leaf, n)].Add(1)
			}
		})
	}
	address := strings.TrimPrefix(l.http.URL, "http://")
	for range slow {
		wg.Go(func() { drip(ctx, address) })
	}
	var connections []net.Conn
	defer func() {
		for _, c := range connections {
			c.Close()
		}
	}()
	for range idle {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		connections = append(connections, c)
	}
	among := latency(t, l, h, anchor, 30)
	heard := func() (refused, throttled int64) {
		return answers[http.StatusUnprocessableEntity].Load() + answers[http.StatusBadRequest].Load() + answers[http.StatusUnauthorized].Load(), answers[http.StatusTooManyRequests].Load()
	}
	refused, throttled := heard()
	for end := time.Now().Add(2 * time.Minute); (refused < int64(bad) || throttled == 0) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		refused, throttled = heard() // on a machine that is busy with other tests
	}
	stop()
	wg.Wait()
	ratio := float64(among) / float64(alone)
	t.Logf("alone %v; among %d bad hosts (%d requests refused, %d throttled), %d slow uploads and %d idle connections %v: %.1f times",
		alone, bad, refused, throttled, slow, idle, among, ratio)
	for status := range answers {
		if n := answers[status].Load(); n > 0 && status >= 500 {
			t.Errorf("%d answers of status %d", n, status)
		}
		if n := answers[status].Load(); n > 0 && status >= 200 && status < 300 {
			t.Errorf("%d answers of status %d: garbage was taken", n, status)
		}
	}
	if refused < int64(bad) || throttled == 0 {
		t.Error("the bad hosts were not heard: the test has tested nothing")
	}
	if ratio > mostSlowdown {
		t.Errorf("the good host is %.1f times slower, want %d at most", ratio, mostSlowdown)
	}
	if got := auditLog(t, l.server); len(got) != 1+1+60 {
		t.Errorf("%d entries", len(got)-1)
	}
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
		if _, err := l.SubmitLeaf(t.Context(), leaf, 0); err != nil {
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
