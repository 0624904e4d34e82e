package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/tpm/ima"
)

// fleet is two hosts with real lists: one over two boots, one over a kexec.
func fleet(t testing.TB) (w *world, stock, staging *host) {
	t.Helper()
	w = newWorld(t)
	stock = w.newHost("stock", "stock-6.1/boot1/cut1")
	staging = w.newHost("staging", "staging-7.3-kexec/01-full")
	list := readFile(t, recordings+"stock-6.1/boot1/cut4/binary_runtime_measurements")
	for boot := range 2 {
		stock.reboot(list)
		if boot == 1 {
			stock.tpm.Reset() // a boot that nobody attested
		}
		for _, step := range [][2]int{{5, 2}, {45, 0}, {67, 3}, {19, 0}} {
			stock.measure(step[0])
			stock.seal(step[1])
		}
	}
	staging.reboot(stagingList(t))
	for _, step := range [][2]int{{63, 1}, {59, 0}, {64, 0}, {70, 0}, {0, 0}} {
		staging.measure(step[0])
		staging.seal(step[1])
	}
	return w, stock, staging
}

// stagingList joins what a 7.3 kernel gave away in parts: 257 records.
func stagingList(t testing.TB) []byte {
	dir := recordings + "staging-7.3-kexec/"
	full := readFile(t, dir+"02-before-deleting-10/binary_runtime_measurements")
	shortened := readFile(t, dir+"03-after-deleting-10/binary_runtime_measurements")
	ten := full[:len(full)-len(shortened)]
	return slices.Concat(ten, readFile(t, dir+"04-staged/binary_runtime_measurements_staged"), readFile(t, dir+"09-after-kexec-later/binary_runtime_measurements"))
}

func codes(r *audit.Report) []ledger.Code {
	var list []ledger.Code
	for _, f := range r.Findings {
		if !slices.Contains(list, f.Code) {
			list = append(list, f.Code)
		}
	}
	slices.Sort(list)
	return list
}

