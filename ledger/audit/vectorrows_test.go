package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// TestVectorCodes: another implementer finds each code in a vector, but for those
// that say of the log what no bundle alone can show.
func TestVectorCodes(t *testing.T) {
	var bundles []bundleVector
	readJSON(t, "bundles.json", &bundles)
	seen := make(map[ledger.Code]bool)
	for _, v := range bundles {
		for _, c := range v.Codes {
			seen[c] = true
		}
	}
	// What a log serves, and showed before, is not in a bundle: package monitor's TestLies
	// and TestSeenBefore.
	seen[ledger.LogTiles], seen[ledger.LogRollback] = true, true
	// Nor is what an index answers: cmd/imaledger's search_lies.
	seen[ledger.SearchForeign], seen[ledger.SearchOmitted] = true, true
	// Age is a matter of when one looks: TestCheckAge.
	seen[ledger.CheckpointStale] = true
	for _, c := range ledger.Codes() {
		if !seen[c] {
			t.Errorf("no vector has %s", c)
		}
	}
}

// slug makes a file's name of a test's.
func slug(s string) string {
	return strings.NewReplacer(" ", "-", ",", "", "'", "").Replace(strings.ToLower(s))
}

// makeRows writes the vectors that the tests' tables give.
func (m *maker) makeRows() {
	m.t.Helper()
	for _, row := range segmentRows() {
		switch row.name { // the others are among makeBundles'
		case "another log", "sequence again", "sequence skipped", "signature in another scheme", "other register's value", "register that is not quoted":
		default:
			continue
		}
		w, h := small(m.t)
		h.measure(10)
		h.alter = func(s *ledger.Segment) { row.alter(h, s) }
		h.seal(0)
		m.row("segment-"+slug(row.name), "the last segment, altered after its quote: "+row.name, w, row.want)
	}
	for prefix, rows := range map[string][]playRow{"chain-": chainRows(m.t), "enrolment-": enrolmentRows(), "host-": hostRows(m.t), "log-": forkRows(), "erasure-": erasureRows()} {
		for _, row := range rows {
			w, h := small(m.t)
			row.play(w, h)
			m.row(prefix+slug(row.name), row.name, w, row.want)
		}
	}
	for _, row := range successionRows() {
		ended, next := endedLog(m.t)
		row.play(ended, next)
		want := []ledger.Code{row.want}
		if row.want == "" {
			want = nil
		}
		m.bundle("succession-"+slug(row.name), row.name, ended, ended.write(append(ended.files(nil), next.files(nil)...)), want...)
	}
	m.files()
	m.counterRollback()
}

func (m *maker) row(name, what string, w *world, want ledger.Code) {
	m.t.Helper()
	if want == "" {
		m.bundle(name, what, w, w.bundle(nil))
		return
	}
	m.bundle(name, what, w, w.bundle(nil), want)
}

