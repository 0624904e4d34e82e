//go:build guest

package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/guest"
	"github.com/imaledger/imaledger/ledger/agent"
)

// start runs the agent in the background.
func (h *host) start(flags ...string) (pid int) {
	h.t.Helper()
	return h.call(h.confined(guest.Request{Op: guest.OpStart, Path: "/tmp/agent.log", Args: append([]string{"/bin/imaledger-agent", "run"}, flags...)})).PID
}

func (h *host) stop(pid int) {
	h.t.Helper()
	h.call(guest.Request{Op: guest.OpSignal, PID: pid, Number: int(syscall.SIGTERM)})
	if r := h.call(guest.Request{Op: guest.OpWait, PID: pid}); r.Code != 0 {
		h.t.Errorf("run: exit %d\n%s", r.Code, h.log())
	}
}

func (h *host) log() string {
	h.t.Helper()
	return string(h.call(guest.Request{Op: guest.OpRead, Path: "/tmp/agent.log"}).Stdout)
}

// await waits for a status.
func (h *host) await(what string, f func(agent.Status) bool) {
	h.t.Helper()
	var last agent.Status
	if !guest.Wait(guest.Patience, func() bool {
		r := h.call(guest.Request{Op: guest.OpRun, Args: []string{"/bin/imaledger-agent", "status"}})
		if strings.Contains(string(r.Stderr), "no status") {
			return false
		}
		last = h.status()
		return f(last)
	}) {
		h.t.Fatalf("%s: it did not come: %+v\n%s", what, last, h.log())
	}
	h.look()
}

// TestGuestRun: the loop. A round begins at the start, at a number of records, and
// at a signal; the end of the agent seals what is left, so that a kexec which
// loses the list loses nothing.
func TestGuestRun(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, byCertificate)
		h := s.newHost(t, k, "run.example")
		h.boot()
		h.measure(5)
		h.look()
		pid := h.start("--interval", "1h", "--poll", "1s", "--records", "20", "--metrics", "/tmp/agent.prom")
		h.await("the first round", func(s agent.Status) bool { return s.Receipted == 6 })
		h.measure(10)
		h.look()
		h.measure(15)
		h.look()
		h.await("20 records", func(s agent.Status) bool { return s.Receipted == 31 })
		h.measure(3)
		h.look()
		if code, out, _ := h.agent("resume"); code != 0 || !strings.Contains(out, "makes a round now") {
			t.Errorf("resume: exit %d %s", code, out)
		}
		h.await("a signal", func(s agent.Status) bool { return s.Receipted == 34 })
		if metrics := string(h.call(guest.Request{Op: guest.OpRead, Path: "/tmp/agent.prom"}).Stdout); !strings.Contains(metrics, "\nimaledger_agent_receipted_records 34\n") {
			t.Errorf("metrics:\n%s", metrics)
		}
		if code, _, stderr := h.agent("once"); code != 3 || !strings.Contains(stderr, "another agent runs") {
			t.Errorf("a second agent: exit %d %s", code, stderr)
		}
		h.measure(4)
		h.look()
		h.stop(pid)
		h.check(expected{sealed: true})
		h.kexec(false)
		h.measure(2)
		h.round()
		h.measure(2)
		h.round()
		// All that the kernel lost was sealed, and its new list goes on behind it.
		h.check(expected{sealed: true})
	})
}

// TestGuestDisk: the agent's disk is full, and then read-only. Nothing leaves the
// kernel, the status says what to do, and then it goes on. The disk is in memory,
// as a diskless host has it: the next boot goes on from what the log has.
func TestGuestDisk(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, byCertificate)
		h := s.newHost(t, k, "disk.example")
		mount := func(options string, flags uintptr) {
			h.call(guest.Request{Op: guest.OpMount, Path: agentDir, Text: options, Number: int(flags)})
		}
		h.boot()
		mount("mode=0700,size=128k", 0)
		h.measure(20)
		h.round()
		pid := h.start("--interval", "1h", "--poll", "1s", "--records", "200")
		h.await("the first round", func(s agent.Status) bool { return len(s.Problems) == 0 && s.Receipted == 21 })
		for size := 64 << 10; size >= 4<<10; size /= 2 {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%s/filler-%d-%d", agentDir, size, i)
				if _, err := h.Call(guest.Request{Op: guest.OpWrite, Path: name, Data: make([]byte, size)}); err != nil {
					break
				}
			}
		}
		h.measure(100)
		h.look()
		h.measure(150)
		h.look()
		h.await("a full disk", func(s agent.Status) bool {
			return len(s.Problems) > 0 && strings.Contains(s.Problems[0].Error, "no space left") && strings.Contains(s.Problems[0].Mend, "make room")
		})
		if left := h.kernelRecords(); k.Staging && left < 250 {
			t.Errorf("%d records are in the kernel, want 250", left)
		}
		mount("size=8m", syscall.MS_REMOUNT)
		if code, out, stderr := h.agent("resume"); code != 0 {
			t.Errorf("resume: exit %d %s %s", code, out, stderr)
		}
		h.await("room", func(s agent.Status) bool { return len(s.Problems) == 0 && s.Receipted == 271 })
		h.stop(pid)
		h.check(expected{sealed: true})

		mount("", syscall.MS_REMOUNT|syscall.MS_RDONLY)
		h.measure(3)
		h.fails("read-only")
		mount("", syscall.MS_REMOUNT)
		h.round()
		h.check(expected{sealed: true})
		before := len(h.boots)
		h.reboot()
		mount("mode=0700,size=8m", 0)
		h.measure(4)
		h.round()
		if segments := h.status().Segments; len(h.boots) != before+1 || segments < 5 {
			t.Errorf("the chain has %d entries: it did not go on", segments)
		}
	})
}
