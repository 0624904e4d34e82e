//go:build figures

package ledger

import (
	"runtime"
	"slices"
	"testing"
	"time"
)

// maxBesideTorchwood is what a receipt may take of torchwood's time.
const maxBesideTorchwood = 1.1

// TestFigures: a receipt of a log of 2^20 entries with 2 of 3 witnesses, beside
// torchwood, which makes the same checks: three signatures and twenty hashes.
// Turn by turn, so that what else the machine does slows down both.
func TestFigures(t *testing.T) {
	s := newReceiptSample(t)
	const turns, each = 400, 10
	timed := func(f func() error) time.Duration {
		start := time.Now()
		for range each {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(start) / each
	}
	var ours, theirs, bare []time.Duration
	for range turns {
		ours, theirs, bare = append(ours, timed(s.verify)), append(theirs, timed(s.torchwood)), append(bare, timed(s.signatures))
	}
	for _, l := range [][]time.Duration{ours, theirs, bare} {
		slices.Sort(l)
	}
	// The quickest tenth is what the code takes; the rest is what else ran.
	at := turns / 10
	ratio := float64(ours[at]) / float64(theirs[at])
	t.Logf("a receipt of 2^20 leaves, 2 of 3, on %d processors: ours %v, torchwood %v (%.2f of it), its three signatures alone %v; medians %v, %v, %v",
		runtime.GOMAXPROCS(0), ours[at], theirs[at], ratio, bare[at], ours[turns/2], theirs[turns/2], bare[turns/2])
	t.Logf("the three signatures alone are %.2f of torchwood's time: no reader that makes the same checks with crypto/ed25519 is below that", float64(bare[at])/float64(theirs[at]))
	if ratio > maxBesideTorchwood {
		t.Errorf("%.2f of torchwood's time, promised is %.2f", ratio, maxBesideTorchwood)
	}
}
