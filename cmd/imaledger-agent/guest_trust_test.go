//go:build guest

package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/guest"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/ledger/client"
)

// TestGuestFork: a log and its witnesses that go back to an older state and sign
// another history from there. The agent keeps its records, and the two
// checkpoints that prove it.
func TestGuestFork(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, byCertificate)
		h := s.newHost(t, k, "fork.example")
		h.boot()
		h.measure(5)
		h.round()
		before, err := s.client.Checkpoint(t.Context())
		h.must(err)
		fork := s.fork()
		h.measure(5)
		h.round()

		// An older checkpoint.
		s.answer(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/checkpoint" {
				w.Write(before)
			}
			return r.URL.Path == "/checkpoint"
		})
		h.measure(5)
		h.fails("gave one of size")
		held := h.kernelRecords()

		// Another history, that is longer.
		s.answer(func(w http.ResponseWriter, r *http.Request) bool { fork.ServeHTTP(w, r); return true })
		other := s.newHost(t, k, "other.example")
		other.boot()
		for range 3 {
			other.measure(2)
			other.round()
		}
		other.Kill()
		h.measure(1)
		if code, _, stderr := h.agent("once"); code != 1 || !strings.Contains(stderr, "two histories") {
			t.Errorf("once: exit %d\n%s", code, stderr)
		}
		if left := h.kernelRecords(); k.Staging && left < held {
			t.Errorf("%d records are in the kernel, there were %d", left, held)
		}
		s.answer(nil)
		h.round()
		h.check(expected{sealed: true})
		kept := h.call(guest.Request{Op: guest.OpList, Path: filepath.Join(agentDir, "evidence")}).Stdout
		names := strings.Fields(string(kept))
		if len(names) != 2 {
			t.Fatalf("evidence: %q", names)
		}
		for _, name := range names {
			raw := h.call(guest.Request{Op: guest.OpRead, Path: filepath.Join(agentDir, "evidence", name)}).Stdout
			if _, err := s.trust.Policy.Verify(raw); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestGuestEnrolment: each grade, an EK that another host has, and a credential
// that is not for this TPM.
func TestGuestEnrolment(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, "grade first-use\n")
		one := s.newHost(t, k, "one.example")
		one.boot()
		one.measure(3)
		s.answer(func(w http.ResponseWriter, r *http.Request) bool { return s.spoilChallenge(w, r) })
		one.fails("activate")
		s.answer(nil)
		one.round()
		if st := one.status(); st.Grade != "first-use" {
			t.Errorf("grade %q, want first-use", st.Grade)
		}
		one.check(expected{sealed: true})
		entry, err := ledger.ParseEntry(one.call(guest.Request{Op: guest.OpRead, Path: agentDir + "/chain/0000000000.entry"}).Stdout)
		one.must(err)
		ek := entry.(*ledger.Enrolment).EK
		one.Kill()

		// The same TPM under another name.
		two := s.newHost(t, k, "two.example")
		two.withTPMOf(one)
		two.boot()
		two.measure(3)
		two.fails("one.example")
		two.Kill()

		// Where the operator lists EKs, a listed one enrols, and another does not.
		pinned := filepath.Join(t.TempDir(), "pinned")
		one.must(os.WriteFile(pinned, fmt.Appendf(nil, "listed.example %s\n", ek), 0o600))
		s = newSite(t, "grade pinned\n", "--pinned", pinned)
		listed := s.newHost(t, k, "listed.example")
		listed.withTPMOf(one)
		listed.boot()
		listed.measure(2)
		listed.round()
		if st := listed.status(); st.Grade != "pinned" {
			t.Errorf("grade %q, want pinned", st.Grade)
		}
		listed.check(expected{sealed: true})
		listed.Kill()
		stranger := s.newHost(t, k, "stranger.example")
		stranger.boot()
		stranger.fails("enrol")
	})
}

