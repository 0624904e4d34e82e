package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// noise returns bytes that do not compress.
func noise(t testing.TB, n int) []byte {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24), byte(seed >> 32)})
	r.Read(b)
	return b
}

func compress(t testing.TB, b []byte, options ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, options...)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

func pathOf(b []byte) string { return "/" + ledger.AddendumPath(sha256.Sum256(b)) }

// breakOff sends the first n bytes of an upload and closes the connection.
func (l *testLedger) breakOff(t testing.TB, path string, body []byte, n int, header string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.http.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n", path, len(body), header)
	if _, err := conn.Write(body[:n]); err != nil {
		t.Fatal(err)
	}
}

// offset asks how much of an upload there is, until it is as much as is wanted.
func (l *testLedger) offset(t testing.TB, path string, want int) {
	t.Helper()
	within(t, fmt.Sprintf("the ledger has %d bytes", want), func() bool {
		resp, _ := l.do(t, "HEAD", path, nil)
		got := resp.Header.Get("Upload-Offset")
		return (got == strconv.Itoa(want) || got == "" && want == 0) && resp.StatusCode == http.StatusNotFound
	})
}

// An upload whose connection breaks goes on where it was, over a restart too.
func TestResume(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	content := noise(t, 1<<20)
	path := pathOf(content)
	put := func(from, to int, want int) *http.Response {
		t.Helper()
		resp, b := l.doWith(t, "PUT", path, bytes.NewReader(content[from:to]), "Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(content)))
		if resp.StatusCode != want {
			t.Fatalf("%d-%d: %s %s, want %d", from, to, resp.Status, b, want)
		}
		return resp
	}
	l.breakOff(t, path, content, 300_000, "")
	l.offset(t, path, 300_000)
	if resp := put(300_001, 1<<20, http.StatusRequestedRangeNotSatisfiable); resp.Header.Get("Upload-Offset") != "300000" {
		t.Errorf("a hole: Upload-Offset %q", resp.Header.Get("Upload-Offset"))
	}
	// In parts that the client chooses, one of them twice.
	if resp := put(300_000, 500_000, http.StatusAccepted); resp.Header.Get("Upload-Offset") != "500000" {
		t.Errorf("Upload-Offset %q", resp.Header.Get("Upload-Offset"))
	}
	put(400_000, 500_000, http.StatusAccepted)
	l.restart(t)
	l.offset(t, path, 500_000)
	put(500_000, 1<<20, http.StatusCreated)
	var got bytes.Buffer
	if err := l.Addendum(t.Context(), sha256.Sum256(content), 1<<20, &got); err != nil || !bytes.Equal(got.Bytes(), content) {
		t.Fatalf("%d bytes, %v", got.Len(), err)
	}
	if left, err := filepath.Glob(filepath.Join(l.config.Dir, "uploads", "unfinished", "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}

	// What was wrong before the break is told, and forgotten.
	other := noise(t, 1<<20)
	wrong := bytes.Clone(other)
	wrong[5] ^= 1
	path = pathOf(other)
	l.breakOff(t, path, wrong, 600_000, "")
	l.offset(t, path, 600_000)
	resp, b := l.doWith(t, "PUT", path, bytes.NewReader(other[600_000:]), "Content-Range", "bytes 600000-1048575/1048576")
	if resp.StatusCode != http.StatusBadRequest || !bytes.Contains(b, []byte("problem-digest")) {
		t.Fatalf("%s %s", resp.Status, b)
	}
	if resp, _ := l.do(t, "PUT", path, bytes.NewReader(other)); resp.StatusCode != http.StatusCreated {
		t.Fatal(resp.Status)
	}

	for _, header := range []string{"bytes 0-9", "bytes 9-0/10", "bytes 0-10/10", "bytes */10", "bytes 00-9/10", "bytes 0-9/10 ", "octets 0-9/10", "bytes 0-8/10", "bytes -1-8/10", "bytes 0-9/*"} {
		resp, _ := l.doWith(t, "PUT", path, strings.NewReader("ten bytes."), "Content-Range", header)
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %s", header, resp.Status)
		}
	}
	if resp, _ := l.doWith(t, "PUT", path, strings.NewReader("x"), "Content-Range", fmt.Sprintf("bytes 0-0/%d", int64(ledger.MaxPayload)+1)); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: %s", resp.Status)
	}
}

// Who has lost the connection need not wait until the server finds out.
func TestResumeTakesOver(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	content := noise(t, 1<<20)
	path := pathOf(content)
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.http.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() // it stays open, and silent
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", path, len(content))
	if _, err := conn.Write(content[:400_000]); err != nil {
		t.Fatal(err)
	}
	l.offset(t, path, 400_000)
	resp, b := l.doWith(t, "PUT", path, bytes.NewReader(content[400_000:]), "Content-Range", "bytes 400000-1048575/1048576")
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s", resp.Status, b)
	}
}

