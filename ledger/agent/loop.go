package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"time"
)

// A Schedule says when a segment is due. Whichever comes first.
type Schedule struct {
	Interval time.Duration // since the last round
	Poll     time.Duration // how often the kernel is asked for its number of records
	Records  uint64        // that no segment has yet
	Bytes    int64         // of such records
}

// Limits of the loop.
const (
	firstRetry = 2 * time.Second // doubled with each failure, up to the interval
	// LastRound is how long the round may take that is made before the agent ends.
	LastRound = 45 * time.Second
)

// Run makes rounds until the context ends: one at once, since the agent starts
// after a boot, and then by the schedule and by each wake. A round that fails is
// tried again, later each time. Before Run returns it makes a last round, so that
// what the kernel lists until a reboot is sealed as far as it can be.
//
// after is called after each round.
func (a *Agent) Run(ctx context.Context, s Schedule, wake <-chan os.Signal, after func(error)) {
	var failures int
	round := func(ctx context.Context) {
		a.due = a.dueWhile(s)
		err := a.Once(ctx)
		if failures++; err == nil {
			failures = 0
		}
		after(err)
	}
	round(ctx)
	for {
		due := time.Now().Add(a.pause(s, failures))
		for ctx.Err() == nil && time.Now().Before(due) {
			select {
			case <-ctx.Done():
			case <-wake:
				failures, due = 0, time.Time{}
			case <-time.After(min(s.Poll, time.Until(due))):
				if reached, err := a.Due(s); reached || err != nil && failures == 0 {
					due = time.Time{}
				}
			}
		}
		if ctx.Err() != nil {
			break
		}
		round(ctx)
	}
	// The context that ended would end the last round as well.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), LastRound)
	defer cancel()
	a.Logger.Info("agent: the last round")
	round(last)
}

// dueWhile returns what a round asks between two submissions: whether it is to leave the
// rest to the next round, since a segment is due. A ledger that was away for a month may
// take hours to be given all, in which the kernel must be read, and the rest sealed.
func (a *Agent) dueWhile(s Schedule) func() bool {
	begun := time.Now()
	polled := begun
	return func() bool {
		if time.Since(polled) < s.Poll {
			return false
		}
		polled = time.Now()
		reached, err := a.Due(s)
		return err == nil && reached || time.Since(begun) >= s.Interval
	}
}

// pause returns how long to wait for the next round, if nothing else happens.
func (a *Agent) pause(s Schedule, failures int) time.Duration {
	if failures == 0 && a.more {
		return 0
	}
	if failures == 0 {
		return s.Interval
	}
	d := firstRetry << min(failures-1, 20)
	d = min(d, s.Interval)
	// Many hosts that lost one ledger must not come back to it all at once.
	return d/2 + rand.N(d/2+1)
}

// Due reads what the kernel has listed, so that the exported list is as new as
// the last poll, and reports whether that is enough for a segment. An error says
// that a round is needed to find out.
func (a *Agent) Due(s Schedule) (bool, error) {
	boot, err := a.BootID()
	if err != nil || !a.begun() || boot != a.spool.state.Boot {
		return false, errors.Join(err, errNewKernel)
	}
	count, err := a.Kernel.Count()
	if err != nil {
		return false, err
	}
	full, err := a.spoolFull()
	if err != nil || full {
		return false, err // a round says so
	}
	if at := a.spool.state; count != at.Records-at.KernelRecord-at.StagedRecords {
		if err := a.readKernel(); err != nil {
			return false, err
		}
	}
	at, end := a.spool.state, endOf(a.chain.last, a.chain.lastPlace)
	return at.Records-end.Record >= s.Records || at.Bytes-end.Offset >= s.Bytes, nil
}

var errNewKernel = errors.New("the kernel's list was not taken in yet")
