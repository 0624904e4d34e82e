package audit_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// writeVectors makes the vectors that are not there. The keys of hosts sign with
// fresh randomness, so what is committed is made once and stays.
var writeVectors = flag.Bool("write-vectors", false, "write the bundles that ledger/testdata/vectors lacks before testing them")

const vectorDir = "../testdata/vectors"

// A bundleVector is a bundle, the trust folder to check it with, and what is
// found.
type bundleVector struct {
	Name    string        `json:"name"`
	What    string        `json:"what"`
	Bundle  string        `json:"bundle"`            // file
	Trust   string        `json:"trust"`             // folder
	Class   string        `json:"class"`             // verified, contradicted, undecided
	Codes   []ledger.Code `json:"codes"`             // of all findings, sorted, each once
	Records *uint64       `json:"records,omitempty"` // proven in all, of a bundle that verifies
}

// An entryVector is an entry of a log: one that parses, or what is wrong with
// it.
type entryVector struct {
	Name  string `json:"name"`
	Entry string `json:"entry"`          // base64
	Leaf  string `json:"leaf,omitempty"` // leaf hash in hex, of one that parses
	Wrong string `json:"wrong,omitempty"`
}

// A recordVector is a record proof and the segment it is for.
type recordVector struct {
	Name    string `json:"name"`
	Segment string `json:"segment"` // entry, base64
	Proof   string `json:"proof"`   // base64
	OK      bool   `json:"ok"`
	Sealed  bool   `json:"sealed"`
	Bound   bool   `json:"bound"`
}

func TestVectors(t *testing.T) {
	if *writeVectors {
		makeVectors(t)
	}
	var bundles []bundleVector
	readJSON(t, "bundles.json", &bundles)
	for _, v := range bundles {
		r := checkVector(t, v)
		if got := vectorClass(r); got != v.Class || !slices.Equal(codes(r), v.Codes) {
			t.Errorf("%s: %s %v, want %s %v", v.Name, got, codes(r), v.Class, v.Codes)
		}
		if v.Records != nil && recordsOf(r) != *v.Records {
			t.Errorf("%s: %d records, want %d", v.Name, recordsOf(r), *v.Records)
		}
	}
	var entries []entryVector
	readJSON(t, "entries.json", &entries)
	for _, v := range entries {
		raw, err := base64.StdEncoding.DecodeString(v.Entry)
		if err != nil {
			t.Fatal(err)
		}
		e, err := ledger.ParseEntry(raw)
		switch {
		case v.Wrong != "":
			if err == nil {
				t.Errorf("%s: parses", v.Name)
			}
		case err != nil || !bytes.Equal(e.Marshal(), raw) || fmt.Sprintf("%x", ledger.LeafHash(raw)) != v.Leaf:
			t.Errorf("%s: %v", v.Name, err)
		}
	}
	var records []recordVector
	readJSON(t, "records.json", &records)
	for _, v := range records {
		if got, bound := checkRecordVector(t, v); got != v.OK || got && bound != v.Bound {
			t.Errorf("%s: verifies %v, bound %v", v.Name, got, bound)
		}
	}
	if len(bundles) < 70 || len(entries) < 30 || len(records) < 6 {
		t.Errorf("%d bundles, %d entries, %d records: some are gone", len(bundles), len(entries), len(records))
	}
}