// TestGuestRegistrars: the ledger demands two registrars, of which one is a service
// of its own. Each has the TPM answer, and each signs.
func TestGuestRegistrars(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSiteOf(t, 2, byCertificate)
		h := s.newHost(t, k, "two.example")
		h.boot()
		h.measure(3)
		h.round()
		h.check(expected{sealed: true})
		entry, err := ledger.ParseEntry(h.call(guest.Request{Op: guest.OpRead, Path: agentDir + "/chain/0000000000.entry"}).Stdout)
		h.must(err)
		if by, err := ledger.SignedBy(entry.(*ledger.Enrolment), s.trust.Registrars...); err != nil || len(by) != 2 {
			t.Errorf("signed by %v, %v", by, err)
		}
	})
}

// withTPMOf gives the host a copy of another's TPM.
func (h *host) withTPMOf(other *host) {
	h.t.Helper()
	h.must(os.CopyFS(filepath.Join(h.Dir, "tpm"), os.DirFS(filepath.Join(other.Dir, "tpm"))))
}

// spoilChallenge has the ledger answer an enrolment with an altered credential.
func (s *site) spoilChallenge(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != "/enrol" {
		return false
	}
	resp, err := http.Post(strings.TrimSuffix(s.client.Base, "/")+r.URL.Path, r.Header.Get("Content-Type"), r.Body)
	if err != nil {
		s.t.Error(err)
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Error(err)
	}
	var c client.Challenge
	if err := json.Unmarshal(body, &c); err != nil || len(c.Credentials) != 1 {
		s.t.Errorf("no challenge: %s %v", body, err)
	}
	c.Credentials[0].Credential[len(c.Credentials[0].Credential)-1] ^= 1
	if body, err = json.Marshal(c); err != nil {
		s.t.Error(err)
	}
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	w.WriteHeader(resp.StatusCode)
	w.Write(body)
	return true
}

// TestGuestCleared: TPM2_Clear sets the counters back while the registers stay.
// The host enrols again, and says so in a gap of which no record is missing.
func TestGuestCleared(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, byCertificate)
		h := s.newHost(t, k, "cleared.example")
		h.boot()
		h.measure(3)
		h.round()
		h.reboot()
		h.measure(3)
		h.round()
		h.measure(2)
		h.clearTPM()
		h.measure(2)
		h.round()
		h.measure(2)
		h.round()
		h.check(expected{gaps: []string{"tpm-clear"}, sealed: true})
		// As firmware does it: cleared, and then a boot, before the agent sees it.
		h.reboot()
		h.reboot()
		h.measure(3)
		h.round()
		h.clearTPM()
		h.reboot()
		h.measure(2)
		h.round()
		h.measure(2)
		h.round()
		h.check(expected{gaps: []string{"tpm-clear", "tpm-clear"}, sealed: true})
		// And under an agent that runs: the key that it has loaded is gone.
		h.reboot()
		h.reboot()
		h.measure(1) // boots are told apart by what they measured
		h.look()
		pid := h.start("--interval", "1h", "--poll", "1s")
		h.await("the first round", func(s agent.Status) bool { return s.Receipted == 2 && len(s.Problems) == 0 })
		h.clearTPM()
		h.measure(2)
		h.look()
		h.agent("resume")
		h.await("the key again", func(s agent.Status) bool { return s.Receipted == 4 && len(s.Problems) == 0 })
		h.stop(pid)
		h.check(expected{gaps: []string{"tpm-clear", "tpm-clear", "tpm-clear"}, sealed: true})
	})
}

// clearTPM is TPM2_Clear with the lockout hierarchy's empty password (TPM 2.0 Part
// 3, 24.6).
func (h *host) clearTPM() {
	h.t.Helper()
	command, err := hex.DecodeString("80020000001b000001264000000a00000009400000090000000000")
	h.must(err)
	if answer := h.call(guest.Request{Op: guest.OpSend, Path: "/dev/tpmrm0", Data: command}).Stdout; len(answer) < 10 || !bytes.Equal(answer[6:10], make([]byte, 4)) {
		h.t.Fatalf("TPM2_Clear: %x", answer)
	}
}