func TestFleet(t *testing.T) {
	w, _, _ := fleet(t)
	r := w.check(w.bundle(nil))
	if r.Class() != ledger.Noted {
		t.Errorf("findings %v", r.Findings)
	}
	if got := codes(r); !slices.Equal(got, []ledger.Code{ledger.BootSkipped, ledger.Kexec}) {
		t.Errorf("noted %v, want the boot that was skipped and the kexec", got)
	}
	want := []string{
		"records 0 to 256 of host staging, boot reset 3, measured before the quote, quoted not before 2027-01-15 08:18:01Z and not after 2027-01-15 08:28:01Z; 2 violations, whose contents no register binds; the AK is enrolled at grade software (5 segments, #1 to #5)",
		"records 0 to 140 of host stock, boot reset 3, measured before the quote, quoted not before 2027-01-15 08:02:01Z and not after 2027-01-15 08:28:01Z; 2 violations, whose contents no register binds; the AK is enrolled at grade software (4 segments, #1 to #4)",
		"records 0 to 140 of host stock, boot reset 5, measured before the quote, quoted not before 2027-01-15 08:10:01Z and not after 2027-01-15 08:28:01Z; 2 violations, whose contents no register binds; the AK is enrolled at grade software (4 segments, #5 to #8)",
	}
	if got := r.Statements(); !slices.Equal(got, want) {
		t.Errorf("statements\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if r.TreeSize != 15 || r.Log != origin || r.Entries != 15 {
		t.Errorf("tree size %d of log %s, %d entries", r.TreeSize, r.Log, r.Entries)
	}
}

// small is one host with three segments of one boot.
func small(t testing.TB) (*world, *host) {
	w := newWorld(t)
	h := w.newHost("stock", "stock-6.1/boot1/cut1")
	h.reboot(readFile(t, recordings+"stock-6.1/boot1/cut4/binary_runtime_measurements"))
	for _, n := range []int{5, 20, 20} {
		h.measure(n)
		h.seal(0)
	}
	return w, h
}

// refuse holds that the report has the code, and a class that no tool calls
// verified.
func refuse(t *testing.T, r *audit.Report, want ledger.Code) {
	t.Helper()
	if !slices.Contains(codes(r), want) {
		t.Errorf("found %v, want %s", r.Findings, want)
	}
	if want.Class() != ledger.Noted && r.Class() != want.Class() && r.Class() != ledger.Contradicted {
		t.Errorf("class %s with %s", r.Class(), want)
	}
}

// A segmentRow alters a segment as one does who holds the host and lets the log
// take it.
type segmentRow struct {
	name  string
	alter func(h *host, s *ledger.Segment)
	want  ledger.Code
}

func segmentRows() []segmentRow {
	flip := func(b []byte) { b[len(b)/2] ^= 1 }
	return []segmentRow{
		{"an older quote in a newer leaf", func(h *host, s *ledger.Segment) {
			s.Attest, s.Signature = h.last.Attest, h.last.Signature
		}, ledger.QuoteNonce},
		{"head altered after the quote", func(_ *host, s *ledger.Segment) { s.Anchor.Size-- }, ledger.QuoteNonce},
		{"another log", func(_ *host, s *ledger.Segment) { s.Log = "other.example" }, ledger.EntryWrongLog},
		{"quote altered", func(_ *host, s *ledger.Segment) { flip(s.Attest) }, ledger.QuoteSignature},
		{"quote truncated", func(_ *host, s *ledger.Segment) { s.Attest = s.Attest[:50] }, ledger.QuoteMalformed},
		{"signature altered", func(_ *host, s *ledger.Segment) { flip(s.Signature) }, ledger.QuoteSignature},
		{"signature in another scheme", func(_ *host, s *ledger.Segment) { s.Signature[1] = 0x14 }, ledger.QuoteMalformed},
		{"another AK", func(_ *host, s *ledger.Segment) { s.AK = ledger.Name("\x00\x0b" + string(make([]byte, 32))) }, ledger.AKNotEnrolled},
		{"count one more", func(_ *host, s *ledger.Segment) { s.Count++ }, ledger.BodyMismatch},
		{"first one more", func(_ *host, s *ledger.Segment) { s.First++ }, ledger.BodyMismatch},
		{"record root", func(_ *host, s *ledger.Segment) { s.Records[0] ^= 1 }, ledger.BodyMismatch},
		{"payload digest", func(_ *host, s *ledger.Segment) { s.Payload.Digest[0] ^= 1 }, ledger.PayloadMissing},
		{"base", func(_ *host, s *ledger.Segment) { s.Base[0].Value = bytes.Repeat([]byte{7}, 20) }, ledger.BaseMismatch},
		{"end", func(_ *host, s *ledger.Segment) { s.End[0].Value = bytes.Repeat([]byte{7}, 20) }, ledger.QuoteValues},
		{"other register's value", func(_ *host, s *ledger.Segment) { s.Others[1].Value = bytes.Repeat([]byte{7}, len(s.Others[1].Value)) }, ledger.QuoteValues},
		{"register that is not quoted", func(_ *host, s *ledger.Segment) {
			s.Others = append(s.Others, ledger.PCR{Bank: "sha256", Index: 23, Value: make([]byte, 32)})
		}, ledger.QuoteSelection},
		{"register left out", func(_ *host, s *ledger.Segment) { s.Others = s.Others[1:] }, ledger.QuoteSelection},
		{"style", func(_ *host, s *ledger.Segment) { s.Styles[1].Style = "padded" }, ledger.BankWeak},
		{"byte order", func(_ *host, s *ledger.Segment) { s.List.Order = "be" }, ledger.ListMalformed},
		{"list's bank", func(_ *host, s *ledger.Segment) { s.List.Bank = "sha256" }, ledger.ListMalformed},
		{"boot in the middle of a boot", func(_ *host, s *ledger.Segment) { s.Join.Kind = ledger.JoinBoot }, ledger.ZeroBase},
		{"gap declared", func(_ *host, s *ledger.Segment) { s.Join = ledger.Join{Kind: ledger.JoinGap, Reason: "trimmed"} }, ledger.Gap},
		{"previous is another entry", func(_ *host, s *ledger.Segment) { s.Previous[0] ^= 1 }, ledger.ChainBroken},
		{"sequence skipped", func(_ *host, s *ledger.Segment) { s.Sequence++ }, ledger.ChainBroken},
		{"sequence again", func(_ *host, s *ledger.Segment) { s.Sequence-- }, ledger.ChainFork},
	}
}

// TestSegmentAltered: each is found by whoever verifies.
func TestSegmentAltered(t *testing.T) {
	for _, row := range segmentRows() {
		t.Run(row.name, func(t *testing.T) {
			w, h := small(t)
			h.measure(10)
			h.alter = func(s *ledger.Segment) { row.alter(h, s) }
			h.seal(0)
			refuse(t, w.check(w.bundle(nil)), row.want)
		})
	}
}

// TestRecordsAltered alters the payload and all of the leaf that follows from
// it, as a host does that makes its own body: the quote decides.
func TestRecordsAltered(t *testing.T) {
	for _, row := range []struct {
		name  string
		alter func(records [][]byte) [][]byte
		want  ledger.Code
	}{
		{"a record dropped", func(r [][]byte) [][]byte { return slices.Delete(r, 3, 4) }, ledger.ReplayMismatch},
		{"the last record dropped", func(r [][]byte) [][]byte { return r[:len(r)-1] }, ledger.ReplayMismatch},
		{"a record twice", func(r [][]byte) [][]byte { return append(r, r[len(r)-1]) }, ledger.ReplayMismatch},
		{"two records exchanged", func(r [][]byte) [][]byte { r[1], r[2] = r[2], r[1]; return r }, ledger.ReplayMismatch},
		{"a stored digest altered", func(r [][]byte) [][]byte { r[1][5] ^= 1; return r }, ledger.RecordDigest},
		{"a path altered", func(r [][]byte) [][]byte { r[1][len(r[1])-2] ^= 1; return r }, ledger.RecordDigest},
		{"cut inside a record", func(r [][]byte) [][]byte { r[len(r)-1] = r[len(r)-1][:30]; return r }, ledger.ListMalformed},
		{"relabelled for PCR 11", func(r [][]byte) [][]byte { r[1][0] = 11; return r }, ledger.QuoteSelection},
		{"relabelled for PCR 63", func(r [][]byte) [][]byte { r[1][0] = 63; return r }, ledger.ReplayMismatch},
		{"a record for PCR 63 at the end", func(r [][]byte) [][]byte {
			extra := bytes.Clone(r[1])
			extra[0] = 63
			return append(r, extra)
		}, ledger.BodyMismatch},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, h := small(t)
			h.measure(10)
			h.alter = func(s *ledger.Segment) {
				remake(t, w, s, row.alter(recordsIn(t, h.list[h.sealed:h.extended])))
			}
			h.seal(0)
			refuse(t, w.check(w.bundle(nil)), row.want)
		})
	}
}

