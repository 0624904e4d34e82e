//go:build guest

package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/guest"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/tpm/ima"
)

const (
	imaDir    = "/sys/kernel/security/ima/"
	agentDir  = "/var/agent"
	agentConf = "/etc/imaledger/agent.conf"
)

// A host is a guest with the agent, and an observer that keeps every record that
// the kernel ever listed.
type host struct {
	*guest.Machine
	t    *testing.T
	site *site
	name string
	// Of the agent.
	state string
	// The observer: the records of each boot, and where in the newest the kernel's
	// list begins.
	boots [][][]byte
	begin int
	// Where in the newest boot's list the TPM's registers began anew.
	zeroed int
}

// confined is a program that has no more capabilities than the unit gives it.
func (h *host) confined(r guest.Request) guest.Request {
	h.t.Helper()
	numbers := map[string]int{"CAP_DAC_OVERRIDE": 1, "CAP_DAC_READ_SEARCH": 2, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21}
	unit, err := os.ReadFile("imaledger-agent.service")
	h.must(err)
	_, list, _ := strings.Cut(string(unit), "\nCapabilityBoundingSet=")
	list, _, _ = strings.Cut(list, "\n")
	for _, c := range strings.Fields(list) {
		n, known := numbers[c]
		if !known {
			h.t.Fatalf("the unit gives %s", c)
		}
		r.Capabilities = append(r.Capabilities, n)
	}
	return r
}

// newHost makes a host that is off.
func (s *site) newHost(t *testing.T, k guest.Kernel, name string) *host {
	t.Helper()
	h := &host{t: t, site: s, name: name, state: agentDir, Machine: &guest.Machine{Kernel: k, Dir: t.TempDir()}}
	h.configure()
	kexec, err := guest.WithLibraries("/sbin/kexec")
	if err != nil {
		t.Fatal(err)
	}
	h.Files = append(kexec, guest.File{Path: "/init", Source: s.program("guestinit")}, guest.File{Path: "/bin/imaledger-agent", Source: s.program("imaledger-agent")},
		guest.File{Path: agentConf, Source: h.conf()})
	for _, part := range []string{ledger.TrustPolicyFile, ledger.TrustRulesFile} {
		h.Files = append(h.Files, guest.File{Path: "/etc/imaledger/trust/" + part, Source: filepath.Join(s.dir, "trust", part)})
	}
	roots, err := filepath.Glob(filepath.Join(s.dir, "trust", ledger.TrustRootsDir, "*.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range roots {
		h.Files = append(h.Files, guest.File{Path: path.Join("/etc/imaledger/trust", ledger.TrustRootsDir, filepath.Base(r)), Source: r})
	}
	t.Cleanup(h.Kill)
	return h
}

// conf is the agent's configuration, which the next boot has.
func (h *host) conf() string { return filepath.Join(h.Dir, "agent.conf") }

func (h *host) configure() {
	h.t.Helper()
	h.must(os.WriteFile(h.conf(), fmt.Appendf(nil, "ledger %s\nhost %s\nstate %s\nwait 60s\n", guest.URL(h.site.port), h.name, h.state), 0o600))
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) call(r guest.Request) *guest.Response {
	h.t.Helper()
	answer, err := h.Call(r)
	h.must(err)
	return answer
}

// boot turns the host on, and has its kernel measure what the tests read.
func (h *host) boot() {
	h.t.Helper()
	h.must(h.Boot())
	h.boots, h.begin, h.zeroed = append(h.boots, nil), 0, 0
	h.policy()
	h.look()
}

// tss is the user and group to whom distributions give the TPM.
const tss = 110

func (h *host) policy() {
	h.t.Helper()
	h.call(guest.Request{Op: guest.OpGive, Path: "/dev/tpmrm0", Number: tss})
	rules := fmt.Sprintf("measure func=FILE_CHECK mask=MAY_READ fowner=%d\nmeasure func=FILE_CHECK mask=MAY_READ fowner=%d pcr=11\n", guest.MeasuredOwner, guest.OtherOwner)
	h.call(guest.Request{Op: guest.OpWrite, Path: imaDir + "policy", Data: []byte(rules)})
}

// reboot is an orderly one; cut is a power cut and the boot after it.
func (h *host) reboot() {
	h.t.Helper()
	h.look()
	h.must(h.PowerOff())
	h.boot()
}

func (h *host) cut() {
	h.t.Helper()
	h.Kill()
	h.boot()
}

func (h *host) kexec(carry bool) {
	h.t.Helper()
	h.look()
	h.must(h.Kexec(carry))
	h.policy()
	h.look()
}

// powerTPM takes the TPM down and up while the kernel goes on.
func (h *host) powerTPM(change guest.PowerChange) {
	h.t.Helper()
	h.look()
	h.must(h.PowerTPM(change))
	if change != guest.Suspend {
		h.zeroed = len(h.boots[len(h.boots)-1])
	}
}

func (h *host) measure(n int) {
	h.t.Helper()
	h.call(guest.Request{Op: guest.OpMeasure, Number: n, Text: "file"})
}

// look is the observer: it reads all that the kernel lists, and adds what it has
// not seen.
func (h *host) look() {
	h.t.Helper()
	var raw []byte
	if h.Kernel.Staging {
		raw = h.readList("binary_runtime_measurements_staged")
	}
	listed := records(h.t, append(raw, h.readList("binary_runtime_measurements")...))
	boot := &h.boots[len(h.boots)-1]
	for ; h.begin < len(*boot); h.begin++ {
		if known := (*boot)[h.begin:]; len(known) <= len(listed) && equal(known, listed[:len(known)]) {
			break
		}
	}
	*boot = append(*boot, listed[len(*boot)-h.begin:]...)
}

// readList reads a list of the kernel's, which an agent that runs may be writing
// to just now.
func (h *host) readList(name string) (list []byte) {
	h.t.Helper()
	var err error
	if !guest.Wait(guest.Patience, func() bool {
		var r *guest.Response
		if r, err = h.Call(guest.Request{Op: guest.OpRead, Path: imaDir + name}); err == nil {
			list = r.Stdout
		}
		return err == nil || !strings.Contains(err.Error(), "busy")
	}) || err != nil {
		h.t.Fatal(err)
	}
	return list
}

func equal(a, b [][]byte) bool { return bytes.Equal(bytes.Join(a, nil), bytes.Join(b, nil)) }

func records(t *testing.T, raw []byte) (list [][]byte) {
	t.Helper()
	for r := ima.NewReader(bytes.NewReader(raw), ima.Format{Bank: ima.SHA1}); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, bytes.Clone(rec.Raw))
	}
}

