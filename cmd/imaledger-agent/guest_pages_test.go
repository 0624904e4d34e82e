//go:build guest

package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/guest"
)

// keepEvidence is how cmd/imaledger/testdata/guest is made.
var keepEvidence = flag.String("keep-evidence", "", "write TestGuestPages's evidence and trust folder to this `folder`, which must not exist")

// TestGuestPages: a host to whom all happens in three boots of a kernel is shown by
// the pages for what it is, by a browser before the ledger that has it.
func TestGuestPages(t *testing.T) {
	kernels, err := guest.Kernels()
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, byCertificate)
	h := s.newHost(t, kernels[0], "guest.example")
	h.boot()
	h.measure(12)
	h.call(guest.Request{Op: guest.OpViolate})
	h.round()
	h.measure(6)
	h.call(guest.Request{Op: guest.OpMeasure, Number: 3, Text: "other", PID: guest.OtherOwner}) // for PCR 11
	h.round()
	if left := h.kernelRecords(); left != 0 {
		t.Errorf("%d records are left in the kernel", left)
	}

	// Staged and spooled while the ledger is away, and carried by a kexec.
	h.measure(5)
	s.down()
	h.fails("503")
	s.answer(nil)
	h.measure(4)
	h.kexec(true)
	h.measure(2)
	h.round()

	// Another program deletes two that the agent has not seen.
	h.measure(5)
	h.look()
	h.call(guest.Request{Op: guest.OpCommand, Path: imaDir + "binary_runtime_measurements", Text: "2\n"})
	h.measure(3)
	h.round() // closes the gap
	h.measure(4)
	h.round()

	h.reboot()
	h.measure(7)
	h.round()
	h.call(guest.Request{Op: guest.OpViolate})
	h.round()
	h.check(expected{missing: 8, gaps: []string{"unknown"}, sealed: true})
	if *keepEvidence != "" {
		h.must(os.CopyFS(filepath.Join(*keepEvidence, "trust"), os.DirFS(filepath.Join(s.dir, "trust"))))
		evidence, err := os.ReadFile(filepath.Join(h.Dir, "evidence.tar"))
		h.must(err)
		h.must(os.WriteFile(filepath.Join(*keepEvidence, "evidence.tar"), evidence, 0o644))
	}
	browser := exec.Command("go", "test", "-tags", "guest", "-count", "1", "-v", "-run", "^TestWebOfGuest$", "../imaledger")
	browser.Env = append(os.Environ(), "IMALEDGER_PAGES="+s.client.Base, "IMALEDGER_PAGES_TRUST="+filepath.Join(s.dir, "trust"))
	if out, err := browser.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestWebOfGuest")) {
		t.Errorf("the pages of %s: %v\n%s", s.client.Base, err, out)
	}
}