// recordsIn takes a list apart.
func recordsIn(t testing.TB, list []byte) [][]byte {
	t.Helper()
	var records [][]byte
	for r := ima.NewReader(bytes.NewReader(list), ima.Format{Bank: ima.SHA1}); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return records
		}
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, bytes.Clone(rec.Raw))
	}
}

// remake gives a segment other records, and the fields that follow from them.
func remake(t *testing.T, w *world, s *ledger.Segment, records [][]byte) {
	t.Helper()
	tree := ledger.NewRecordTree()
	for _, r := range records {
		tree.Add(r)
	}
	s.Records = tree.Root()
	source := ledger.SourceBytes(ledger.FolderPayloads, slices.Concat(records...), ledger.Hash{})
	w.sources = append(w.sources, source)
	s.Count, s.Payload = uint64(len(records)), ledger.Addendum{Size: source.Size, Digest: source.Digest}
}

// A playRow plays out what happens to a host, after the three segments of small.
type playRow struct {
	name string
	play func(w *world, h *host)
	want ledger.Code // none where nothing is found
}

// chainRows have what counters and registers rule out over several segments.
func chainRows(t testing.TB) []playRow {
	list := readFile(t, recordings+"stock-6.1/boot1/cut4/binary_runtime_measurements")
	return []playRow{
		{"TPM reset, list goes on as if nothing was", func(w *world, h *host) {
			h.tpm.Reset()
			replayOnto(h)
			h.measure(5)
			s := h.assembleAs(func(in *agentInput) { in.Gap, in.Base, in.First = "unknown", baseOf(h.last), h.last.First+h.last.Count })
			s.Join = ledger.Join{Kind: ledger.JoinContinues}
			h.submit(s)
		}, ledger.JoinInvalid},
		{"clock goes back within a boot", func(w *world, h *host) {
			h.measure(5)
			w.skew = -4 * time.Minute
			h.seal(0)
		}, ledger.ClockRollback},
		{"zero base hides the boot so far", func(w *world, h *host) {
			h.tpm.Reset()
			h.last, h.list, h.sealed, h.extended = nil, list, 0, 0
			h.measure(5)
			s := h.assemble(0, selection)
			h.submit(s)
			h.measure(5)
			s = h.assemble(0, selection)
			s.Join = ledger.Join{Kind: ledger.JoinBoot}
			h.submit(s)
		}, ledger.ZeroBase},
		{"boot without boot_aggregate", func(w *world, h *host) {
			first, err := ima.NewReader(bytes.NewReader(list), ima.Format{Bank: ima.SHA1}).Next()
			if err != nil {
				h.w.t.Fatal(err)
			}
			h.reboot(list[len(first.Raw):])
			h.measure(5)
			h.seal(0)
		}, ledger.BootAggregateAbsent},
		{"boot_aggregate of other firmware", func(w *world, h *host) {
			h.tpm.Firmware = firmware(h.w.t, "stock-6.1/boot1/cut1")
			h.tpm.Firmware[ima.Slot{Bank: ima.SHA256, PCR: 4}] = make([]byte, 32)
			h.reboot(list)
			h.measure(5)
			h.seal(0)
		}, ledger.BootAggregate},
		{"hibernation, declared", func(w *world, h *host) {
			h.tpm.Restart()
			h.measure(5)
			h.submit(h.assembleAs(func(in *agentInput) { in.Gap, in.First = "resumed", h.last.First+h.last.Count }))
		}, ledger.Gap},
		{"records trimmed by another program, declared", func(w *world, h *host) {
			h.measure(5)
			h.sealed = h.extended // the five are gone
			v, err := h.tpm.ReadPCRs(ima.Selection{{Bank: ima.SHA1, PCRs: []int{10}}, {Bank: ima.SHA256, PCRs: []int{10}}})
			if err != nil {
				h.w.t.Fatal(err)
			}
			h.measure(5)
			h.submit(h.assembleAs(func(in *agentInput) { in.Gap, in.Base, in.First = "trimmed", v, h.last.First+h.last.Count+5 }))
		}, ledger.Gap},
		{"suspension", func(w *world, h *host) {
			h.tpm.Resume()
			h.measure(5)
			h.seal(0)
		}, ""},
		{"another AK of the same TPM", func(w *world, h *host) {
			h.otherKey()
			h.enrol(enrolmentOf(h))
			h.measure(5)
			h.seal(0)
		}, ""},
		{"the boot before under its AK, which another has followed", func(w *world, h *host) {
			was := *h
			h.otherKey()
			h.enrol(enrolmentOf(h))
			h.tpm, h.ak = was.tpm, was.ak
			h.measure(5)
			h.seal(0)
		}, ledger.AKNotEnrolled},
		{"goes on under another TPM with the same registers", func(w *world, h *host) {
			h.enrol(pinned(h, "big-7.3"))
			h.reboot(list)
			h.measure(5)
			h.seal(0)
			h.otherKey()
			h.enrol(pinned(h, "templates-7.3"))
			h.measure(5)
			h.seal(0)
		}, ledger.JoinInvalid},
	}
}

