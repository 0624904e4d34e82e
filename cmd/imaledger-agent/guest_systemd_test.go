//go:build guest

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/guest"
	"github.com/imaledger/imaledger/ledger/agent"
)

// systemctl runs it, and returns what it prints.
func (h *host) systemctl(args ...string) string {
	h.t.Helper()
	r := h.call(guest.Request{Op: guest.OpRun, Args: append([]string{"/bin/systemctl"}, args...)})
	if r.Code != 0 {
		h.t.Fatalf("systemctl %s: exit %d %s%s; console:\n%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr, h.Console())
	}
	return strings.TrimSpace(string(r.Stdout))
}

// probe is a unit that may do what the agent's unit lets its program do. It writes
// what it can open and what it can write to where the agent's status is.
func (h *host) probe() (file string) {
	h.t.Helper()
	const script = "exec >/run/imaledger-agent/probe 2>/dev/null;" +
		" for f in /dev/tpmrm0 /dev/vda /dev/kmsg; do (: <$$f) && echo opened $$f; done;" +
		" for f in /usr /etc /var /var/lib/imaledger-agent; do (: >$$f/probe) && echo wrote $$f; done; exit 0"
	unit, err := os.ReadFile("imaledger-agent.service")
	h.must(err)
	text := string(unit)
	for old, new := range map[string]string{
		"Type=notify\n": "Type=oneshot\n", "Restart=on-failure\n": "", "ExecStart=/usr/bin/imaledger-agent run\n": "ExecStart=/bin/sh -c '" + script + "'\n",
	} {
		if !strings.Contains(text, old) {
			h.t.Fatalf("the unit has no %q", old)
		}
		text = strings.Replace(text, old, new, 1)
	}
	return h.save("probe.service", []byte(text))
}

// TestGuestSystemd: the unit under Debian's systemd. It is active when the agent has
// made its first round, the agent can do under it all that it does and little else, and
// when the service or the machine is stopped nothing is left unsealed.
func TestGuestSystemd(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, byCertificate)
		h := s.newHost(t, k, "systemd.example")
		h.state = defaultState // which the unit has systemd make
		h.configure()
		h.Files = append(h.Files, guest.File{Path: "/usr/bin/imaledger-agent", Source: s.program("imaledger-agent")})
		shell, err := guest.WithLibraries("/bin/sh")
		h.must(err)
		h.Files = append(h.Files, shell...)
		h.must(h.AddSystemd("imaledger-agent.service", h.probe()))
		h.boot()
		h.measure(5)
		h.look()
		h.systemctl("enable", "--now", "imaledger-agent") // returns when the unit is active
		if got := h.systemctl("show", "-P", "StatusText", "imaledger-agent"); !strings.HasPrefix(got, "6 records listed, 6 receipted") {
			t.Errorf("the unit's status is %q", got)
		}
		h.measure(4)
		h.look()
		if code, out, stderr := h.agent("resume"); code != 0 || !strings.Contains(out, "makes a round now") {
			t.Errorf("resume: exit %d %s%s", code, out, stderr)
		}
		h.await("a round", func(s agent.Status) bool { return len(s.Problems) == 0 && s.Receipted == 10 })
		if left := h.kernelRecords(); k.Staging && left != 0 {
			t.Errorf("%d records are left in the kernel", left)
		}
		h.measure(3)
		h.look()
		h.systemctl("stop", "imaledger-agent")
		h.check(expected{sealed: true})

		h.systemctl("start", "probe")
		want := "opened /dev/tpmrm0\nopened /dev/vda\nwrote /var/lib/imaledger-agent\n"
		if !k.Staging { // the other kernel has no BPF, by which systemd refuses devices
			want = strings.Replace(want, "opened /dev/vda\n", "", 1)
		}
		if got := string(h.call(guest.Request{Op: guest.OpRead, Path: "/run/imaledger-agent/probe"}).Stdout); got != want {
			t.Errorf("under the unit a program\n%swant\n%s", got, want)
		}

		h.systemctl("start", "imaledger-agent")
		h.measure(3)
		h.look()
		verb := "poweroff"
		if k.Staging {
			verb = "reboot"
		}
		h.systemctl(verb)
		h.must(h.AwaitOff())
		h.boot()
		h.measure(1)
		h.look()
		h.systemctl("enable", "--now", "imaledger-agent")
		h.check(expected{sealed: true, ended: true})
	})
}
