//go:build guest

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/guest"
	"github.com/imaledger/imaledger/tpm/ima"
)

// byCertificate is the rule under which swtpm's EKs are certified by its own
// authority.
const byCertificate = "grade certificate\n"

// onKernels runs a scene on each kernel.
func onKernels(t *testing.T, scene func(t *testing.T, k guest.Kernel)) {
	kernels, err := guest.Kernels()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kernels {
		t.Run(k.Name, func(t *testing.T) { t.Parallel(); scene(t, k) })
	}
}

// TestGuestRounds: hundreds of records over several segments with deletion,
// violations, several PCRs, two boots and a kexec; and evmctl reads the export as
// if nothing was deleted.
func TestGuestRounds(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, byCertificate)
		h := s.newHost(t, k, "rounds.example")
		h.boot()
		if code, out, _ := h.agent("check"); code != 0 && !strings.Contains(out, "IMA measures nothing") {
			t.Errorf("check: exit %d\n%s", code, out)
		}
		h.measure(100)
		h.call(guest.Request{Op: guest.OpViolate})
		h.look()
		if code, stdout, stderr := h.agent("once", "--delete", "never"); code != 0 {
			t.Fatalf("once: exit %d\n%s\n%s", code, stdout, stderr)
		}
		h.banks()
		h.round()
		for i := range 3 {
			h.measure(60)
			h.call(guest.Request{Op: guest.OpViolate})
			h.call(guest.Request{Op: guest.OpMeasure, Number: 5, Text: "other", PID: guest.OtherOwner})
			h.round()
			if left := h.kernelRecords(); k.Staging && left != 0 {
				t.Errorf("round %d: %d records are left in the kernel", i, left)
			}
		}
		h.evmctl()
		h.check(expected{sealed: true})
		if st := h.status(); st.Grade != "certificate" || len(st.Problems) > 0 || st.Pending != 0 || st.Receipted != st.Listed {
			t.Errorf("status: %+v", st)
		}
		h.measure(3)
		h.reboot() // these three are never sealed
		h.measure(20)
		h.round()
		h.check(expected{sealed: true})
		h.round() // nothing is new
		h.measure(5)
		h.round()
		h.check(expected{sealed: true})
	})
}

// banks holds the files of the untrimmed list against those that the kernel shows,
// while it has all of it still. It shows other banks' since Linux 6.10.
func (h *host) banks() {
	h.t.Helper()
	kernel := map[string]string{"sha1": "binary_runtime_measurements"}
	if h.Kernel.Staging {
		kernel["sha256"] = "binary_runtime_measurements_sha256"
	}
	for bank, name := range kernel {
		want := h.readList(name)
		if got := h.call(guest.Request{Op: guest.OpRead, Path: filepath.Join(agentDir, "lists/current", bank)}).Stdout; !bytes.Equal(got, want) {
			h.t.Errorf("lists/current/%s has %d bytes, the kernel's %d", bank, len(got), len(want))
		}
		if _, got, _ := h.agent("export", "--bank", bank); got != string(want) {
			h.t.Errorf("export --bank %s has %d bytes, the kernel's %d", bank, len(got), len(want))
		}
	}
}

// evmctl replays the exported list against the registers.
func (h *host) evmctl() {
	h.t.Helper()
	r := h.call(guest.Request{Op: guest.OpRun, Args: []string{"/bin/imaledger-agent", "export"}})
	list, err := os.ReadFile(h.save("export", r.Stdout))
	h.must(err)
	if got, want := records(h.t, list), h.boots[len(h.boots)-1]; !equal(got, want) {
		h.t.Errorf("the export has %d records, the kernel listed %d", len(got), len(want))
	}
	in := h.call(guest.Request{Op: guest.OpRead, Path: filepath.Join(agentDir, "lists/current/sha1")}).Stdout
	if got, want := records(h.t, in), h.boots[len(h.boots)-1]; !equal(got, want) {
		h.t.Errorf("lists/current/sha1 has %d records, the kernel listed %d", len(got), len(want))
	}
	var args []string
	for _, b := range []ima.Bank{ima.SHA1, ima.SHA256} {
		text := ""
		for pcr := range 24 {
			value := h.call(guest.Request{Op: guest.OpRead, Path: fmt.Sprintf("/sys/class/tpm/tpm0/pcr-%s/%d", b, pcr)}).Stdout
			text += fmt.Sprintf("PCR-%02d: %s\n", pcr, strings.TrimSpace(string(value)))
		}
		args = append(args, "--pcrs", b.String()+","+h.save("pcrs-"+b.String(), []byte(text)))
	}
	out, err := exec.Command("evmctl", append(append([]string{"ima_measurement", "--ignore-violations"}, args...), h.save("export", r.Stdout))...).CombinedOutput()
	if err != nil {
		h.t.Errorf("evmctl: %v: %s", err, out)
	}
}