func TestChains(t *testing.T) {
	for _, row := range chainRows(t) {
		t.Run(row.name, func(t *testing.T) {
			w, h := small(t)
			w.t, h.w.t = t, t
			row.play(w, h)
			r := w.check(w.bundle(nil))
			if row.want == "" {
				if len(r.Findings) > 0 {
					t.Errorf("found %v", r.Findings)
				}
				return
			}
			refuse(t, r, row.want)
		})
	}
}

// TestCounterRollback: a virtual TPM set back to a snapshot.
func TestCounterRollback(t *testing.T) {
	w, h := small(t)
	rollBack(h)
	refuse(t, w.check(w.bundle(nil)), ledger.CounterRollback)
}

// rollBack seals a segment of the host's next boot, and one after its TPM was set
// back to before that.
func rollBack(h *host) {
	before := *h.tpm
	h.reboot(h.list)
	h.measure(5)
	h.seal(0)
	*h.tpm = before
	s := h.last
	h.list = h.list[:]
	h.last = nil
	h.extended, h.sealed = 0, 0
	next := h.assembleAs(func(in *agentInput) { in.Gap, in.Base, in.List = "unknown", baseFrom(h), bytes.NewReader(nil) })
	h.last = s
	h.submit(next)
}

// TestLeftOut leaves entries out of a bundle.
func TestLeftOut(t *testing.T) {
	w, _, _ := fleet(t)
	at := func(host string, sequence uint64) func(int, ledger.Entry) bool {
		return func(_ int, e ledger.Entry) bool {
			h, s := link(e)
			return h != host || s != sequence
		}
	}
	refuse(t, w.check(w.bundle(at("stock", 3))), ledger.ChainBroken)
	refuse(t, w.check(w.bundle(at("stock", 0))), ledger.AKNotEnrolled)
	// The last one: nothing in a bundle can tell, and nothing is claimed of it.
	if r := w.check(w.bundle(at("stock", 8))); r.Class() != ledger.Noted {
		t.Errorf("without the last: %v", r.Findings)
	}
	// The first ones: it says so.
	partial := w.check(w.bundle(at("stock", 1)))
	refuse(t, partial, ledger.HistoryPartial)
	if partial.Class() != ledger.Noted {
		t.Errorf("without the first: %v", partial.Findings)
	}
	refuse(t, w.check(w.bundle(func(int, ledger.Entry) bool { return false })), ledger.EntryMissing)
}

