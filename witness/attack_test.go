package witness

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// postQuantum gives a log an ML-DSA-44 key in place of its own.
func postQuantum(t testing.TB, log *testLog) *testLog {
	t.Helper()
	skey, vkey, err := f_note.GenerateMLDSAKey(log.origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := f_note.NewMLDSASigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	log.vkey, log.signer = vkey, signer
	return log
}

// An ML-DSA-44 signature does not cover extension lines: whoever sees a log's
// checkpoint could write some below it, have them cosigned, and have monitors
// read them as the log's word.
func TestExtensionLinesOfStrangers(t *testing.T) {
	pq, ed := postQuantum(t, newTestLog(t, testOrigin)), newTestLog(t, testOrigin)
	w := start(t, testConfig(t, pq, ed))
	want(t, w, 200, pq.body(t, 0, 7))
	text := pq.text(pq.tree, 7)
	line := lastLine(sign(t, text, pq.signer))
	want(t, w, 403, "old 7\n\n"+text+"pwned\n\n"+line)
	if served := get(w, "/"+originHash(testOrigin)+"/checkpoint").Body.String(); strings.Contains(served, "pwned") {
		t.Errorf("monitors are shown\n%s", served)
	}
	// Where the log's Ed25519 signature covers them, both may be there.
	extended := text + "extension\n"
	want(t, w, 200, "old 7\n\n"+sign(t, extended, ed.signer)+lastLine(sign(t, text, pq.signer)))
}

// A key that is taken out of use leaves what it cosigned behind: logs that have
// been silent since have no cosignature of the key that is left.
func TestRetiredKey(t *testing.T) {
	silent, log := newTestLog(t, "log.example/silent"), newTestLog(t, testOrigin)
	c := twoKeys(t, silent, log)
	post := c.Keys[1]
	c.Keys = c.Keys[:1]
	w := start(t, c)
	want(t, w, 200, silent.body(t, 0, 7))
	want(t, w, 200, log.body(t, 0, 7))
	w.Close()

	owner := filepath.Join(c.Dir, keyFile)
	write(t, owner, append(read(t, owner), post.VKey()+"\n"...))
	c.Keys = append(c.Keys, post)
	w = start(t, c)
	want(t, w, 200, log.body(t, 7, 12))
	w.Close()

	c.Keys = []*Key{post}
	w = start(t, c)
	want(t, w, 422, silent.bodyOf(t, silent.fork, 7, 9))
	if got := want(t, w, 200, silent.body(t, 7, 9)); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "— "+post.Name()+" ") {
		t.Errorf("cosigned by %q", got)
	}
	// The retired key's time binds, too.
	w.Close()
	c.Now = func() time.Time { return testTime.Add(-time.Hour) }
	want(t, start(t, c), 503, log.body(t, 12, 13))
}

// Of a key whose state and fence are both gone nothing says that it is old, but
// the operator, who must say that it is new.
func TestOldKeyWithNothing(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := testConfig(t, log)
	c.Dir = filepath.Join(t.TempDir(), "state")
	c.Expect = ExpectUsed
	if _, err := New(c); !errors.Is(err, ErrNoState) {
		t.Fatalf("%v", err)
	}
	c.Expect = ExpectNew
	w := start(t, c)
	want(t, w, 200, log.body(t, 0, 7))
	w.Close()
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "the key is called new") {
		t.Errorf("%v", err)
	}
	c.Expect = ExpectUsed
	w = start(t, c)
	want(t, w, 422, log.bodyOf(t, log.fork, 7, 7))
	w.Close()
	for _, gone := range []string{c.Dir, c.Dir + fenceExt} {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
		if _, err := New(c); err == nil {
			t.Errorf("started without %s", gone)
		}
	}
}

// A key whose maker left the word for it starts without a state, once.
func TestNewKey(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := testConfig(t, log)
	c.Dir, c.Expect = filepath.Join(t.TempDir(), "state"), ExpectUsed
	fence := c.Dir + fenceExt
	write(t, fence, []byte(NewFence+"\n"))
	w := start(t, c)
	want(t, w, 200, log.body(t, 0, 7))
	w.Close()
	if _, err := parseFence(read(t, fence)); err != nil {
		t.Errorf("the word is no fence yet: %v", err)
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("started from nothing: %v", err)
	}
	// Nor does the word make a state new that is there.
	c.Dir = filepath.Join(t.TempDir(), "state")
	fence = c.Dir + fenceExt
	write(t, fence, []byte(NewFence))
	start(t, c).Close()
	write(t, fence, []byte(NewFence))
	if _, err := New(c); err == nil {
		t.Error("a state that somebody called new")
	}
}

// Anyone can send a log's checkpoint with as much beside it as a request may have.
// What the witness remembers of a log does not grow by it.
func TestMemoryOfLargeRequests(t *testing.T) {
	const logs = 64
	var all []*testLog
	for i := range logs {
		all = append(all, newTestLog(t, fmt.Sprintf("log.example/%d", i)))
	}
	w := start(t, testConfig(t, all...))
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	junk := ""
	for i := range 20 {
		junk += fmt.Sprintf("— w%d.example %s\n", i, base64.StdEncoding.EncodeToString(make([]byte, 9000)))
	}
	for _, l := range all {
		want(t, w, 200, l.body(t, 0, 7))
	}
	before := heap()
	for _, l := range all {
		want(t, w, 200, l.body(t, 7, 9)+junk)
		want(t, w, 200, l.body(t, 9, 9)+junk)
		want(t, w, 409, l.body(t, 3, 9)+junk)
	}
	grown := int64(heap()) - int64(before)
	if each := grown / logs; each > 4<<10 {
		t.Errorf("%d bytes more for each log, after requests of %d bytes", each, len(junk))
	}
	runtime.KeepAlive(w)
}

// A hundred copies of one signature are verified once: who sends them must not
// have a hundred verifications for the price of one request.
func TestRepeatedSignatures(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := testConfig(t, log)
	counting := &countingVerifier{Verifier: c.Logs[0].Keys[0].Verifier}
	c.Logs[0].Keys[0].Verifier = counting
	w := start(t, c)
	body := log.body(t, 0, 7)
	want(t, w, 200, body+strings.Repeat(lastLine(body), maxSignatures-1))
	if n := counting.n.Load(); n != 1 {
		t.Errorf("verified %d times", n)
	}
}

type countingVerifier struct {
	note.Verifier
	n atomic.Int64
}

func (v *countingVerifier) Verify(msg, sig []byte) bool {
	v.n.Add(1)
	return v.Verifier.Verify(msg, sig)
}