func (h *host) save(name string, content []byte) string {
	h.t.Helper()
	path := filepath.Join(h.Dir, name)
	h.must(os.WriteFile(path, content, 0o600))
	return path
}

// TestGuestKexec: a kexec that carries the list with staged records, and one that
// loses it. Debian's kernel carries none.
func TestGuestKexec(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, byCertificate)
		h := s.newHost(t, k, "kexec.example")
		h.boot()
		h.measure(10)
		h.round()
		h.measure(7)
		if k.Staging {
			// Staged, quoted and spooled; the ledger is away, so nothing is deleted.
			s.down()
			h.fails("503")
			s.answer(nil)
			h.measure(4)
			h.kexec(true)
			h.measure(2)
			h.round()
			h.check(expected{sealed: true})
		}
		h.measure(6)
		h.round()
		h.measure(3) // lost
		h.kexec(false)
		h.measure(2) // before the gap is seen: not sealed either
		h.round()
		h.measure(5)
		h.round()
		// Lost are the three, and what the new kernel listed before the gap was closed:
		// its boot_aggregate and two.
		h.check(expected{missing: 6, gaps: []string{"kexec-lost"}, sealed: true})
	})
}

// TestGuestPowerCut cuts the power at each step and at random moments.
func TestGuestPowerCut(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, byCertificate)
		h := s.newHost(t, k, "cut.example")
		h.boot()
		cuts := 0
		for _, step := range []string{"activated", "enrolled", "staged", "quoted", "read", "written", "appended", "spooled", "uploaded", "submitted", "receipted", "deleted"} {
			h.measure(5)
			if h.cutAt(step) {
				cuts++
			} else if k.Staging || step != "staged" && step != "deleted" {
				t.Errorf("no round came to %s", step)
			}
			h.measure(3)
			if step != "activated" { // so that the next cut is in the second try
				h.round()
				h.check(expected{sealed: true})
			}
		}
		if want := 10; cuts < want {
			t.Errorf("%d cuts, want %d", cuts, want)
		}
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		for range 3 {
			h.measure(4)
			h.look()
			h.call(h.confined(guest.Request{Op: guest.OpStart, Args: []string{"/bin/imaledger-agent", "once"}, Path: "/tmp/agent.out"}))
			time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
			h.cut()
			h.measure(2)
			h.round()
			h.check(expected{sealed: true})
		}
	})
}

// TestGuestOthers: another program deletes from the list, another holds it open,
// and the ledger is down for a whole boot.
func TestGuestOthers(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, byCertificate)
		h := s.newHost(t, k, "others.example")
		h.boot()
		h.measure(10)
		h.round()
		if k.Staging {
			h.call(guest.Request{Op: guest.OpHold, Path: imaDir + "ascii_runtime_measurements"})
			h.measure(4)
			h.fails("init (process 1)")
			h.call(guest.Request{Op: guest.OpRelease})
			h.round()
			h.check(expected{sealed: true})

			h.measure(5)
			h.look()
			h.call(guest.Request{Op: guest.OpCommand, Path: imaDir + "binary_runtime_measurements", Text: "2\n"})
			h.measure(3)
			h.round() // closes the gap
			h.measure(4)
			h.round()
			// Two were deleted unseen; nothing on this host can say that it was so.
			h.check(expected{missing: 8, gaps: []string{"unknown"}, sealed: true})
		}
		s.down()
		h.reboot()
		h.measure(6)
		h.fails("503")
		h.measure(6)
		h.fails("503")
		if st := h.status(); st.Pending < 1 || len(st.Problems) == 0 || st.Problems[0].Mend == "" {
			t.Errorf("status: %+v", st)
		}
		h.reboot() // all of it is in the spool
		h.measure(2)
		s.answer(nil)
		h.round()
		want := expected{sealed: true}
		if k.Staging {
			want.missing, want.gaps = 8, []string{"unknown"}
		}
		h.check(want)
	})
}