// TestFilesLeftOut leaves out each kind of file, and adds one that nobody names.
func TestFilesLeftOut(t *testing.T) {
	w, _ := small(t)
	raw := w.bundle(nil)
	b, err := ledger.OpenBundle(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]ledger.Code{
		ledger.FolderAnchors: ledger.AnchorMissing, ledger.FolderEvidence: ledger.EnrolmentEvidenceMissing,
		ledger.FolderPayloads: ledger.PayloadMissing, ledger.FolderProofs: ledger.ProofMissing,
	} {
		var sources []ledger.BundleSource
		left := false
		for _, f := range b.Files {
			if f.Folder == folder && !left {
				left = true
				continue
			}
			content, _, err := b.Read(f.Folder, f.Hash)
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, ledger.SourceBytes(f.Folder, content, f.Hash))
		}
		r := w.check(w.write(sources))
		refuse(t, r, want)
		if r.Class() != ledger.Undecided {
			t.Errorf("%s left out: %s, %v", folder, r.Class(), r.Findings)
		}
		sources = append(sources, ledger.SourceBytes(folder, []byte("stowaway"), ledger.Hash{1}))
		refuse(t, w.check(w.write(sources)), ledger.BundleUnreferenced)
	}
}

// TestLogsThatLie: quorum, forks, keys.
func TestLogsThatLie(t *testing.T) {
	t.Run("quorum not met", func(t *testing.T) {
		w, _ := small(t)
		w.cosigners = 1
		r := w.check(w.bundle(nil))
		refuse(t, r, ledger.QuorumNotMet)
		if r.Class() != ledger.Undecided {
			t.Errorf("class %s: %v", r.Class(), r.Findings)
		}
	})
	t.Run("checkpoint by another key of the same name", func(t *testing.T) {
		w, _ := small(t)
		w.log = ed25519.NewKeyFromSeed(seed("forger"))
		refuse(t, w.check(w.bundle(nil)), ledger.CheckpointSignature)
	})
	t.Run("forged cosignature", func(t *testing.T) {
		w, _ := small(t)
		good := w.check(w.bundle(nil))
		if good.Class() != ledger.Noted {
			t.Fatal(good.Findings)
		}
		// The witness's name and key ID, another key's signature.
		_, id := vkey(4, witnessName(0), w.witnesses[0])
		proof := append(w.proof(0), line(witnessName(0), id, make([]byte, 72))...)
		r := w.check(w.replaceProof(0, proof))
		refuse(t, r, ledger.CosignatureInvalid)
	})
	t.Run("forked log", func(t *testing.T) {
		// The log shows this verifier a tree of the same size with another
		// last leaf, and a quorum of witnesses was talked into it.
		w, _ := small(t)
		forked := slices.Clone(w.leaves)
		forked[3][0] ^= 1
		path, err := ledger.RecordPath(forked, 0)
		if err != nil {
			t.Fatal(err)
		}
		p := ledger.Proof{Index: 0, Hashes: path, Checkpoint: w.sign(forked)}
		refuse(t, w.check(w.replaceProof(0, p.Marshal())), ledger.LogSplit)
	})
	t.Run("proof of another entry", func(t *testing.T) {
		w, _ := small(t)
		refuse(t, w.check(w.replaceProof(0, w.proof(1))), ledger.ProofInclusion)
	})
	t.Run("proof cut short", func(t *testing.T) {
		w, _ := small(t)
		refuse(t, w.check(w.replaceProof(0, w.proof(0)[:40])), ledger.ProofMalformed)
	})
	t.Run("proof with extra data", func(t *testing.T) {
		w, _ := small(t)
		refuse(t, w.check(w.replaceProof(0, withExtra(w.proof(0)))), ledger.ProofMalformed)
	})
	t.Run("order in the log", func(t *testing.T) {
		w, _ := small(t)
		w.entries[1], w.entries[2] = w.entries[2], w.entries[1]
		w.leaves[1], w.leaves[2] = w.leaves[2], w.leaves[1]
		refuse(t, w.check(w.bundle(nil)), ledger.IndexOrder)
	})
	t.Run("log of another policy", func(t *testing.T) {
		w, _ := small(t)
		raw := w.bundle(nil)
		other, _ := vkey(1, "other.example", w.log)
		w.policy = "log " + other + "\nquorum none\n"
		w.setTrust()
		refuse(t, w.check(raw), ledger.CheckpointUnknown)
	})
	t.Run("no witness demanded", func(t *testing.T) {
		w, _ := small(t)
		raw := w.bundle(nil)
		w.policy = strings.Replace(w.policy, "quorum any2", "quorum none", 1)
		w.setTrust()
		r := w.check(raw)
		refuse(t, r, ledger.TimeUnbounded)
		if r.Class() != ledger.Noted {
			t.Errorf("findings %v", r.Findings)
		}
	})
	t.Run("anchored to a tree that had it", func(t *testing.T) {
		w, h := small(t)
		w.add([]byte("another entry, which the log takes out again"))
		s := h.assemble(0, selection)
		w.entries, w.leaves = w.entries[:4], w.leaves[:4]
		h.submit(s)
		refuse(t, w.check(w.bundle(nil)), ledger.AnchorAfterLeaf)
	})
	t.Run("signature by a key nobody knows", func(t *testing.T) {
		w, _ := small(t)
		r := w.check(w.replaceProof(0, append(w.proof(0), line("stranger.example", 7, make([]byte, 64))...)))
		refuse(t, r, ledger.SignatureUnknown)
		if r.Class() != ledger.Noted {
			t.Errorf("findings %v", r.Findings)
		}
	})
	t.Run("anchored after it was witnessed", func(t *testing.T) {
		w, h := small(t)
		h.measure(3)
		w.now = w.now.Add(24 * time.Hour)
		h.seal(0)
		w.now = w.now.Add(-48 * time.Hour) // the witnesses' clocks are wrong, all of them
		refuse(t, w.check(w.bundle(nil)), ledger.TimeOrder)
	})
}

