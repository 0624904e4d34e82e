package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/ledger/carry"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

var schedule = agent.Schedule{Interval: 10 * time.Minute, Poll: 30 * time.Second, Records: 100, Bytes: 1 << 20}

// carried is a world whose host has all its receipts in a folder, so that a round
// needs no network.
func carried(t *testing.T) (w *world, stick string) {
	t.Helper()
	w, stick = newWorld(t, securityfs.Staging), filepath.Join(t.TempDir(), "stick")
	w.change = func(c *agent.Config) {
		c.Ledger, c.Logger = &carry.Folder{Dir: stick}, slog.New(slog.DiscardHandler)
	}
	for range 2 {
		w.once("") // waits
		w.submitFolder(stick)
	}
	w.round()
	return w, stick
}

// TestIdle: in an hour in which nothing is listed, the kernel is asked as often as
// configured, and no oftener; at 100 records a round begins with the next poll.
func TestIdle(t *testing.T) {
	w, _ := carried(t)
	a := w.running()
	var asked []time.Time
	w.kernel.onCount = func() { asked = append(asked, time.Now()) }
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var rounds []time.Time
		begun := time.Now()
		ended := make(chan struct{})
		go func() {
			a.Run(ctx, schedule, nil, func(err error) {
				rounds = append(rounds, time.Now())
				if err != nil {
					t.Error(err)
				}
			})
			close(ended)
		}()
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if len(rounds) != 7 || rounds[6].Sub(begun) != time.Hour {
			t.Errorf("%d rounds in an hour, want one at once and six: %v", len(rounds), rounds)
		}
		if n := len(asked); n < 120 || n > 120+2*7 {
			t.Errorf("the kernel was asked %d times in an hour, want 120 polls and 7 rounds", n)
		}
		cancel()
		<-ended
		if len(rounds) != 8 {
			t.Errorf("%d rounds, want a last one", len(rounds))
		}
	})
}

// TestTriggers: a number of records and a number of bytes begin a round with the next
// poll, and a signal at once.
func TestTriggers(t *testing.T) {
	for _, trigger := range []struct {
		name   string
		change func(*agent.Schedule)
		signal bool
		after  time.Duration
	}{
		{"records", func(s *agent.Schedule) { s.Records = 40 }, false, 30 * time.Second},
		{"bytes", func(s *agent.Schedule) { s.Bytes = 40 * 100 }, false, 30 * time.Second},
		{"signal", func(*agent.Schedule) {}, true, 0},
		{"nothing", func(*agent.Schedule) {}, false, 10 * time.Minute},
	} {
		w, _ := carried(t)
		a := w.running()
		s := schedule
		trigger.change(&s)
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			rounds, wake, ended := make(chan time.Time, 10), make(chan os.Signal, 1), make(chan struct{})
			go func() {
				n := 0
				a.Run(ctx, s, wake, func(error) {
					if n++; n == 1 { // here, where the agent does not look at the kernel
						w.kernel.measure(50)
					}
					rounds <- time.Now()
				})
				close(ended)
			}()
			first := <-rounds
			if trigger.signal {
				wake <- os.Interrupt
			}
			if second := <-rounds; second.Sub(first) != trigger.after {
				t.Errorf("%s: a round after %s, want %s", trigger.name, second.Sub(first), trigger.after)
			}
			cancel()
			<-ended
		})
	}
}

// noLedger is away.
type noLedger struct{ agent.Ledger }

func (noLedger) Checkpoint(context.Context) ([]byte, error) { return nil, io.ErrUnexpectedEOF }

func (noLedger) SubmitLeaf(context.Context, []byte, time.Duration) (*client.Accepted, error) {
	return nil, &client.Problem{Status: http.StatusServiceUnavailable}
}

// TestBackoff: a ledger that is away is asked later each time, at most by the
// interval, and at no time that many hosts would share.
func TestBackoff(t *testing.T) {
	w, _ := carried(t)
	w.kernel.measure(3)
	w.change = func(c *agent.Config) {
		c.Ledger, c.Logger = noLedger{&carry.Folder{Dir: t.TempDir()}}, slog.New(slog.DiscardHandler)
	}
	a := w.running()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		rounds, ended := make(chan time.Time), make(chan struct{})
		go func() {
			a.Run(ctx, schedule, nil, func(error) {
				select {
				case rounds <- time.Now():
				case <-ctx.Done():
				}
			})
			close(ended)
		}()
		last, whole := <-rounds, 0
		for i := range 30 {
			now := <-rounds
			most := min(2*time.Second<<i, schedule.Interval)
			if pause := now.Sub(last); pause < most/2 || pause > most {
				t.Errorf("pause %d is %s, want half of %s to all of it", i, pause, most)
			} else if pause == most || pause == most/2 {
				whole++
			}
			last = now
		}
		if whole > 10 {
			t.Errorf("%d of 30 pauses have no jitter", whole)
		}
		cancel()
		<-ended
	})
	if n := w.kernel.held(); n != 3 {
		t.Errorf("%d records are in the kernel, want 3", n)
	}
}

// slowLedger takes its time with each entry.
type slowLedger struct {
	agent.Ledger
	takes time.Duration
}

func (l slowLedger) SubmitLeaf(ctx context.Context, entry []byte, wait time.Duration) (*client.Accepted, error) {
	time.Sleep(l.takes)
	return l.Ledger.SubmitLeaf(ctx, entry, wait)
}

// TestBacklog: a ledger that was away for long is back, and it takes hours until it has
// all that waited. The kernel is read meanwhile as often as ever, what is new is sealed
// when it is due, and what has its receipt is deleted.
func TestBacklog(t *testing.T) {
	w, stick := carried(t)
	const backlog = 40
	for range backlog {
		w.kernel.measure(1)
		w.once("") // waits
	}
	w.submitFolder(stick)
	w.change = func(c *agent.Config) {
		c.Ledger, c.Logger = slowLedger{&carry.Folder{Dir: stick}, time.Minute}, slog.New(slog.DiscardHandler)
	}
	a := w.running()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begun := time.Now()
		read, longest := begun, time.Duration(0)
		w.kernel.onCount = func() {
			longest, read = max(longest, time.Since(read)), time.Now()
		}
		var most int
		ended := make(chan struct{})
		go func() {
			rounds := 0
			a.Run(ctx, schedule, nil, func(error) {
				if rounds++; rounds == 1 {
					w.kernel.measure(150) // enough for a segment
				}
				if rounds == 3 {
					most = a.Status().Pending
				}
			})
			close(ended)
		}()
		time.Sleep(backlog * time.Minute)
		cancel()
		<-ended
		if longest > 2*time.Minute {
			t.Errorf("the kernel was not looked at for %s", longest)
		}
		if most == 0 || most > backlog-10 {
			t.Errorf("%d entries wait after three rounds", most)
		}
		if last, _ := w.newestSegments(); last.Count != 150 {
			t.Errorf("the newest segment has %d records, want the 150 that came meanwhile", last.Count)
		}
	})
	if n := w.kernel.held(); n > 150 {
		t.Errorf("%d records are in the kernel", n)
	}
}
