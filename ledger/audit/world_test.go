package audit_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/tpm"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

const recordings = "../../tpm/ima/testdata/recordings/"

const origin = "log.example/test"

// A world is a log with its witnesses, registrar and operator, all in memory,
// with keys that are the same in every run.
type world struct {
	t                   testing.TB
	rand                io.Reader
	log                 ed25519.PrivateKey
	origin              string // of the log
	witnesses           []ed25519.PrivateKey
	registrar, operator note.Signer
	policy, rules       string
	trust               *ledger.Trust
	now                 time.Time
	skew                time.Duration // of the TPMs' clocks
	entries             [][]byte
	leaves              []ledger.Hash
	sources             []ledger.BundleSource // addenda
	cosigners           int                   // how many witnesses cosign, of 3
	forked              map[int][]ledger.Hash // other trees, by the entry that is proven in each
}

func seed(name string) []byte { s := sha256.Sum256([]byte(name)); return s[:] }

func vkey(typ byte, name string, key ed25519.PrivateKey) (string, uint32) {
	raw := append([]byte{typ}, key.Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte(name+"\n"), raw...))
	id := binary.BigEndian.Uint32(sum[:])
	return fmt.Sprintf("%s+%08x+%s", name, id, base64.StdEncoding.EncodeToString(raw)), id
}

func noteSigner(t testing.TB, name string) (note.Signer, string) {
	skey, vkey, err := note.GenerateKey(bytes.NewReader(seed(name)), name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return s, vkey
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, origin: origin, now: time.Unix(1_800_000_000, 0), cosigners: 3, rand: rand.NewChaCha8([32]byte(seed("tpm")))}
	w.log = ed25519.NewKeyFromSeed(seed("log"))
	logKey, _ := vkey(1, origin, w.log)
	w.policy = "log " + logKey + "\n"
	for i := range 3 {
		k := ed25519.NewKeyFromSeed(seed(fmt.Sprint("witness", i)))
		w.witnesses = append(w.witnesses, k)
		v, _ := vkey(4, witnessName(i), k)
		w.policy += fmt.Sprintf("witness w%d %s\n", i, v)
	}
	w.policy += "group any2 2 w0 w1 w2\nquorum any2\n"
	var r, o string
	w.registrar, r = noteSigner(t, "registrar.example")
	w.operator, o = noteSigner(t, "operator.example")
	w.rules = "imaledger/trust/v1\nregistrar " + r + "\nregistrars 1\noperator " + o + "\ngrade certificate\ngrade pinned\ngrade software because these are tests\n"
	w.setTrust()
	return w
}

func (w *world) setTrust() {
	w.t.Helper()
	root, err := os.ReadFile(recordings + "tpm-vendor-root.pem")
	if err != nil {
		w.t.Fatal(err)
	}
	if w.trust, err = ledger.ParseTrust([]byte(w.policy), []byte(w.rules), root); err != nil {
		w.t.Fatal(err)
	}
}

func witnessName(i int) string { return fmt.Sprintf("witness%d.example", i) }

// checkpoint signs and cosigns the log's tree of the given size. The witnesses'
// clocks differ by a second each.
func (w *world) checkpoint(size int) []byte {
	return w.sign(w.leaves[:size])
}

func (w *world) sign(leaves []ledger.Hash) []byte {
	root := sha256.Sum256(nil)
	if len(leaves) > 0 {
		root = treeRoot(leaves)
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", w.origin, len(leaves), base64.StdEncoding.EncodeToString(root[:]))
	_, id := vkey(1, w.origin, w.log)
	b := text + "\n" + line(w.origin, id, ed25519.Sign(w.log, []byte(text)))
	for i := range w.cosigners {
		at := uint64(w.now.Unix()) + uint64(i)
		_, id := vkey(4, witnessName(i), w.witnesses[i])
		sig := ed25519.Sign(w.witnesses[i], fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text))
		b += line(witnessName(i), id, append(binary.BigEndian.AppendUint64(nil, at), sig...))
	}
	return []byte(b)
}

func line(name string, id uint32, sig []byte) string {
	return fmt.Sprintf("— %s %s\n", name, base64.StdEncoding.EncodeToString(append(binary.BigEndian.AppendUint32(nil, id), sig...)))
}