// withExtra gives a proof the line that nothing authenticates.
func withExtra(proof []byte) []byte {
	return bytes.Replace(proof, []byte("\nindex "), []byte("\nextra AAAA\nindex "), 1)
}

// replaceProof makes a bundle in which entry i has another proof.
func (w *world) replaceProof(i int, proof []byte) []byte {
	sources := filesOf(w.t, w)
	for n, s := range sources {
		if s.Folder == ledger.FolderProofs && s.Hash == w.leaves[i] {
			sources[n] = ledger.SourceBytes(s.Folder, proof, s.Hash)
		}
	}
	return w.write(sources)
}

// enrolmentRows have what an enrolment is refused for.
func enrolmentRows() []playRow {
	return []playRow{
		{"signed by nobody known", func(w *world, h *host) {
			w.registrar, _ = noteSigner(w.t, "stranger.example")
			w.newHost("other", "stock-6.1/boot1/cut1")
		}, ledger.EnrolmentUnsigned},
		{"too few registrars", func(w *world, h *host) {
			_, second := noteSigner(w.t, "second.example")
			w.rules = strings.Replace(w.rules, "registrars 1\n", "registrar "+second+"\nregistrars 2\n", 1)
			w.setTrust()
		}, ledger.EnrolmentUnsigned},
		{"grade not accepted", func(w *world, h *host) {
			w.rules = strings.Replace(w.rules, "grade software because these are tests\n", "", 1)
			w.setTrust()
		}, ledger.EnrolmentGrade},
		{"one AK for two hosts", func(w *world, h *host) {
			twin := *h
			twin.name, twin.sequence, twin.head = "twin", 0, ledger.Hash{}
			twin.enrol(enrolmentOf(h))
		}, ledger.AKReused},
		{"AK name of another key", func(w *world, h *host) {
			e := enrolmentOf(h)
			e.AK = ledger.Name("\x00\x0b" + string(make([]byte, 32)))
			h.enrol(e)
		}, ledger.EnrolmentEvidenceInvalid},
		{"AK that is none", func(w *world, h *host) {
			e := enrolmentOf(h)
			e.AKPublic = bytes.Clone(e.AKPublic)
			e.AKPublic[5] ^= 1 // restricted
			h.enrol(e)
		}, ledger.AKAttributes},
		{"chain begun anew", func(w *world, h *host) {
			h.sequence, h.head = 1, w.leaves[0]
			h.enrol(enrolmentOf(h))
		}, ledger.ChainFork},
		{"certificate grade without certificate", func(w *world, h *host) {
			e := enrolmentOf(h)
			e.Grade, e.EK = ledger.GradeCertificate, ledger.Name("\x00\x0b"+string(make([]byte, 32)))
			h.enrol(e)
		}, ledger.EnrolmentEvidenceInvalid},
		{"enrolled again with the same AK", func(w *world, h *host) {
			h.enrol(enrolmentOf(h))
			h.measure(5)
			h.seal(0)
		}, ""},
	}
}