func checkVector(t *testing.T, v bundleVector) *audit.Report {
	t.Helper()
	read := func(name string) []byte { return readFile(t, filepath.Join(vectorDir, v.Trust, name)) }
	var roots [][]byte
	names, _ := filepath.Glob(filepath.Join(vectorDir, v.Trust, "roots", "*.pem"))
	for _, n := range names {
		roots = append(roots, readFile(t, n))
	}
	trust, err := ledger.ParseTrust(read("policy"), read("rules"), roots...)
	if err != nil {
		t.Fatal(err)
	}
	raw := readFile(t, filepath.Join(vectorDir, v.Bundle))
	b, err := ledger.OpenBundle(bytes.NewReader(raw), int64(len(raw)))
	if bad, ok := err.(*ledger.BundleError); ok {
		return &audit.Report{Findings: []ledger.Finding{{Code: bad.Code}}}
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.CheckBundle(trust, b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func vectorClass(r *audit.Report) string {
	if r.Class() == ledger.Noted {
		return "verified"
	}
	return r.Class().String()
}

func recordsOf(r *audit.Report) uint64 {
	var n uint64
	for _, s := range r.Segments {
		if s.Replayed {
			n += s.Count
		}
	}
	return n
}

func checkRecordVector(t *testing.T, v recordVector) (ok, bound bool) {
	t.Helper()
	entry, err := base64.StdEncoding.DecodeString(v.Segment)
	if err != nil {
		t.Fatal(err)
	}
	seg, err := ledger.ParseSegment(entry)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(v.Proof)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ledger.ParseRecordProof(raw)
	if err != nil {
		return false, false
	}
	claim, _ := audit.CheckRecord(seg, p)
	return claim != nil, claim != nil && claim.Bound
}

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	if err := json.Unmarshal(readFile(t, filepath.Join(vectorDir, name)), v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// A maker writes vectors.
type maker struct {
	t       *testing.T
	bundles []bundleVector
	trusts  map[string]string // policy and rules to folder
}

func makeVectors(t *testing.T) {
	m := &maker{t: t, trusts: make(map[string]string)}
	readJSON(t, "bundles.json", &m.bundles)
	for _, v := range m.bundles {
		read := func(name string) string { return string(readFile(t, filepath.Join(vectorDir, v.Trust, name))) }
		m.trusts[read("policy")+read("rules")] = v.Trust
	}
	m.makeBundles()
	m.makeRows()
	slices.SortFunc(m.bundles, func(a, b bundleVector) int { return strings.Compare(a.Name, b.Name) })
	m.writeJSON("bundles.json", m.bundles)
	for name, make := range map[string]func(){"entries.json": m.makeEntries, "records.json": m.makeRecords, "across.json": m.makeAcross} {
		if _, err := os.Stat(filepath.Join(vectorDir, name)); err != nil {
			make()
		}
	}
	m.addEntries()
}

// addEntries adds good entries that entries.json lacks: those of formats that came
// later.
func (m *maker) addEntries() {
	var list []entryVector
	readJSON(m.t, "entries.json", &list)
	ended, next := endedLog(m.t)
	next.succeed(ended, ended.freeze(next, nil), nil)
	for name, raw := range map[string][]byte{"good-freeze": ended.entries[len(ended.entries)-1], "good-succession": next.entries[0]} {
		if !slices.ContainsFunc(list, func(v entryVector) bool { return v.Name == name }) {
			list = append(list, entryVector{Name: name, Entry: base64.StdEncoding.EncodeToString(raw), Leaf: fmt.Sprintf("%x", ledger.LeafHash(raw))})
		}
	}
	slices.SortFunc(list, func(a, b entryVector) int { return strings.Compare(a.Name, b.Name) })
	m.writeJSON("entries.json", list)
}

func (m *maker) write(name string, content []byte) {
	m.t.Helper()
	name = filepath.Join(vectorDir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *maker) writeJSON(name string, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(name, append(b, '\n'))
}

// bundle writes a bundle and what is found in it, which must be what is wanted:
// a vector is not made by the code it tests alone.
func (m *maker) bundle(name, what string, w *world, raw []byte, want ...ledger.Code) {
	m.t.Helper()
	if slices.ContainsFunc(m.bundles, func(v bundleVector) bool { return v.Name == name }) {
		return
	}
	trust, known := m.trusts[w.policy+w.rules]
	if !known {
		trust = fmt.Sprintf("trust/%d", len(m.trusts)+1)
		m.trusts[w.policy+w.rules] = trust
		m.write(trust+"/policy", []byte(w.policy))
		m.write(trust+"/rules", []byte(w.rules))
		m.write(trust+"/roots/vendor.pem", readFile(m.t, recordings+"tpm-vendor-root.pem"))
	}
	v := bundleVector{Name: name, What: what, Bundle: "bundles/" + name + ".tar", Trust: trust}
	m.write(v.Bundle, raw)
	r := checkVector(m.t, v)
	v.Class, v.Codes = vectorClass(r), codes(r)
	if v.Codes == nil {
		v.Codes = []ledger.Code{}
	}
	if v.Class == "verified" {
		n := recordsOf(r)
		v.Records = &n
	}
	for _, c := range want {
		if !slices.Contains(v.Codes, c) {
			m.t.Errorf("%s: found %v, want %s", name, v.Codes, c)
		}
	}
	if len(want) == 0 && v.Class != "verified" {
		m.t.Errorf("%s: %v", name, r.Findings)
	}
	m.bundles = append(m.bundles, v)
}

func (m *maker) makeBundles() {
	w, h := small(m.t)
	good := w.bundle(nil)
	m.bundle("good", "one host, one boot, three segments", w, good)
	damagedBundle := bytes.Clone(good)
	damagedBundle[len(good)/2] ^= 1
	m.bundle("damaged", "one byte altered", w, damagedBundle, ledger.BundleDamaged)
	m.bundle("truncated", "the last block is missing", w, good[:len(good)-512], ledger.BundleDamaged)
	f, _, _ := fleet(m.t)
	m.bundle("fleet", "two hosts, two boots with one skipped between, a kexec, a second register", f, f.bundle(nil), ledger.BootSkipped, ledger.Kexec)
	without := func(host string, sequence uint64) func(int, ledger.Entry) bool {
		return func(_ int, e ledger.Entry) bool {
			h, s := link(e)
			return h != host || s != sequence
		}
	}
	m.bundle("segment-left-out", "a segment in the middle is left out", f, f.bundle(without("stock", 3)), ledger.ChainBroken)
	m.bundle("enrolment-left-out", "a host without its enrolment", w, w.bundle(without("stock", 0)), ledger.AKNotEnrolled)
	m.bundle("first-left-out", "the first segment is left out: the history is partial", w, w.bundle(without("stock", 1)), ledger.HistoryPartial)
	m.bundle("empty", "no entry at all", w, w.bundle(func(int, ledger.Entry) bool { return false }), ledger.EntryMissing)
	m.bundle("proof-of-another-entry", "an entry with another one's proof", w, w.replaceProof(0, w.proof(1)), ledger.ProofInclusion)
	m.bundle("proof-cut-short", "a proof of 40 bytes", w, w.replaceProof(0, w.proof(0)[:40]), ledger.ProofMalformed)
	m.bundle("proof-with-extra-data", "a proof with a line that nothing authenticates", w, w.replaceProof(0, withExtra(w.proof(0))), ledger.ProofMalformed)
	_, id := vkey(4, witnessName(0), w.witnesses[0])
	m.bundle("cosignature-forged", "a second line by a known witness that does not verify", w, w.replaceProof(0, append(w.proof(0), line(witnessName(0), id, make([]byte, 72))...)), ledger.CosignatureInvalid)
	m.bundle("signature-of-a-stranger", "a line by a key that the policy does not name", w, w.replaceProof(0, append(w.proof(0), line("stranger.example", 7, make([]byte, 64))...)), ledger.SignatureUnknown)
	forked := slices.Clone(w.leaves)
	forked[3][0] ^= 1
	path, err := ledger.RecordPath(forked, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	fork := ledger.Proof{Index: 0, Hashes: path, Checkpoint: w.sign(forked)}
	m.bundle("log-split", "two witnessed trees of one size", w, w.replaceProof(0, fork.Marshal()), ledger.LogSplit)
	short, _ := small(m.t)
	short.cosigners = 1
	m.bundle("quorum-not-met", "one cosignature of the two that are needed", short, short.bundle(nil), ledger.QuorumNotMet)
	swapped, _ := small(m.t)
	swapped.entries[1], swapped.entries[2] = swapped.entries[2], swapped.entries[1]
	swapped.leaves[1], swapped.leaves[2] = swapped.leaves[2], swapped.leaves[1]
	m.bundle("index-order", "the log has the segments in another order than the chain", swapped, swapped.bundle(nil), ledger.IndexOrder)
	none, _ := small(m.t)
	none.policy = strings.Replace(none.policy, "quorum any2", "quorum none", 1)
	none.setTrust()
	m.bundle("no-witness-demanded", "quorum none: nothing bounds the time", none, none.bundle(nil), ledger.TimeUnbounded)
	strict, _ := small(m.t)
	strict.rules = strings.Replace(strict.rules, "grade software because these are tests\n", "", 1)
	strict.setTrust()
	m.bundle("grade-not-accepted", "grade software, and rules that do not accept it", strict, strict.bundle(nil), ledger.EnrolmentGrade)
	gone, _ := small(m.t)
	payload := segmentAt(m.t, gone, 2).Payload.Digest
	gone.sources = slices.DeleteFunc(gone.sources, func(s ledger.BundleSource) bool { return s.Hash == payload })
	m.bundle("payload-missing", "records that no erasure accounts for", gone, gone.bundle(nil), ledger.PayloadMissing)
	m.erased()
	late, lateHost := small(m.t)
	lateHost.measure(3)
	late.now = late.now.Add(24 * time.Hour)
	lateHost.seal(0)
	late.now = late.now.Add(-48 * time.Hour)
	m.bundle("time-order", "witnessed before its anchor", late, late.bundle(nil), ledger.TimeOrder)
	for name, alter := range map[string]func(h *host, s *ledger.Segment) ledger.Code{
		"older-quote": func(h *host, s *ledger.Segment) ledger.Code {
			s.Attest, s.Signature = h.last.Attest, h.last.Signature
			return ledger.QuoteNonce
		},
		"quote-altered":   func(_ *host, s *ledger.Segment) ledger.Code { s.Attest[60] ^= 1; return ledger.QuoteSignature },
		"quote-truncated": func(_ *host, s *ledger.Segment) ledger.Code { s.Attest = s.Attest[:50]; return ledger.QuoteMalformed },
		"another-ak": func(_ *host, s *ledger.Segment) ledger.Code {
			s.AK = ledger.Name("\x00\x0b" + string(make([]byte, 32)))
			return ledger.AKNotEnrolled
		},
		"count":       func(_ *host, s *ledger.Segment) ledger.Code { s.Count++; return ledger.BodyMismatch },
		"record-root": func(_ *host, s *ledger.Segment) ledger.Code { s.Records[0] ^= 1; return ledger.BodyMismatch },
		"base": func(_ *host, s *ledger.Segment) ledger.Code {
			s.Base[0].Value = bytes.Repeat([]byte{7}, 20)
			return ledger.BaseMismatch
		},
		"end": func(_ *host, s *ledger.Segment) ledger.Code {
			s.End[0].Value = bytes.Repeat([]byte{7}, 20)
			return ledger.QuoteValues
		},
		"register-left-out": func(_ *host, s *ledger.Segment) ledger.Code { s.Others = s.Others[1:]; return ledger.QuoteSelection },
		"style":             func(_ *host, s *ledger.Segment) ledger.Code { s.Styles[1].Style = "padded"; return ledger.BankWeak },
		"byte-order":        func(_ *host, s *ledger.Segment) ledger.Code { s.List.Order = "be"; return ledger.ListMalformed },
		"boot-in-a-boot":    func(_ *host, s *ledger.Segment) ledger.Code { s.Join.Kind = ledger.JoinBoot; return ledger.ZeroBase },
		"gap": func(_ *host, s *ledger.Segment) ledger.Code {
			s.Join = ledger.Join{Kind: ledger.JoinGap, Reason: "trimmed"}
			return ledger.Gap
		},
		"previous": func(_ *host, s *ledger.Segment) ledger.Code { s.Previous[0] ^= 1; return ledger.ChainBroken },
	} {
		w, h = small(m.t)
		h.measure(10)
		var want ledger.Code
		h.alter = func(s *ledger.Segment) { want = alter(h, s) }
		h.seal(0)
		m.bundle(name, "the last segment, altered after its quote: "+string(want), w, w.bundle(nil), want)
	}
	m.recordsAltered()
}

// erased: a payload that is gone by policy, and a gap that was acknowledged.
func (m *maker) erased() {
	w, _ := small(m.t)
	state := func(s ledger.Statement) ledger.Hash {
		if err := ledger.Sign(s, w.operator); err != nil {
			m.t.Fatal(err)
		}
		return w.add(s.Marshal())
	}
	payload := segmentAt(m.t, w, 2).Payload.Digest
	policy := state(&ledger.Retention{Log: origin, Policy: 7, Days: 30, Statement: "thirty days", Time: 1})
	w.now = w.now.Add(31 * 24 * time.Hour)
	state(&ledger.Erasure{Log: origin, Retention: policy, Erased: []ledger.Erased{{Leaf: w.leaves[2], Payload: payload}}, Reason: "older than thirty days", Time: 2})
	w.sources = slices.DeleteFunc(w.sources, func(s ledger.BundleSource) bool { return s.Hash == payload })
	m.bundle("payload-erased", "records erased by a stated policy", w, w.bundle(nil), ledger.PayloadErased)

	w, h := small(m.t)
	h.measure(10)
	h.alter = func(s *ledger.Segment) { s.Join = ledger.Join{Kind: ledger.JoinGap, Reason: "trimmed"} }
	leaf := h.seal(0)
	ack := &ledger.Acknowledgement{Log: origin, Host: "stock", Entry: leaf, Finding: ledger.Gap, Statement: "known", Time: 3}
	if err := ledger.Sign(ack, w.operator); err != nil {
		m.t.Fatal(err)
	}
	w.add(ack.Marshal())
	m.bundle("gap-acknowledged", "a gap with an operator's word beside it", w, w.bundle(nil), ledger.GapAcknowledged)
}

// recordsAltered: records altered, and all of the leaf that follows from them.
func (m *maker) recordsAltered() {
	for name, alter := range map[string]func(r [][]byte) ([][]byte, ledger.Code){
		"record-dropped":    func(r [][]byte) ([][]byte, ledger.Code) { return slices.Delete(r, 3, 4), ledger.ReplayMismatch },
		"records-exchanged": func(r [][]byte) ([][]byte, ledger.Code) { r[1], r[2] = r[2], r[1]; return r, ledger.ReplayMismatch },
		"stored-digest":     func(r [][]byte) ([][]byte, ledger.Code) { r[1][5] ^= 1; return r, ledger.RecordDigest },
		"record-cut-short": func(r [][]byte) ([][]byte, ledger.Code) {
			r[len(r)-1] = r[len(r)-1][:30]
			return r, ledger.ListMalformed
		},
		"record-for-pcr-11": func(r [][]byte) ([][]byte, ledger.Code) { r[1][0] = 11; return r, ledger.QuoteSelection },
	} {
		w, h := small(m.t)
		h.measure(10)
		var want ledger.Code
		h.alter = func(s *ledger.Segment) {
			records, code := alter(recordsIn(m.t, h.list[h.sealed:h.extended]))
			want = code
			remake(m.t, w, s, records)
		}
		h.seal(0)
		m.bundle(name, "records altered, and the leaf made to fit: "+string(want), w, w.bundle(nil), want)
	}
}

// makeEntries writes good entries, and each with one rule broken.
func (m *maker) makeEntries() {
	var list []entryVector
	enc := base64.StdEncoding.EncodeToString
	f, _, _ := fleet(m.t)
	for i, raw := range [][]byte{f.entries[0], f.entries[2], f.entries[14]} {
		list = append(list, entryVector{Name: fmt.Sprintf("good-%d", i+1), Entry: enc(raw), Leaf: fmt.Sprintf("%x", ledger.LeafHash(raw))})
	}
	for _, s := range []ledger.Statement{
		&ledger.Retention{Log: origin, Policy: 1, Statement: "for ever", Time: 1},
		&ledger.Retention{Log: origin, Policy: 2, Days: 90, Appraisal: true, Statement: "ninety days", Time: 1},
		&ledger.Erasure{Log: origin, Erased: []ledger.Erased{{Leaf: ledger.Hash{1}}, {Leaf: ledger.Hash{2}}}, Reason: "policy", Time: 1},
		&ledger.Hold{Log: origin, From: 1, To: 2, Reason: "court order", Time: 1},
		&ledger.Hold{Log: origin, Host: "stock", From: 1, To: 2, Reason: "court order", Time: 1},
		&ledger.Release{Log: origin, Reason: "lifted", Time: 1},
		&ledger.Appraisal{Log: origin, Host: "stock", Passed: true, Report: ledger.Addendum{Size: 1}, Time: 1},
		&ledger.Acknowledgement{Log: origin, Host: "stock", Finding: ledger.Gap, Statement: "known", Time: 1},
	} {
		if err := ledger.Sign(s, f.operator); err != nil {
			m.t.Fatal(err)
		}
		raw := s.Marshal()
		list = append(list, entryVector{Name: "good-" + strings.Split(s.Format(), "/")[1] + fmt.Sprint(len(list)), Entry: enc(raw), Leaf: fmt.Sprintf("%x", ledger.LeafHash(raw))})
	}
	segment := f.entries[2]
	wrong := func(name string, raw []byte) {
		if _, err := ledger.ParseEntry(raw); err == nil {
			m.t.Errorf("%s: parses", name)
		}
		list = append(list, entryVector{Name: name, Entry: enc(raw), Wrong: strings.ReplaceAll(name, "-", " ")})
	}
	text, trailer := segment[:len(segment)-73], segment[len(segment)-73:]
	for name, r := range map[string][2]string{
		"unknown-version": {"segment/v1", "segment/v2"}, "carriage-return": {"host stock\n", "host stock\r\n"}, "leading-zero": {"\nsequence ", "\nsequence 0"},
		"two-spaces": {"\ncount ", "\ncount  "}, "upper-case-hex": {"\nak 000b", "\nak 000B"}, "upper-case-host": {"host stock", "host Stock"}, "unknown-join": {"join boot", "join again"},
		"gap-without-reason": {"join boot", "join gap"}, "unknown-bank": {"list sha1 ", "list md5 "}, "unknown-style": {"style sha256 digest", "style sha256 none"},
		"style-of-sha1": {"style sha1 digest", "style sha1 padded"}, "style-left-out": {"style sha1 digest\n", ""}, "unknown-key": {"\nfirst ", "\nlast "},
		"registers-out-of-order": {"other sha256:0 ", "other sha256:2 "}, "end-without-base": {"\nend sha1:10 ", "\nend sha1:12 "}, "register-24": {"other sha256:9 ", "other sha256:24 "},
		"base64-not-canonical": {"\nquote /", "\nquote  /"}, "number-over-2-63": {"\nfirst 0", "\nfirst 9223372036854775808"},
	} {
		altered := strings.Replace(string(text), r[0], r[1], 1)
		if altered == string(text) {
			m.t.Errorf("%s: nothing altered", name)
		}
		// The offsets in the trailer follow the text's length.
		fixed := bytes.Clone(trailer)
		for i := range 2 {
			at := len(altered) + 32*i
			copy(fixed[64+4*i:], []byte{byte(at >> 24), byte(at >> 16), byte(at >> 8), byte(at)})
		}
		wrong(name, append([]byte(altered), fixed...))
	}
	wrong("truncated", segment[:len(segment)-1])
	wrong("a-byte-more", append(bytes.Clone(segment), 0))
	offset := bytes.Clone(segment)
	offset[len(offset)-2] ^= 1
	wrong("trailer-offset", offset)
	digest := bytes.Clone(segment)
	digest[len(text)] ^= 1
	wrong("trailer-digest", digest)
	slices.SortFunc(list, func(a, b entryVector) int { return strings.Compare(a.Name, b.Name) })
	m.writeJSON("entries.json", list)
}

func (m *maker) makeRecords() {
	w := newWorld(m.t)
	h := w.newHost("stock", "stock-6.1/boot1/cut1")
	h.reboot(readFile(m.t, recordings+"stock-6.1/boot1/cut4/binary_runtime_measurements"))
	h.measure(119)
	h.seal(0)
	var list []recordVector
	enc := base64.StdEncoding.EncodeToString
	entry := enc(h.last.Marshal())
	for _, sealed := range []bool{false, true} {
		for i := range h.last.Count {
			p, err := audit.ProveRecord(h.last, bytes.NewReader(h.list[:h.sealed]), i, sealed)
			if err != nil {
				m.t.Fatal(err)
			}
			claim, _ := audit.CheckRecord(h.last, p)
			if claim == nil {
				m.t.Fatalf("record %d is refused", i)
			}
			if i != 0 && i != 17 && i != 118 && claim.Bound {
				continue
			}
			name := fmt.Sprintf("record-%d-sealed-%v", i, sealed)
			v := recordVector{Name: name, Segment: entry, Proof: enc(p.Marshal()), OK: true, Sealed: sealed, Bound: claim.Bound}
			list = append(list, v)
			if i == 17 {
				p.Index++
				v.Name, v.Proof, v.OK = name+"-at-another-index", enc(p.Marshal()), false
				list = append(list, v)
				p.Index--
				p.Record[len(p.Record)-2] ^= 1
				v.Name, v.Proof = name+"-altered", enc(p.Marshal())
				list = append(list, v)
			}
		}
	}
	m.writeJSON("records.json", list)
}
