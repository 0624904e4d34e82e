package witness

import (
	"strings"
	"testing"
	"time"
)

func TestRestartKeepsTheState(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := testConfig(t, log)
	w := start(t, c)
	want(t, w, 200, log.body(t, 0, 7))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, w, 500, log.body(t, 7, 8)) // closed
	w = start(t, c)
	want(t, w, 422, log.bodyOf(t, log.fork, 7, 12))
	if got := want(t, w, 409, log.body(t, 0, 12)); got != "7\n" {
		t.Errorf("size after a restart: %q", got)
	}
	want(t, w, 200, log.body(t, 7, 12))
}

func TestDirectoryHasOneUserAndOneKey(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := testConfig(t, log)
	w := start(t, c)
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "another witness is using it") {
		t.Errorf("second witness on the directory: %v", err)
	}
	want(t, w, 200, log.body(t, 0, 7))
	w.Close()
	other := c
	other.Keys = []*Key{testKey(t, c.Keys[0].Name())}
	if _, err := New(other); err == nil || !strings.Contains(err.Error(), "belongs to the witness") {
		t.Errorf("another key on the directory: %v", err)
	}
	start(t, c) // neither refusal kept the lock
}

// A cosignature says that the tree was the largest as of its time, so that the
// times of one log's may not go back; other logs are not concerned.
func TestClock(t *testing.T) {
	log, other := newTestLog(t, testOrigin), newTestLog(t, "log.example/other")
	c := testConfig(t, log, other)
	now := testTime
	c.Now = func() time.Time { return now }
	w := start(t, c)
	want(t, w, 200, log.body(t, 0, 7))
	now = testTime.Add(-time.Second)
	want(t, w, 503, log.body(t, 7, 12))
	want(t, w, 503, log.body(t, 7, 7))
	want(t, w, 200, other.body(t, 0, 7))
	now = testTime.Add(time.Second)
	want(t, w, 200, log.body(t, 7, 12))
	for _, bad := range []int64{0, -1} {
		now = time.Unix(bad, 0)
		c := testConfig(t, log)
		c.Now = func() time.Time { return now }
		want(t, start(t, c), 503, log.body(t, 0, 7))
	}
}

// A cosignature's time is not forgotten with the process, where the cosignature
// itself needed no writing.
func TestClockAfterRestart(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := testConfig(t, log)
	now := testTime
	c.Now = func() time.Time { return now }
	w := start(t, c)
	want(t, w, 200, log.body(t, 0, 7))
	now = testTime.Add(time.Hour)
	want(t, w, 200, log.body(t, 7, 7))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	now = testTime.Add(time.Minute)
	w = start(t, c)
	want(t, w, 503, log.body(t, 7, 12))
	now = testTime.Add(time.Hour)
	want(t, w, 200, log.body(t, 7, 12))
}