func TestEnrolments(t *testing.T) {
	for _, row := range enrolmentRows() {
		t.Run(row.name, func(t *testing.T) {
			w, h := small(t)
			w.t = t
			row.play(w, h)
			r := w.check(w.bundle(nil))
			if row.want == "" {
				if len(r.Findings) > 0 {
					t.Errorf("found %v", r.Findings)
				}
				return
			}
			refuse(t, r, row.want)
		})
	}
}

func enrolmentOf(h *host) *ledger.Enrolment {
	return &ledger.Enrolment{AK: ledger.Name(h.ak.Name), AKPublic: h.ak.Raw, Grade: ledger.GradeSoftware, Evidence: (&ledger.EnrolmentEvidence{}).Addendum()}
}

// TestCertificateGrade enrols a real TPM's EK with its vendor's certificates.
func TestCertificateGrade(t *testing.T) {
	id := recordings + "big-7.3/identity/"
	for _, row := range []struct {
		name  string
		alter func(e *ledger.Enrolment, evidence *ledger.EnrolmentEvidence)
		want  ledger.Code
	}{
		{"good", func(*ledger.Enrolment, *ledger.EnrolmentEvidence) {}, ""},
		{"no intermediate", func(_ *ledger.Enrolment, ev *ledger.EnrolmentEvidence) { ev.Certificates = ev.Certificates[:1] }, ledger.EnrolmentEvidenceInvalid},
		{"no certificate", func(_ *ledger.Enrolment, ev *ledger.EnrolmentEvidence) { ev.Certificates = nil }, ledger.EnrolmentEvidenceInvalid},
		{"another EK's name", func(e *ledger.Enrolment, _ *ledger.EnrolmentEvidence) {
			e.EK = ledger.Name("\x00\x0b" + string(make([]byte, 32)))
		}, ledger.EnrolmentEvidenceInvalid},
		{"pinned needs no certificate", func(e *ledger.Enrolment, ev *ledger.EnrolmentEvidence) {
			e.Grade, ev.Certificates = ledger.GradePinned, nil
		}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, h := small(t)
			ek := readFile(t, id+"ek.tpmt_public")
			evidence := &ledger.EnrolmentEvidence{
				EKPublic: ek, Certificates: [][]byte{derOf(t, readFile(t, id+"ek.crt.der")), pemOf(t, "tpm-vendor-intermediate.pem")},
				Activations: []ledger.Activation{{Credential: []byte("credential"), Secret: []byte("secret")}},
			}
			e := enrolmentOf(h)
			e.Grade, e.EK = ledger.GradeCertificate, ekName(t, ek)
			row.alter(e, evidence)
			e.Evidence = evidence.Addendum()
			w.keep(ledger.FolderEvidence, evidence.Marshal())
			h.enrol(e)
			r := w.check(w.bundle(nil))
			if row.want == "" {
				if len(r.Findings) > 0 {
					t.Errorf("found %v", r.Findings)
				}
				return
			}
			refuse(t, r, row.want)
		})
	}
}

