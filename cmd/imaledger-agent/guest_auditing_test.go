//go:build guest

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/guest"
	"github.com/imaledger/imaledger/ledger/audit"
)

// auditing returns the commands of the auditor's page from its first section on, with
// what is replaced: its ledger is here before, with other hosts and files.
func auditing(t *testing.T, replaced ...string) string {
	t.Helper()
	page, err := os.ReadFile("../../ledger/AUDITING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, sections, found := strings.Cut(string(page), "\n## 1.")
	if !found {
		t.Fatal("the page has no section 1")
	}
	for i := 0; i < len(replaced); i += 2 {
		if !strings.Contains(sections, replaced[i]) {
			t.Errorf("the page does not speak of %s any more", replaced[i])
		}
	}
	sections = strings.NewReplacer(replaced...).Replace(sections)
	var script strings.Builder
	for i, part := range strings.Split(sections, "\n```") {
		if block, ok := strings.CutPrefix(part, "sh\n"); ok && i%2 == 1 {
			script.WriteString(block + "\n")
		}
	}
	return script.String()
}

// TestGuestAuditing is an auditor with the page and a trust folder: what he asks of a
// machine with a real kernel and a TPM is answered as the page says.
func TestGuestAuditing(t *testing.T) {
	onKernels(t, func(t *testing.T, k guest.Kernel) {
		s := newSite(t, byCertificate)
		h := s.newHost(t, k, "audited.example")
		begun := time.Now().UTC()
		h.boot()
		h.call(guest.Request{Op: guest.OpMeasure, Number: 1, Text: "sshd"})
		for range 3 {
			h.measure(10)
			h.call(guest.Request{Op: guest.OpViolate})
			h.round()
		}
		h.reboot()
		for range 3 {
			h.measure(5)
			h.round()
		}
		h.check(expected{sealed: true})

		dir, bin := t.TempDir(), filepath.Dir(s.program("imaledger"))
		page := auditing(t, "web1.example", h.name, "/bin/busybox", "/measured/sshd-1", "'/bin/*'", "'/measured/f*'",
			"2020-01-01", begun.Format(time.DateOnly), "2099-12-31", time.Now().UTC().Format(time.DateOnly))
		cmd := exec.CommandContext(t.Context(), "bash", "-c", "set -eux\n"+page)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"), "LEDGER="+s.client.Base, "TRUST="+s.path("trust"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{
			"1 host, 1 enrolment, 6 segments, 0 statements; 54 records replayed, with 3 violations",
			"audited.example #1, record 1 of the boot", "\n1 record found in the first 7 entries", "audited.example: 45 records, the first quoted between",
			"there is none before it in what it could read", "No record was found in the first 7 entries", "records 0 to 37 of host audited.example", "records 0 to 15 of host audited.example",
			"sealed form: record 0 of the boot is under the segment's TPM quote", "\n38 records, ", "39 passed, 15 failed, 0 undecided", "\nexit code 1\n", "audited and cosigned: ", "— auditor.example ",
		} {
			if !strings.Contains(string(out), want) {
				t.Errorf("it does not come to %q in\n%s", want, out)
			}
		}
		for _, file := range []string{"web1.html", "list", "list.cel", "list.csv"} {
			if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Size() < 1000 {
				t.Errorf("%s: %v, %v", file, info, err)
			}
		}
		h.between()
	})
}

// between asks for the time between two quotes in the middle of the chain: what is
// shown begins with a quote that is not later, ends with one that is, and has all
// between.
func (h *host) between() {
	h.t.Helper()
	type report struct {
		Verdict  string
		Segments []*audit.Segment
	}
	read := func(args ...string) (r report) {
		h.t.Helper()
		out, err := exec.Command(h.site.program("imaledger"), append(args, "--trust", h.site.path("trust"), "--json")...).Output()
		h.must(err)
		h.must(json.Unmarshal(out, &r))
		return r
	}
	all := read("timeline", "--ledger", h.site.client.Base, h.name).Segments
	since, until := all[1].NotBefore, all[4].NotBefore-1 // a boot lies between
	at := func(t uint64) string { return time.Unix(int64(t), 0).UTC().Format(time.RFC3339) }
	bundle := filepath.Join(h.Dir, "between.tar")
	if out, err := h.site.tool("bundle", "--ledger", h.site.client.Base, "--trust", h.site.path("trust"), "--host", h.name, "--since", at(since), "--until", at(until), "--out", bundle); err != nil {
		h.t.Fatalf("bundle: %v\n%s", err, out)
	}
	r := read("verify", bundle)
	first, last := r.Segments[0], r.Segments[len(r.Segments)-1]
	if r.Verdict != "verified" || first.Sequence == 1 || last.Sequence == 6 || first.NotBefore > since || last.NotBefore <= until {
		h.t.Errorf("between %s and %s: %s, #%d quoted after %s to #%d quoted after %s", at(since), at(until), r.Verdict, first.Sequence, at(first.NotBefore), last.Sequence, at(last.NotBefore))
	}
	for i, s := range r.Segments {
		if s.Sequence != first.Sequence+uint64(i) {
			h.t.Errorf("after #%d stands #%d", first.Sequence+uint64(i)-1, s.Sequence)
		}
	}
}