func treeRoot(leaves []ledger.Hash) ledger.Hash {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	l, r := treeRoot(leaves[:k]), treeRoot(leaves[k:])
	return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
}

// add puts an entry into the log, a minute after the one before.
func (w *world) add(entry []byte) ledger.Hash {
	w.now = w.now.Add(time.Minute)
	w.entries = append(w.entries, entry)
	w.leaves = append(w.leaves, ledger.LeafHash(entry))
	return w.leaves[len(w.leaves)-1]
}

func (w *world) keep(folder string, content []byte) {
	w.sources = append(w.sources, ledger.SourceBytes(folder, content, ledger.Hash{}))
}

// proof proves entry i in the whole log, or in the tree that it has in forked.
func (w *world) proof(i int) []byte {
	leaves, index := w.leaves, i
	if fork := w.forked[i]; fork != nil {
		leaves, index = fork, slices.Index(fork, w.leaves[i])
	}
	path, err := ledger.RecordPath(leaves, uint64(index))
	if err != nil {
		w.t.Fatal(err)
	}
	p := ledger.Proof{Index: uint64(index), Hashes: path, Checkpoint: w.sign(leaves)}
	return p.Marshal()
}

// bundle makes a bundle of the entries for which keep is true, and of their
// addenda; nil keeps all.
func (w *world) bundle(keep func(i int, e ledger.Entry) bool) []byte {
	w.t.Helper()
	return w.write(w.files(keep))
}

// files are a bundle's.
func (w *world) files(keep func(i int, e ledger.Entry) bool) []ledger.BundleSource {
	w.t.Helper()
	var sources []ledger.BundleSource
	needed := make(map[ledger.Hash]bool)
	for i, raw := range w.entries {
		e, err := ledger.ParseEntry(raw)
		if err != nil {
			w.t.Fatal(err)
		}
		if keep != nil && !keep(i, e) {
			continue
		}
		for _, h := range e.Addenda() {
			needed[h] = true
		}
		sources = append(sources, ledger.SourceBytes(ledger.FolderLeaves, raw, ledger.Hash{}), ledger.SourceBytes(ledger.FolderProofs, w.proof(i), w.leaves[i]))
	}
	for _, s := range w.sources {
		if needed[s.Hash] {
			sources = append(sources, s)
		}
	}
	return sources
}

func (w *world) write(sources []ledger.BundleSource) []byte {
	w.t.Helper()
	var b bytes.Buffer
	if err := ledger.WriteBundle(&b, sources); err != nil {
		w.t.Fatal(err)
	}
	return b.Bytes()
}