// TestErasure: a payload that is gone is erased by policy, or missing.
func TestErasure(t *testing.T) {
	without := func(w *world, gone ledger.Hash) *audit.Report {
		w.sources = slices.DeleteFunc(w.sources, func(s ledger.BundleSource) bool { return s.Hash == gone })
		return w.check(w.bundle(nil))
	}
	state := func(w *world, s ledger.Statement, signer *host) ledger.Hash {
		w.t.Helper()
		if err := ledger.Sign(s, w.operator); err != nil {
			w.t.Fatal(err)
		}
		return w.add(s.Marshal())
	}
	w, h := small(t)
	leaf, payload := w.leaves[2], segmentAt(t, w, 2).Payload.Digest
	policy := state(w, &ledger.Retention{Log: origin, Policy: 7, Days: 30, Statement: "thirty days", Time: 1}, h)
	w.now = w.now.Add(31 * 24 * time.Hour)
	state(w, &ledger.Erasure{Log: origin, Retention: policy, Erased: []ledger.Erased{{Leaf: leaf, Payload: payload}}, Reason: "older than thirty days", Time: 2}, h)
	r := without(w, payload)
	refuse(t, r, ledger.PayloadErased)
	if slices.Contains(codes(r), ledger.EntryMissing) {
		t.Errorf("the retention policy was not found: %v", r.Findings)
	}
	if r.Class() != ledger.Undecided || !strings.Contains(r.Segments[1].Statement(), "erased under retention policy 7 by [operator.example], erasure "+fmt.Sprintf("%x", w.leaves[5])[:12]+"… witnessed by ") {
		t.Errorf("%s: %s; %v", r.Class(), r.Segments[1].Statement(), r.Findings)
	}
	w, _ = small(t)
	refuse(t, without(w, segmentAt(t, w, 2).Payload.Digest), ledger.PayloadMissing)

	// An erasure that no operator signed accounts for nothing.
	w, h = small(t)
	w.operator, _ = noteSigner(t, "stranger.example")
	leaf, payload = w.leaves[2], segmentAt(t, w, 2).Payload.Digest
	policy = state(w, &ledger.Retention{Log: origin, Policy: 7, Days: 30, Statement: "thirty days", Time: 1}, h)
	state(w, &ledger.Erasure{Log: origin, Retention: policy, Erased: []ledger.Erased{{Leaf: leaf, Payload: payload}}, Reason: "x", Time: 2}, h)
	r = without(w, payload)
	refuse(t, r, ledger.StatementUnsigned)
	refuse(t, r, ledger.PayloadMissing)
}

// TestAcknowledgement: a gap stays visible, with an operator's word beside it.
func TestAcknowledgement(t *testing.T) {
	w, h := small(t)
	h.measure(10)
	h.alter = func(s *ledger.Segment) { s.Join = ledger.Join{Kind: ledger.JoinGap, Reason: "trimmed"} }
	leaf := h.seal(0)
	ack := &ledger.Acknowledgement{Log: origin, Host: "stock", Entry: leaf, Finding: ledger.Gap, Statement: "known", Time: 3}
	if err := ledger.Sign(ack, w.operator); err != nil {
		t.Fatal(err)
	}
	w.add(ack.Marshal())
	r := w.check(w.bundle(nil))
	refuse(t, r, ledger.GapAcknowledged)
	if r.Class() != ledger.Noted {
		t.Errorf("%s: %v", r.Class(), r.Findings)
	}
}

// TestBundleEveryByte alters each byte of a small good bundle: every one is
// refused.
func TestBundleEveryByte(t *testing.T) {
	w := newWorld(t)
	h := w.newHost("stock", "stock-6.1/boot1/cut1")
	h.reboot(readFile(t, recordings+"stock-6.1/boot1/cut4/binary_runtime_measurements"))
	h.measure(3)
	h.seal(0)
	raw := w.bundle(nil)
	accepted := func() bool {
		b, err := ledger.OpenBundle(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return false
		}
		r, err := audit.CheckBundle(w.trust, b)
		return err == nil && r.Class() == ledger.Noted
	}
	if !accepted() {
		t.Fatal("the good bundle is refused")
	}
	for i := range raw {
		raw[i] ^= 1
		if accepted() {
			t.Errorf("byte %d of %d altered: accepted", i, len(raw))
		}
		raw[i] ^= 1
	}
}

// TestEachFileEveryByte alters each byte of each file and makes the manifest
// anew, as a forger does: what is still accepted is said to be unknown.
func TestEachFileEveryByte(t *testing.T) {
	w := newWorld(t)
	h := w.newHost("stock", "stock-6.1/boot1/cut1")
	h.reboot(readFile(t, recordings+"stock-6.1/boot1/cut4/binary_runtime_measurements"))
	h.measure(3)
	h.seal(0)
	raw := w.bundle(nil)
	b, err := ledger.OpenBundle(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for n, f := range b.Files {
		content, _, err := b.Read(f.Folder, f.Hash)
		if err != nil {
			t.Fatal(err)
		}
		for i := range content {
			var sources []ledger.BundleSource
			for m, g := range b.Files {
				c, _, err := b.Read(g.Folder, g.Hash)
				if err != nil {
					t.Fatal(err)
				}
				if m == n {
					c = bytes.Clone(c)
					c[i] ^= 1
				}
				sources = append(sources, ledger.SourceBytes(g.Folder, c, g.Hash))
			}
			// A witness's name or key ID altered makes its line a stranger's; two
			// of three witnesses are left, and the report says so.
			if r := w.check(w.write(sources)); r.Class() == ledger.Noted && !slices.Contains(codes(r), ledger.SignatureUnknown) {
				t.Errorf("%s: byte %d altered: accepted", f.Name(), i)
			}
		}
	}
}
