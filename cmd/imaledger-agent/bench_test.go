package main

import (
	"errors"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// BenchmarkSegment is a segment of 1,000 records, from the list to its deletion,
// with swtpm, a ledger and two witnesses in this process: where the time goes, in
// milliseconds.
func BenchmarkSegment(b *testing.B) {
	w := newWorldOf(b, newFakeKernelOf(b, securityfs.Staging, newSwtpm(b)))
	took := make(map[string]time.Duration)
	var last time.Time
	w.change = func(c *agent.Config) {
		c.Logger, c.SpoolLimit = slog.New(slog.DiscardHandler), 1<<30
		c.Step = func(step string) {
			now := time.Now()
			took[step] += now.Sub(last)
			last = now
		}
	}
	c := w.config()
	a, err := agent.New(c)
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	round := func() {
		last = time.Now()
		if err := a.Once(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	round()
	clear(took)
	n := 0
	for b.Loop() {
		b.StopTimer()
		w.kernel.measure(1000)
		b.StartTimer()
		round()
		n++
	}
	if last, _ := w.newestSegments(); last == nil || last.Join.Kind != ledger.JoinContinues || last.Count != 1000 {
		b.Fatalf("%s of %d records, want 1000", last.Join, last.Count)
	}
	for _, step := range []string{"staged", "quoted", "read", "written", "appended", "spooled", "uploaded", "submitted", "receipted", "deleted"} {
		b.ReportMetric(float64(took[step].Microseconds())/1000/float64(n), step+"-ms")
	}
}

// BenchmarkIdle is what an agent costs that has nothing to do: a poll, and a round.
func BenchmarkIdle(b *testing.B) {
	for _, kind := range []string{"poll", "round"} {
		b.Run(kind, func(b *testing.B) {
			w := newWorldOf(b, newFakeKernel(b, securityfs.Staging))
			w.change = func(c *agent.Config) { c.Logger = slog.New(slog.DiscardHandler) }
			a, err := agent.New(w.config())
			if err != nil {
				b.Fatal(err)
			}
			defer a.Close()
			if err := a.Once(b.Context()); err != nil {
				b.Fatal(err)
			}
			before := cpu(b)
			for b.Loop() {
				if kind == "round" {
					err = a.Once(b.Context())
				} else if due, dueErr := a.Due(agent.Schedule{Records: 1, Bytes: 1}); due {
					err = errors.New("a segment is due")
				} else {
					err = dueErr
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// cpu returns the processor time of this process.
func cpu(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
