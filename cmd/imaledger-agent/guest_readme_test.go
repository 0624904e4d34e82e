//go:build guest

package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/guest"
)

// readme returns the first commands under a heading of the README.
func readme(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## "+heading+"\n")
	_, script, _ := strings.Cut(section, "\n```\n")
	script, _, found := strings.Cut(script, "\n```\n")
	if !found {
		t.Fatalf("the README has no commands under %q", heading)
	}
	return script
}

// TestGuestREADME is a newcomer with one machine: he runs what the README gives him
// for a ledger and for a host, in an empty directory, and has a receipt.
func TestGuestREADME(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, byCertificate)
		h := s.newHost(t, k, "newcomer")
		h.Memory, h.Files = 1024, []guest.File{{Path: "/init", Source: s.program("guestinit")}}
		for _, name := range []string{"imaledger", "imaledgerd", "imaledger-witness", "imaledger-agent"} {
			path := "/usr/local/bin/" + name
			if name == "imaledger-agent" {
				path = "/bin/" + name // make build leaves it in bin, and the README installs it
			}
			h.Files = append(h.Files, guest.File{Path: path, Source: s.program(name)})
		}
		for _, program := range []string{"/bin/sh", "/usr/bin/install", "/bin/mkdir", "/bin/cp", "/bin/cat", "/usr/bin/curl"} {
			files, err := guest.WithLibraries(program)
			h.must(err)
			h.Files = append(h.Files, files...)
		}
		h.boot()
		h.measure(10)
		h.call(guest.Request{Op: guest.OpCommand, Path: "/proc/sys/kernel/hostname", Text: "newcomer"})
		begun := time.Now()
		sh := func(script string) *guest.Response {
			t.Helper()
			script = "set -e\ncd /\n" + script
			return h.call(guest.Request{Op: guest.OpRun, Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/usr/local/bin:/bin"}})
		}
		ledger, look, _ := strings.Cut(readme(t, "Run a ledger"), "\n\n")
		if r := sh("mkdir -p /usr/bin\nexec >/tmp/ledger.log 2>&1\n" + ledger); r.Code != 0 {
			t.Fatalf("exit %d: %s", r.Code, h.call(guest.Request{Op: guest.OpRead, Path: "/tmp/ledger.log"}).Stdout)
		}
		if !guest.Wait(guest.Patience, func() bool { return strings.HasPrefix(string(sh(look).Stdout), "ledger.example/one\n") }) {
			t.Fatalf("no checkpoint: %s", h.call(guest.Request{Op: guest.OpRead, Path: "/tmp/ledger.log"}).Stdout)
		}
		r := sh(readme(t, "Put a host in it"))
		if out := string(r.Stdout); r.Code != 0 || !strings.Contains(out, "11 in this boot's list: 11 receipted") || !strings.Contains(out, "quoted after") {
			t.Fatalf("exit %d:\n%s%s", r.Code, out, r.Stderr)
		}
		t.Logf("from an empty directory to a receipt: %s", time.Since(begun).Round(time.Second))
		if left := h.kernelRecords(); k.Staging && left != 0 {
			t.Errorf("%d records are left in the kernel", left)
		}
	})
}
