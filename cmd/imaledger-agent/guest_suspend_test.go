//go:build guest

package main

import (
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/guest"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/tpm/quote"
)

// restarts is the TPM's restartCount in the host's newest segment.
func (h *host) restarts() uint32 {
	h.t.Helper()
	segments, _ := h.evidence()
	q, err := quote.Parse(segments[len(segments)-1].Attest)
	h.must(err)
	return q.RestartCount
}

// TestGuestSuspend: the whole machine is suspended to memory, where TestGuestSleep
// takes down the TPM alone: between two agents, and under one that runs and has its key
// in the TPM. Debian's kernel can suspend, the other one has no power management.
func TestGuestSuspend(t *testing.T) {
	kernels, err := guest.Kernels()
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, byCertificate)
	h := s.newHost(t, kernels[1], "suspend.example")
	h.boot()
	h.measure(4)
	h.round()
	was := h.restarts()
	h.measure(2)
	h.look()
	h.must(h.Suspend())
	h.measure(2)
	h.round()
	h.check(expected{sealed: true})

	h.measure(1)
	h.look()
	pid := h.start("--interval", "1h", "--poll", "1s", "--records", "3")
	h.await("the first round", func(s agent.Status) bool { return s.Receipted == 10 })
	h.measure(1)
	h.look()
	h.must(h.Suspend())
	h.measure(3)
	h.look()
	h.await("a round after the machine slept", func(s agent.Status) bool { return len(s.Problems) == 0 && s.Receipted == 14 })
	h.stop(pid)
	h.check(expected{sealed: true})
	if is := h.restarts(); is != was+2 {
		t.Errorf("the TPM's restartCount went from %d to %d: it did not sleep twice", was, is)
	}
}
