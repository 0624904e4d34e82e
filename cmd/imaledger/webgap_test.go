package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/tpm/ima"
)

// gap has records of a host measured that no segment has, as if another program had
// deleted them, and seals what comes after.
func (s *site) gap(t *testing.T, h *demoHost, lost, records int) {
	t.Helper()
	if _, err := h.measure(lost); err != nil {
		t.Fatal(err)
	}
	base, err := h.tpm.ReadPCRs(ima.Selection{{Bank: ima.SHA1, PCRs: []int{10}}, {Bank: ima.SHA256, PCRs: []int{10}}})
	if err != nil {
		t.Fatal(err)
	}
	h.sealed = h.extended
	if _, err := h.measure(records); err != nil {
		t.Fatal(err)
	}
	anchor, err := s.client.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.trust.Policy.Verify(anchor)
	if err != nil {
		t.Fatal(err)
	}
	head := ledger.Head{Log: c.Origin, Host: h.name, AK: ledger.Name(h.ak.Name), Sequence: h.sequence, Previous: h.head,
		Anchor: ledger.Anchor{Size: c.Size, Root: c.Root, Note: sha256.Sum256(anchor)}}
	nonce := head.Nonce()
	attest, signature, err := h.tpm.Quote(nonce[:], demoSelection)
	if err != nil {
		t.Fatal(err)
	}
	known, err := h.tpm.ReadPCRs(demoSelection)
	if err != nil {
		t.Fatal(err)
	}
	segment, err := agent.Assemble(agent.Input{Head: head, Attest: attest, Signature: signature, Hash: ima.Bank(h.ak.HashAlg), Format: ima.Format{Bank: ima.SHA1},
		List: bytes.NewReader(h.list[h.sealed:h.extended]), Known: known, Previous: h.last, Gap: "trimmed", Base: base, First: h.last.First + h.last.Count + uint64(lost)})
	if err != nil {
		t.Fatal(err)
	}
	payload := bytes.Clone(h.list[h.sealed : h.sealed+int(segment.Payload.Size)])
	if err := s.submit(t.Context(), segment, payload, anchor); err != nil {
		t.Fatal(err)
	}
	h.sealed += len(payload)
	h.head, h.last, h.sequence = ledger.LeafHash(segment.Marshal()), segment, h.sequence+1
}

// TestWebGap: a gap shows in the band, in words and in the list until an operator has
// acknowledged it, and after that as acknowledged; a host's history is shown from its
// middle where it is long.
func TestWebGap(t *testing.T) {
	s, b := newSite(t, time.Now), startBrowser(t)
	h := s.hosts[0]
	if err := h.boot(); err != nil {
		t.Fatal(err)
	}
	if err := h.enrol(t.Context(), s.demo); err != nil {
		t.Fatal(err)
	}
	seal := func() {
		t.Helper()
		if _, err := h.measure(8); err != nil {
			t.Fatal(err)
		}
		if _, err := h.seal(t.Context(), s.demo, 0); err != nil {
			t.Fatal(err)
		}
	}
	seal()
	s.gap(t, h, 5, 8)
	gapped := h.head
	seal()
	b.open(s.url, "#/")
	b.pin(s)
	b.open(s.url, "#/hosts/web1.example")
	if text := b.text("main"); b.count(".verdict > .mark.undecided") != 1 || b.count(".blocks .gap") != 1 || !strings.Contains(text, "gap trimmed") || !strings.Contains(b.text(".findings"), "records are missing") && !strings.Contains(text, "missing") {
		t.Errorf("a gap:\n%s", text)
	}
	b.everyTheme("gap-host")
	b.open(s.url, "#/hosts?state=gap")
	if text := b.text(".hosts"); !strings.Contains(text, "1 gap") {
		t.Errorf("the list: %s", text)
	}
	key := filepath.Join(t.TempDir(), "operator.key")
	if err := os.WriteFile(key, []byte(s.operatorKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"acknowledge", "--ledger", s.url, "--trust", filepath.Join(s.dir, "trust"), "--key", key, "--entry", fmt.Sprintf("%x", gapped), "--host", h.name, "--statement", "we know: a cron job"}
	if code, out, talk := tool(t, args...); code != 0 {
		t.Fatalf("%d\n%s%s", code, out, talk)
	}
	b.run(reload)
	b.open(s.url, "#/hosts/web1.example")
	if text := b.text("main"); b.count(".verdict > .mark.verified") != 1 || b.count(".blocks .gap") != 1 {
		t.Errorf("an acknowledged gap:\n%s", text)
	}
	if words := eval[string](b, `document.querySelector(".verdict details").open = true, document.querySelector(".verdict details").innerText`); !strings.Contains(words, "gap-acknowledged") || !strings.Contains(words, "a cron job") {
		t.Errorf("the reason is %s", words)
	}
	// From its middle.
	b.open(s.url, "#/hosts/web1.example?from=3")
	if text := b.text("main"); b.count(".verdict > .mark.verified") != 1 || b.count(".chain tbody tr") != 1 {
		t.Errorf("from the middle:\n%s", text)
	}
	b.clean(s.url)
}
