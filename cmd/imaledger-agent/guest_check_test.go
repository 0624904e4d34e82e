//go:build guest

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/imaledger/imaledger/cmd/internal/guest"
	"github.com/imaledger/imaledger/ledger"
)

// Expected is what a host's history should look like in the ledger.
type expected struct {
	missing int      // records that are in no segment though later ones are
	gaps    []string // reasons of the gaps, in order
	sealed  bool     // the newest boot is sealed to its end
	ended   bool     // so is each boot before it
}

// check holds the ledger against the observer: imaledger verify accepts the host's
// evidence, and the ledger has every record that the kernel listed, in order, byte
// for byte, and none twice, but for those that are expected to be missing.
func (h *host) check(want expected) {
	h.t.Helper()
	h.observed()
	segments, payloads := h.evidence()
	boot, at, missing := -1, 0, 0
	var gaps []string
	for i, s := range segments {
		listed := records(h.t, payloads[i])
		if uint64(len(listed)) != s.Count {
			h.t.Fatalf("#%d: %d records, it says %d", s.Sequence, len(listed), s.Count)
		}
		switch s.Join.Kind {
		case ledger.JoinBoot:
			if want.ended && boot >= 0 && at != len(h.boots[boot]) {
				h.t.Errorf("%d records of boot %d are not sealed", len(h.boots[boot])-at, boot)
			}
			// A boot of which nothing was sealed is passed over.
			for boot++; boot < len(h.boots) && !prefix(h.boots[boot], listed); boot++ {
			}
			at = 0
		case ledger.JoinGap:
			gaps = append(gaps, s.Join.Reason)
			if s.Join.Reason == "tpm-clear" && s.First == 0 { // cleared, and booted
				for boot++; boot < len(h.boots) && !prefix(h.boots[boot], listed); boot++ {
				}
				at = 0
			} else if boot < 0 {
				boot++
			}
		}
		if boot >= len(h.boots) {
			h.t.Fatalf("#%d (%s) begins a boot that there was not", s.Sequence, s.Join)
		}
		rest := h.boots[boot][at:]
		if i > 0 && segments[i-1].Join.Kind == ledger.JoinGap || i == 0 && s.Join.Kind == ledger.JoinGap {
			// After a gap some are missing.
			for len(rest) > 0 && !prefix(rest, listed) {
				rest, at, missing = rest[1:], at+1, missing+1
			}
		}
		if !prefix(rest, listed) {
			h.t.Fatalf("#%d (%s): its %d records are not those that the kernel listed from %d on", s.Sequence, s.Join, len(listed), at)
		}
		at += len(listed)
	}
	if missing != want.missing {
		h.t.Errorf("%d records are missing in the ledger, want %d", missing, want.missing)
	}
	if got, want := strings.Join(gaps, " "), strings.Join(want.gaps, " "); got != want {
		h.t.Errorf("gaps: %q, want %q", got, want)
	}
	if left := len(h.boots[len(h.boots)-1]) - at; want.sealed && (boot != len(h.boots)-1 || left != 0) {
		h.t.Errorf("%d records of the newest boot are not sealed", left)
	}
}

func prefix(list, head [][]byte) bool { return len(head) <= len(list) && equal(head, list[:len(head)]) }

// evidence takes the host's chain from the agent's directory and the rest from the
// ledger, has imaledger verify it, and returns the segments and their records.
func (h *host) evidence() (segments []*ledger.Segment, payloads [][]byte) {
	h.t.Helper()
	var sources []ledger.BundleSource
	head, err := h.site.client.HostHead(h.t.Context(), h.name)
	h.must(err)
	read := func(sequence uint64, suffix string) []byte {
		name := filepath.Join(h.state, "chain", fmt.Sprintf("%010d", sequence)+suffix)
		return h.call(guest.Request{Op: guest.OpRead, Path: name}).Stdout
	}
	addendum := func(folder string, digest ledger.Hash, max int64) []byte {
		var b bytes.Buffer
		h.must(h.site.client.Addendum(h.t.Context(), digest, max, &b))
		sources = append(sources, ledger.SourceBytes(folder, b.Bytes(), ledger.Hash{}))
		return b.Bytes()
	}
	for n := uint64(0); n <= head.Sequence; n++ {
		raw := read(n, ".entry")
		leaf := ledger.LeafHash(raw)
		sources = append(sources, ledger.SourceBytes(ledger.FolderLeaves, raw, ledger.Hash{}), ledger.SourceBytes(ledger.FolderProofs, read(n, ".proof"), leaf))
		entry, err := ledger.ParseEntry(raw)
		h.must(err)
		switch e := entry.(type) {
		case *ledger.Enrolment:
			addendum(ledger.FolderEvidence, e.Evidence.Digest, ledger.MaxEnrolmentEvidence)
		case *ledger.Segment:
			segments = append(segments, e)
			payloads = append(payloads, addendum(ledger.FolderPayloads, e.Payload.Digest, ledger.MaxPayload))
			addendum(ledger.FolderAnchors, e.Anchor.Note, ledger.MaxCheckpoint)
		}
	}
	h.verify(sources)
	return segments, payloads
}

// verify has imaledger verify a bundle as a stranger would.
func (h *host) verify(sources []ledger.BundleSource) {
	h.t.Helper()
	seen := make(map[string]bool)
	var once []ledger.BundleSource
	for _, s := range sources {
		if !seen[s.Name()] {
			seen[s.Name()] = true
			once = append(once, s)
		}
	}
	file, err := os.Create(filepath.Join(h.Dir, "evidence.tar"))
	h.must(err)
	h.must(ledger.WriteBundle(file, once))
	h.must(file.Close())
	out, err := h.site.tool("verify", "--trust", filepath.Join(h.site.dir, "trust"), file.Name())
	if err != nil && !strings.Contains(out, "gap") {
		h.t.Fatalf("verify: %v\n%s", err, out)
	}
	h.t.Logf("%s", out)
}
