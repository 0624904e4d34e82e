package server

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// The ledger's own clock jumps, decades forth and back, under load: nothing is
// lost, nobody is refused, nothing is erased.
func TestClockJumps(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	l := newConfig(t, ledger.GradeSoftware)
	var ahead atomic.Int64
	l.config.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	l.config.Eraser, l.config.EraseInterval = l.operator, 20*time.Millisecond
	l.start(t)
	l.mustState(t, &ledger.Retention{Log: testOrigin, Policy: 1, Days: 1, Statement: "a day", Time: 1})
	w := startLoad(t, l, 5)
	// A jump of this clock is one of the monotonic clock too, by which real sessions
	// go: an enrolment would have to begin again.
	for w.acks() < 40 {
		time.Sleep(10 * time.Millisecond)
	}
	jumps := 0
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); jumps++ {
		ahead.Store(random.Int64N(int64(40*365*day)) - int64(20*365*day))
		time.Sleep(10 * time.Millisecond)
	}
	w.end()
	l.kill()
	time.Sleep(50 * time.Millisecond)
	if w.faults() > 0 {
		t.Errorf("%d requests failed", w.faults())
	}
	if acked := w.check(t, l.config); acked < 20 {
		t.Fatalf("only %d entries were acknowledged: the test has tested nothing", acked)
	}
	if r := mustCheck(t, l.config.Dir, l.config.Trust); r.Erased != 0 {
		t.Errorf("%d segments were erased", r.Erased)
	}
	t.Logf("%d jumps", jumps)
}