func (w *world) check(raw []byte) *audit.Report {
	w.t.Helper()
	b, err := ledger.OpenBundle(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := audit.CheckBundle(w.trust, b)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// A host is a machine of a world: registers, a list, and its chain.
type host struct {
	w        *world
	name     string
	tpm      *tpm.Software
	ak       *quote.AK
	list     []byte // of the boot
	sealed   int    // bytes of it in segments
	extended int    // bytes of it in registers
	sequence uint64
	head     ledger.Hash
	last     *ledger.Segment
	segments int
	// alter changes a segment after it was made; the records stay.
	alter func(*ledger.Segment)
	input func(*agentInput) // has a hand in what the segment is made of
	// anchor changes what the head says of its anchor, before the quote.
	anchor func(*ledger.Anchor)
}

// newHost enrols a machine whose firmware is that of a recording.
func (w *world) newHost(name, recording string) *host {
	w.t.Helper()
	s, err := tpm.NewSoftware(w.rand, func() time.Time { return w.now.Add(w.skew) })
	if err != nil {
		w.t.Fatal(err)
	}
	h := &host{w: w, name: name, tpm: s}
	s.Firmware = firmware(w.t, recording)
	s.Reset()
	public, err := s.AK()
	if err != nil {
		w.t.Fatal(err)
	}
	if h.ak, err = quote.ParseAK(public); err != nil {
		w.t.Fatal(err)
	}
	evidence := (&ledger.EnrolmentEvidence{}).Marshal()
	w.keep(ledger.FolderEvidence, evidence)
	h.enrol(&ledger.Enrolment{
		AK: ledger.Name(h.ak.Name), AKPublic: public, Grade: ledger.GradeSoftware, Evidence: (&ledger.EnrolmentEvidence{}).Addendum(),
	})
	return h
}

func (h *host) enrol(e *ledger.Enrolment) {
	h.w.t.Helper()
	e.Log, e.Host, e.Sequence, e.Previous = h.w.origin, h.name, h.sequence, h.head
	if err := ledger.Sign(e, h.w.registrar); err != nil {
		h.w.t.Fatal(err)
	}
	h.head = h.w.add(e.Marshal())
	h.sequence++
}

// firmware reads PCR 0 to 9 of a recording.
func firmware(t testing.TB, recording string) ima.Values {
	var file struct{ PCRs map[string]map[string]string }
	if err := json.Unmarshal(readFile(t, recordings+recording+"/pcrs.json"), &file); err != nil {
		t.Fatal(err)
	}
	v := make(ima.Values)
	for name, pcrs := range file.PCRs {
		bank, err := ima.ParseBank(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			if v[ima.Slot{Bank: bank, PCR: i}], err = hex.DecodeString(pcrs[strconv.Itoa(i)]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return v
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		f, ferr := os.Open(name + ".gz")
		if ferr != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, zerr := gzip.NewReader(f)
		if zerr != nil {
			t.Fatal(zerr)
		}
		b, err = io.ReadAll(z)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// otherKey gives the machine another AK, in a TPM with the same registers and
// counters.
func (h *host) otherKey() {
	h.w.t.Helper()
	first := true
	s, err := tpm.NewSoftware(h.w.rand, func() time.Time {
		if first {
			first = false
			return h.w.now.Add(-24 * time.Hour) // its clock has gone on as long as the other's, at least
		}
		return h.w.now
	})
	if err != nil {
		h.w.t.Fatal(err)
	}
	q, err := quote.Parse(h.last.Attest)
	if err != nil {
		h.w.t.Fatal(err)
	}
	s.Firmware = h.tpm.Firmware
	for range q.ResetCount - 1 {
		s.Reset()
	}
	public, err := s.AK()
	if err != nil {
		h.w.t.Fatal(err)
	}
	if h.ak, err = quote.ParseAK(public); err != nil {
		h.w.t.Fatal(err)
	}
	h.tpm = s
	replayOnto(h)
}

// pinned is an enrolment of the host's AK beside the EK of a recording.
func pinned(h *host, recording string) *ledger.Enrolment {
	h.w.t.Helper()
	ek := readFile(h.w.t, recordings+recording+"/identity/ek.tpmt_public")
	evidence := &ledger.EnrolmentEvidence{EKPublic: ek, Activations: []ledger.Activation{{Credential: []byte("credential"), Secret: []byte("secret")}}}
	h.w.keep(ledger.FolderEvidence, evidence.Marshal())
	e := enrolmentOf(h)
	e.Grade, e.EK, e.Evidence = ledger.GradePinned, ekName(h.w.t, ek), evidence.Addendum()
	return e
}

func (h *host) reboot(list []byte) {
	h.tpm.Reset()
	h.list, h.sealed, h.extended = list, 0, 0
}

// measure extends the registers with the next n records of the list.
func (h *host) measure(n int) {
	h.w.t.Helper()
	r := ima.NewReader(bytes.NewReader(h.list[h.extended:]), ima.Format{Bank: ima.SHA1})
	for range n {
		rec, err := r.Next()
		if err != nil {
			h.w.t.Fatal(err)
		}
		h.extended += len(rec.Raw)
		if !ima.Attestable(rec.PCR) {
			continue
		}
		err = h.tpm.Extend(int(rec.PCR), map[ima.Bank][]byte{ima.SHA1: rec.Sum(ima.SHA1, ima.StyleDigest), ima.SHA256: rec.Sum(ima.SHA256, ima.StyleDigest)})
		if err != nil {
			h.w.t.Fatal(err)
		}
	}
}

var selection = ima.Selection{{Bank: ima.SHA1, PCRs: []int{10, 11}}, {Bank: ima.SHA256, PCRs: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}}}

// seal quotes, reads the list with as many records more as are given, and puts
// the segment into the log.
func (h *host) seal(excess int) ledger.Hash {
	h.w.t.Helper()
	s := h.assemble(excess, selection)
	if h.alter != nil {
		h.alter(s)
	}
	return h.submit(s)
}

func (h *host) assemble(excess int, selection ima.Selection) *ledger.Segment {
	h.w.t.Helper()
	anchor := h.w.checkpoint(len(h.w.leaves))
	h.w.keep(ledger.FolderAnchors, anchor)
	h.w.now = h.w.now.Add(time.Minute)
	c, err := ledger.ParseCheckpoint(anchor)
	if err != nil {
		h.w.t.Fatal(err)
	}
	head := ledger.Head{
		Log: h.w.origin, Host: h.name, AK: ledger.Name(h.ak.Name), Sequence: h.sequence, Previous: h.head,
		Anchor: ledger.Anchor{Size: c.Size, Root: c.Root, Note: sha256.Sum256(anchor)},
	}
	if h.anchor != nil {
		h.anchor(&head.Anchor)
	}
	nonce := head.Nonce()
	attest, signature, err := h.tpm.Quote(nonce[:], selection)
	if err != nil {
		h.w.t.Fatal(err)
	}
	known, err := h.tpm.ReadPCRs(selection)
	if err != nil {
		h.w.t.Fatal(err)
	}
	h.measure(excess)
	in := agent.Input{
		Head: head, Attest: attest, Signature: signature, Hash: ima.Bank(h.ak.HashAlg), Format: ima.Format{Bank: ima.SHA1},
		List: bytes.NewReader(h.list[h.sealed:h.extended]), Known: known, Previous: h.last,
	}
	if h.input != nil {
		h.input(&in)
	}
	s, err := agent.Assemble(in)
	if err != nil {
		h.w.t.Fatal(err)
	}
	h.w.keep(ledger.FolderPayloads, h.list[h.sealed:h.sealed+int(s.Payload.Size)])
	return s
}

func (h *host) submit(s *ledger.Segment) ledger.Hash {
	h.sealed += int(s.Payload.Size)
	h.head, h.last = h.w.add(s.Marshal()), s
	h.sequence++
	h.segments++
	return h.head
}

type agentInput = agent.Input

// assembleAs makes a segment from an input that play has a hand in.
func (h *host) assembleAs(play func(*agentInput)) *ledger.Segment {
	h.w.t.Helper()
	h.input = play
	defer func() { h.input = nil }()
	return h.assemble(0, selection)
}

// replayOnto extends the registers with what the host's segments hold.
func replayOnto(h *host) {
	end := h.extended
	h.extended = 0
	for h.extended < end {
		h.measure(1)
	}
}

// baseOf returns what a segment's registers ended with.
func baseOf(s *ledger.Segment) ima.Values {
	v := make(ima.Values)
	for _, p := range s.End {
		v[ima.Slot{Bank: ima.Bank(p.Bank.Alg()), PCR: p.Index}] = p.Value
	}
	return v
}

// baseFrom returns what PCR 10 has now.
func baseFrom(h *host) ima.Values {
	v, err := h.tpm.ReadPCRs(ima.Selection{{Bank: ima.SHA1, PCRs: []int{10}}, {Bank: ima.SHA256, PCRs: []int{10}}})
	if err != nil {
		h.w.t.Fatal(err)
	}
	return v
}

func segmentAt(t testing.TB, w *world, i int) *ledger.Segment {
	s, err := ledger.ParseSegment(w.entries[i])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func derOf(t testing.TB, b []byte) []byte {
	der, err := quote.TrimCertificate(b)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func pemOf(t testing.TB, name string) []byte {
	block, _ := pem.Decode(readFile(t, recordings+name))
	return block.Bytes
}

func ekName(t testing.TB, public []byte) ledger.Name {
	ek, err := quote.ParseEK(public)
	if err != nil {
		t.Fatal(err)
	}
	return ledger.Name(ek.Name)
}

// link returns where an entry stands in its host's chain.
func link(e ledger.Entry) (host string, sequence uint64) {
	if h, ok := e.(ledger.HostEntry); ok {
		host, sequence, _ = h.Link()
	}
	return host, sequence
}
