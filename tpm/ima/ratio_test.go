//go:build !race

package ima

import (
	"bytes"
	"testing"
	"time"
)

// TestReplaySpeed: at least 70 % of the speed of the bare hashing, measured in
// turn in one run; the best of each counts, until the machine has been quiet once.
func TestReplaySpeed(t *testing.T) {
	list := readFile(t, recordings+"big-7.3/cut1/binary_runtime_measurements")
	all := readAll(t, list, Format{Bank: SHA1})
	best := func(d *time.Duration, f func()) {
		start := time.Now()
		f()
		if took := time.Since(start); *d == 0 || took < *d {
			*d = took
		}
	}
	var bare, replay time.Duration
	ratio := 0.0
	for n, start := 0, time.Now(); n < 10 || ratio < 0.7 && time.Since(start) < time.Minute; n++ {
		best(&bare, func() { bareHashing(all) })
		best(&replay, func() { replayAll(t, bytes.NewReader(list)) })
		ratio = float64(bare) / float64(replay)
	}
	t.Logf("bare hashing %v, replay %v: %.0f %% of its speed", bare, replay, 100*ratio)
	if ratio < 0.7 {
		t.Errorf("replay has %.0f %% of the speed of the hashing it must do, want 70 %%", 100*ratio)
	}
}