// hostRows have what neither segments altered nor chains show.
func hostRows(t testing.TB) []playRow {
	return []playRow{
		{"anchor of another size", func(_ *world, h *host) {
			h.measure(5)
			h.anchor = func(a *ledger.Anchor) { a.Size-- }
			h.seal(0)
		}, ledger.AnchorMismatch},
		{"quote by a key of the owner hierarchy", func(_ *world, h *host) {
			h.tpm.Hierarchy = quote.Owner
			h.measure(5)
			h.seal(0)
		}, ledger.QuoteSigner},
		{"size of the payload", func(_ *world, h *host) {
			h.measure(5)
			s := h.assemble(0, selection)
			s.Payload.Size++
			h.submit(s)
		}, ledger.PayloadDigest},
		{"record of a register that the kernel cannot extend", func(w *world, h *host) {
			records := recordsIn(w.t, h.list)
			at := 47 // not yet extended
			offset := len(slices.Concat(records[:at]...))
			h.list = slices.Clone(h.list)
			h.list[offset] = 63
			h.measure(5)
			h.seal(0)
		}, ledger.RecordUnattested},
		{"boot_aggregate over registers that are not quoted", func(w *world, h *host) {
			h.reboot(readFile(w.t, recordings+"stock-6.1/boot1/cut4/binary_runtime_measurements"))
			h.measure(5)
			h.submit(h.assemble(0, ima.Selection{{Bank: ima.SHA1, PCRs: []int{10, 11}}, {Bank: ima.SHA256, PCRs: []int{10, 11}}}))
		}, ledger.BootUnquoted},
		{"one EK for two hosts", func(w *world, h *host) {
			h.enrol(pinned(h, "big-7.3"))
			other := w.newHost("other", "stock-6.1/boot1/cut1")
			other.enrol(pinned(other, "big-7.3"))
		}, ledger.EKReused},
		{"anchor that is no checkpoint", func(w *world, h *host) {
			note := []byte("no checkpoint\n")
			w.keep(ledger.FolderAnchors, note)
			h.measure(5)
			h.anchor = func(a *ledger.Anchor) { a.Note = sha256.Sum256(note) }
			h.seal(0)
		}, ledger.CheckpointMalformed},
		{"checkpoint by another key of the same name", func(w *world, _ *host) { w.log = ed25519.NewKeyFromSeed(seed("forger")) }, ledger.CheckpointSignature},
		{"log of another policy", func(w *world, _ *host) {
			other, _ := vkey(1, "other.example", w.log)
			w.policy = "log " + other + "\nquorum none\n"
			w.setTrust()
		}, ledger.CheckpointUnknown},
		{"anchored to a tree that had it", func(w *world, h *host) {
			n := len(w.entries)
			w.add([]byte("another entry, which the log takes out again"))
			h.measure(5)
			s := h.assemble(0, selection)
			w.entries, w.leaves = w.entries[:n], w.leaves[:n]
			h.submit(s)
		}, ledger.AnchorAfterLeaf},
		{"statement that no operator signed", func(w *world, h *host) {
			w.operator, _ = noteSigner(w.t, "stranger.example")
			r := &ledger.Retention{Log: origin, Policy: 7, Days: 30, Statement: "thirty days", Time: 1}
			if err := ledger.Sign(r, w.operator); err != nil {
				w.t.Fatal(err)
			}
			w.add(r.Marshal())
		}, ledger.StatementUnsigned},
	}
}

// files leaves files out, adds some, and forges one.
func (m *maker) files() {
	w, _ := small(m.t)
	all := filesOf(m.t, w)
	without := func(folder string) []ledger.BundleSource {
		i := slices.IndexFunc(all, func(s ledger.BundleSource) bool { return s.Folder == folder })
		return slices.Delete(slices.Clone(all), i, i+1)
	}
	with := func(s ledger.BundleSource) []ledger.BundleSource { return append(slices.Clone(all), s) }
	missing := map[string]ledger.Code{
		ledger.FolderAnchors: ledger.AnchorMissing, ledger.FolderEvidence: ledger.EnrolmentEvidenceMissing, ledger.FolderProofs: ledger.ProofMissing,
	}
	for _, folder := range slices.Sorted(maps.Keys(missing)) {
		m.bundle("file-left-out-of-"+folder, "one file of "+folder+"/ is left out", w, w.write(without(folder)), missing[folder])
	}
	m.bundle("file-not-named", "a payload that no entry names", w, w.write(with(ledger.SourceBytes(ledger.FolderPayloads, []byte("stowaway"), ledger.Hash{}))), ledger.BundleUnreferenced)
	m.bundle("entry-malformed", "an entry that is none", w, w.write(with(ledger.SourceBytes(ledger.FolderLeaves, []byte("no entry"), ledger.Hash{}))), ledger.EntryMalformed)
	forged := slices.Clone(all)
	i := slices.IndexFunc(forged, func(s ledger.BundleSource) bool { return s.Folder == ledger.FolderPayloads })
	name := forged[i].Hash
	forged[i] = ledger.SourceBytes(ledger.FolderPayloads, []byte("other records"), ledger.Hash{})
	forged[i].Hash = name
	raw := w.write(forged)
	m.bundle("payload-forged", "a payload altered, and the manifest made anew", w, raw, ledger.BundleForged)
	end := bytes.Index(raw, []byte("other records")) + len("other records")
	m.bundle("payload-forged-cut", "the same, cut off behind the payload: the first fault counts", w, raw[:end+1], ledger.BundleForged)
}

// filesOf returns the files of the bundle of the whole world.
func filesOf(t testing.TB, w *world) []ledger.BundleSource {
	raw := w.bundle(nil)
	b, err := ledger.OpenBundle(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	var all []ledger.BundleSource
	for _, f := range b.Files {
		content, _, err := b.Read(f.Folder, f.Hash)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ledger.SourceBytes(f.Folder, content, f.Hash))
	}
	return all
}

func (m *maker) counterRollback() {
	w, h := small(m.t)
	rollBack(h)
	m.bundle("chain-counter-rollback", "a virtual TPM set back to a snapshot", w, w.bundle(nil), ledger.CounterRollback)
}