// agent runs the agent and returns its exit code and what it said.
func (h *host) agent(args ...string) (code int, stdout, stderr string) {
	h.t.Helper()
	r := h.call(h.confined(guest.Request{Op: guest.OpRun, Args: append([]string{"/bin/imaledger-agent"}, args...)}))
	return r.Code, string(r.Stdout), string(r.Stderr)
}

// round has the agent make a round, which must do all there is to do.
func (h *host) round() {
	h.t.Helper()
	h.look()
	if code, stdout, stderr := h.agent("once"); code != 0 {
		h.t.Fatalf("once: exit %d\n%s\n%s", code, stdout, stderr)
	}
	h.look()
}

// fails has the agent make a round, which must fail, and say why.
func (h *host) fails(why string) {
	h.t.Helper()
	h.look()
	code, _, stderr := h.agent("once")
	if code != 3 && code != 1 || !strings.Contains(stderr, why) {
		h.t.Fatalf("once: exit %d, want 3 or 1 and %q:\n%s", code, why, stderr)
	}
	h.look()
}

// cutAt has the agent make a round, and cuts the power at a step. It returns
// false where the round was done without that step.
func (h *host) cutAt(step string, flags ...string) bool {
	h.t.Helper()
	h.look()
	const out = "/tmp/agent.out"
	r := h.call(h.confined(guest.Request{Op: guest.OpStart, Args: append([]string{"/bin/imaledger-agent", "once"}, flags...), Env: []string{"IMALEDGER_CUT=" + step}, Path: out}))
	reached := false
	if !guest.Wait(guest.Patience, func() bool {
		said := string(h.call(guest.Request{Op: guest.OpRead, Path: out}).Stdout)
		reached = strings.Contains(said, "cut: "+step)
		return reached || strings.Contains(said, "\nenrolment ") || strings.Contains(said, "imaledger-agent: ")
	}) {
		h.t.Fatalf("the round did not end: %s", h.call(guest.Request{Op: guest.OpRead, Path: out}).Stdout)
	}
	if reached {
		h.look()
		h.cut()
		return true
	}
	h.call(guest.Request{Op: guest.OpWait, PID: r.PID})
	return false
}

// status is what the agent shows.
func (h *host) status() (s agent.Status) {
	h.t.Helper()
	_, stdout, stderr := h.agent("status", "--json")
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		h.t.Fatalf("status: %v: %s %s", err, stdout, stderr)
	}
	return s
}

// kernelRecords is what the kernel holds, with what is staged.
func (h *host) kernelRecords() int {
	h.t.Helper()
	h.look()
	return len(h.boots[len(h.boots)-1]) - h.begin
}

// registers reads PCR 10 and 11 as the kernel shows them.
func (h *host) registers() ima.Values {
	h.t.Helper()
	v := make(ima.Values)
	for _, b := range []ima.Bank{ima.SHA1, ima.SHA256} {
		for _, pcr := range []int{10, 11} {
			text := h.call(guest.Request{Op: guest.OpRead, Path: fmt.Sprintf("/sys/class/tpm/tpm0/pcr-%s/%d", b, pcr)}).Stdout
			value, err := hex.DecodeString(strings.TrimSpace(string(text)))
			h.must(err)
			v[ima.Slot{Bank: b, PCR: pcr}] = value
		}
	}
	return v
}

// observed checks the observer itself: what it saw in this boot gives what the
// TPM's registers hold.
func (h *host) observed() {
	h.t.Helper()
	h.look()
	want := h.registers()
	got := ima.Values{}
	for slot := range want {
		got[slot] = make([]byte, slot.Bank.Size())
	}
	list := bytes.Join(h.boots[len(h.boots)-1][h.zeroed:], nil)
	replay, err := ima.NewReplayer([]ima.Bank{ima.SHA1, ima.SHA256}, got, ima.KernelStyles())
	h.must(err)
	for r := ima.NewReader(bytes.NewReader(list), ima.Format{Bank: ima.SHA1}); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		h.must(err)
		h.must(replay.Extend(rec))
	}
	for slot, value := range want {
		if given := replay.Value(slot); !bytes.Equal(given, value) {
			h.t.Fatalf("the observer missed records: %s PCR %d is %x, its list gives %x", slot.Bank, slot.PCR, value, given)
		}
	}
}