// A cutter breaks connections after some bytes of each upload.
type cutter struct {
	after int64
	cuts  atomic.Int64
}

func (c *cutter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPut && r.ContentLength > c.after {
		c.cuts.Add(1)
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, c.after), &broken{}))
	}
	return http.DefaultTransport.RoundTrip(r)
}

type broken struct{}

func (*broken) Read([]byte) (int, error) {
	time.Sleep(20 * time.Millisecond) // what was sent arrives
	return 0, errors.New("the network has gone")
}

// The client goes on by itself, and with what an earlier call had sent.
func TestClientResumes(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	content := noise(t, 4<<20)
	cut := &cutter{after: 1_200_000}
	c := &client.Client{Base: l.http.URL, HTTP: &http.Client{Transport: cut}}
	if err := c.PutAddendum(t.Context(), sha256.Sum256(content), int64(len(content)), bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if n := cut.cuts.Load(); n < 2 || n > 3 {
		t.Errorf("%d breaks: the rest was not resumed where it was", n)
	}
	// Each call sends a little more, and none is lost.
	content = noise(t, 4<<20)
	cut = &cutter{after: 10}
	c.HTTP.Transport = cut
	l.breakOff(t, pathOf(content), content, 3<<20, "")
	l.offset(t, pathOf(content), 3<<20)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := c.PutAddendum(ctx, sha256.Sum256(content), int64(len(content)), bytes.NewReader(content)); err == nil {
		t.Fatal("uploaded over a network that is gone")
	}
	c.HTTP.Transport = &cutter{after: 1<<20 - 10}
	if err := c.PutAddendum(t.Context(), sha256.Sum256(content), int64(len(content)), bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

func TestZstd(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	l.config.MaxPayload = 4 << 20
	l.start(t)
	put := func(content, body []byte, want int, header ...string) {
		t.Helper()
		resp, b := l.doWith(t, "PUT", pathOf(content), bytes.NewReader(body), append(header, "Content-Encoding", "zstd")...)
		if resp.StatusCode != want {
			t.Errorf("%s %s, want %d", resp.Status, b, want)
		}
	}
	text := bytes.Repeat([]byte("10 ima-ng sha256:0000 /usr/bin/true\n"), 50_000)
	put(text, compress(t, text), http.StatusCreated)
	var got bytes.Buffer
	if err := l.Addendum(t.Context(), sha256.Sum256(text), 4<<20, &got); err != nil || !bytes.Equal(got.Bytes(), text) {
		t.Fatalf("%d bytes, %v", got.Len(), err)
	}
	// Offsets count bytes of the addendum, each request is a frame of its own.
	content := noise(t, 1<<20)
	encoded := compress(t, content)
	l.breakOff(t, pathOf(content), encoded, 700_000, "Content-Encoding: zstd\r\n")
	var have int64
	within(t, "a part is there", func() bool {
		have, _, _ = l.HasAddendum(t.Context(), sha256.Sum256(content))
		return have > 0
	})
	if have > 700_000 {
		t.Fatalf("of 700,000 bytes %d are there", have)
	}
	put(content, compress(t, content[have:]), http.StatusCreated, "Content-Range", fmt.Sprintf("bytes %d-%d/%d", have, len(content)-1, len(content)))

	small := []byte("ten bytes.")
	put(small, small, http.StatusBadRequest)
	put(small, compress(t, small)[:10], http.StatusBadRequest)
	put(small, compress(t, []byte("others")), http.StatusBadRequest)
	put(small, append(compress(t, small), 'x'), http.StatusBadRequest)
	put(small, compress(t, small), http.StatusCreated)
	for _, coding := range []string{"gzip", "br", "zstd, gzip"} {
		resp, _ := l.doWith(t, "PUT", pathOf(small), bytes.NewReader(small), "Content-Encoding", coding)
		if resp.StatusCode != http.StatusUnsupportedMediaType || resp.Header.Get("Accept-Encoding") != "zstd" {
			t.Errorf("%s: %s %q", coding, resp.Status, resp.Header.Get("Accept-Encoding"))
		}
	}
}

// A small body that would come to much is cut off at the limit, in disk and in
// memory.
func TestZstdBomb(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	l.config.MaxPayload = 1 << 20
	l.config.Limits.Pending = 600_000
	l.start(t)
	zeros := make([]byte, 64<<20)
	for name, test := range map[string]struct {
		content []byte
		max     int64
		want    int
	}{
		"over the limit of an addendum": {zeros, 0, http.StatusRequestEntityTooLarge},
		"over the host's share":         {zeros[:900_000], 600_000, http.StatusTooManyRequests},
	} {
		l.server.pending.max = test.max
		body := compress(t, test.content)
		if len(body)*100 > len(test.content) {
			t.Fatalf("%d bytes: no bomb", len(body))
		}
		resp, b := l.doWith(t, "PUT", pathOf(test.content), bytes.NewReader(body), "Content-Encoding", "zstd")
		if resp.StatusCode != test.want {
			t.Errorf("%s: %s %s, want %d", name, resp.Status, b, test.want)
		}
		if left, err := filepath.Glob(filepath.Join(l.config.Dir, "uploads", "*", "*", "*")); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
	// A frame that wants a window of 128 MiB to be decoded.
	window := compress(t, noise(t, 1000), zstd.WithWindowSize(128<<20), zstd.WithSingleSegment(false))
	header := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3}, window[6:]...)
	resp, b := l.doWith(t, "PUT", pathOf(zeros), bytes.NewReader(header), "Content-Encoding", "zstd")
	if resp.StatusCode != http.StatusBadRequest || !bytes.Contains(b, []byte("window")) {
		t.Errorf("window: %s %s", resp.Status, b)
	}
}

// An upload that creeps is cut off; one that gets on is not, however long it takes.
func TestSlowUpload(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	l.config.Stall = time.Second
	l.start(t)
	content := noise(t, 512<<10)
	path := pathOf(content)
	send := func(step int, pause time.Duration) (status string) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(l.http.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", path, len(content))
		for at := 0; at < len(content); at += step {
			if _, err := conn.Write(content[at:min(at+step, len(content))]); err != nil {
				break // it was cut off
			}
			time.Sleep(pause)
		}
		answer := make([]byte, 12)
		conn.SetReadDeadline(time.Now().Add(patience))
		io.ReadFull(conn, answer)
		return string(answer)
	}
	// 32 KiB would take 3 s at this pace.
	start := time.Now()
	if got := send(1000, 100*time.Millisecond); got == "HTTP/1.1 201" || time.Since(start) > patience {
		t.Errorf("creeping: %q after %s", got, time.Since(start))
	}
	if resp, _ := l.do(t, "HEAD", path, nil); resp.StatusCode != http.StatusNotFound {
		t.Error(resp.Status)
	}
	// Twice as long in all as it may stand still.
	if got := send(20<<10, 80*time.Millisecond); got != "HTTP/1.1 201" {
		t.Errorf("slow and steady: %q", got)
	}
}

// A host has a bounded share of what no entry names. It has room again as soon as
// its entries are in the log.
func TestPendingBytes(t *testing.T) {
	l := closedLedger(t, func(c *Config) { c.Limits.Pending = 5000 })
	h, other := l.enrolHost(t, "h"), l.enrolHost(t, "other")
	mine, _ := l.server.tokens.issue(h.name)
	others, _ := l.server.tokens.issue(other.name)
	put := func(token string, content []byte, want int) {
		t.Helper()
		resp, b := l.as(t, token, "PUT", pathOf(content), content)
		if resp.StatusCode != want {
			t.Fatalf("%d bytes: %s %s, want %d", len(content), resp.Status, b, want)
		}
		if want == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	anchor := l.anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
	put(mine, payload, http.StatusCreated)
	put(mine, anchor.Raw, http.StatusCreated)
	used := len(payload) + len(anchor.Raw)
	rest := bytes.Repeat([]byte("x"), 5000-used)
	put(mine, append(bytes.Clone(rest), 'y'), http.StatusTooManyRequests)
	put(mine, rest, http.StatusCreated)
	put(mine, []byte("z"), http.StatusTooManyRequests)
	put(mine, rest, http.StatusOK)                             // it is there
	put(others, []byte("of another host"), http.StatusCreated) // who has a share of its own
	put(mine, []byte("wrong digest")[:4], http.StatusTooManyRequests)
	if _, err := l.SubmitLeaf(t.Context(), leaf, 0); err != nil {
		t.Fatal(err)
	}
	// Over a restart it is counted anew from the marks.
	l.restart(t)
	put(mine, bytes.Repeat([]byte("y"), used+1), http.StatusTooManyRequests)
	put(mine, bytes.Repeat([]byte("y"), used), http.StatusCreated)
	put(mine, []byte("z"), http.StatusTooManyRequests)
}

// What nobody names is removed after a while, and what was not gone on with; what
// an entry names never.
func TestOrphans(t *testing.T) {
	var clock atomic.Int64
	l := newConfig(t, ledger.GradeSoftware)
	l.config.Now = func() time.Time { return time.Now().Add(time.Duration(clock.Load())) }
	l.start(t)
	h := l.enrolHost(t, "h")
	leaf, _ := l.submit(t, h, "/bin/sh")
	s, err := ledger.ParseSegment(leaf)
	if err != nil {
		t.Fatal(err)
	}
	orphan, asked := []byte("nobody names this"), []byte("somebody asks for this")
	l.upload(t, orphan, asked)
	part := noise(t, 1<<20)
	l.breakOff(t, pathOf(part), part, 500_000, "")
	l.offset(t, pathOf(part), 500_000)
	l.server.tidy()
	l.offset(t, pathOf(part), 500_000)
	clock.Add(int64(DefaultPendingLife + time.Minute))
	if _, found, err := l.HasAddendum(t.Context(), sha256.Sum256(asked)); !found || err != nil {
		t.Fatal(found, err)
	}
	// The marks are read again, and so is who named what.
	l.restart(t)
	if _, found, err := l.HasAddendum(t.Context(), sha256.Sum256(asked)); !found || err != nil {
		t.Fatal(found, err)
	}
	l.server.tidy()
	l.offset(t, pathOf(part), 0)
	for name, want := range map[string]struct {
		digest ledger.Hash
		found  bool
	}{"orphan": {sha256.Sum256(orphan), false}, "asked for": {sha256.Sum256(asked), true}, "payload": {s.Payload.Digest, true}, "anchor": {s.Anchor.Note, true}} {
		if _, found, err := l.HasAddendum(t.Context(), want.digest); found != want.found || err != nil {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
	}
	marks, err := os.ReadDir(filepath.Join(l.config.Dir, "uploads", "pending"))
	if err != nil || len(marks) != 1 {
		t.Errorf("%d marks, %v; want that of the one that was asked for", len(marks), err)
	}
	if n := l.server.pending.bytes["h"]; n != int64(len(asked)) {
		t.Errorf("%d bytes are counted, want %d", n, len(asked))
	}
}

// Uploads, admissions and the removal of what is too old race: nothing that the
// log names is ever removed, and nobody's upload is there and then not.
func TestOrphansRace(t *testing.T) {
	const hosts, rounds = 3, 12
	l := newConfig(t, ledger.GradeSoftware)
	l.config.PendingLife = 5 * time.Millisecond // as long as an upload takes here
	l.start(t)
	done := make(chan struct{})
	var removed atomic.Int64
	var sweeper, wg sync.WaitGroup
	// A host that has lost to the sweeper again and again, on a busy machine, has it
	// wait.
	var sweeping sync.RWMutex
	const patient = 3 // attempts
	sweeper.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			sweeping.Lock()
			n, err := l.server.pending.sweep(l.server.addenda.Delete, l.server.withheld)
			sweeping.Unlock()
			if err != nil {
				t.Error(err)
			}
			removed.Add(int64(n))
		}
	})
	for i := range hosts {
		h := l.enrolHost(t, fmt.Sprint("h", i))
		wg.Go(func() {
			for round := range rounds {
				anchor := l.anchor(t)
				leaf, payload := h.segment(t, testOrigin, anchor, fmt.Sprintf("/bin/%d-%d", i, round))
				submit := func() error {
					l.upload(t, payload, anchor.Raw)
					_, err := l.SubmitLeaf(t.Context(), leaf, 0)
					return err
				}
				for try := 0; ; try++ {
					if try >= patient {
						sweeping.RLock()
					}
					err := submit()
					if try >= patient {
						sweeping.RUnlock()
					}
					if err == nil {
						break
					}
					// The sweeper was quicker. It would have had to wait for a day.
					var p *client.Problem
					if !errors.As(err, &p) || len(p.Missing) == 0 || try > 10*patient {
						t.Errorf("%v", err)
						return
					}
				}
				h.took(leaf)
			}
		})
	}
	wg.Wait()
	close(done)
	sweeper.Wait()
	time.Sleep(2 * l.config.PendingLife)
	if _, err := l.server.pending.sweep(l.server.addenda.Delete, l.server.withheld); err != nil {
		t.Error(err)
	}
	if removed.Load() == 0 {
		t.Error("nothing was removed: the test tests nothing")
	}
	size, err := l.server.log.reader.IntegratedSize(t.Context())
	if err != nil || size != hosts*(rounds+1) {
		t.Fatalf("%d entries, %v", size, err)
	}
	for i := range size {
		raw, err := l.server.log.entry(t.Context(), i, size)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := ledger.ParseEntry(raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, digest := range entry.Addenda() {
			if _, found, err := l.server.addenda.Size(digest); !found || err != nil {
				t.Errorf("entry %d names %x, which is gone (%v)", i, digest[:6], err)
			}
		}
	}
	t.Logf("%d removed", removed.Load())
}

// An addendum that comes to two front ends at once, and whose entry comes to the
// other one and is read here before this upload ends, is not pending here: it would be
// removed some day, and the entry would lack it.
func TestStoredElsewhere(t *testing.T) {
	p, err := openPending(t.TempDir(), 0, time.Hour, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	digest := ledger.Hash{1}
	upload := func(meanwhile func()) {
		t.Helper()
		release := p.claim(digest)
		defer release()
		if err := errors.Join(p.grow("h", 10), p.mark(digest, "h", 10)); err != nil {
			t.Fatal(err)
		}
		meanwhile()
		p.stored(digest, "h", 10)
	}
	upload(func() {
		if err := p.named(digest); err != nil {
			t.Fatal(err)
		}
	})
	if files, err := os.ReadDir(p.dir); len(p.marks) > 0 || p.total() != 0 || err != nil || len(files) > 0 {
		t.Errorf("marks %v, %v bytes, files %v, %v", p.marks, p.total(), files, err)
	}
	upload(func() {})
	if len(p.marks) != 1 || p.total() != 10 {
		t.Errorf("marks %v, %v bytes", p.marks, p.total())
	}
}
