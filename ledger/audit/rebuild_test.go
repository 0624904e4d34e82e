//go:build web

package audit_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// A fuzzKey signs quotes as an AK that the mutator owns.
type fuzzKey struct {
	public []byte // TPMT_PUBLIC
	name   []byte
	hash   crypto.Hash
	alg    uint16
	scheme uint16
	key    crypto.Signer
}

func fuzzKeys(t testing.TB) []*fuzzKey {
	random := rand.NewChaCha8([32]byte(seed("fuzz keys")))
	var keys []*fuzzKey
	for _, c := range []struct {
		curve elliptic.Curve
		id    uint16
		hash  crypto.Hash
		alg   uint16
	}{{elliptic.P256(), 3, crypto.SHA256, 0x0b}, {elliptic.P384(), 4, crypto.SHA384, 0x0c}, {elliptic.P256(), 3, crypto.SHA512, 0x0d}} {
		k, err := ecdsa.GenerateKey(c.curve, random)
		if err != nil {
			t.Fatal(err)
		}
		size := (c.curve.Params().BitSize + 7) / 8
		public := []byte{0, 0x23, 0, 0x0b, 0, 5, 4, 0x72, 0, 0, 0, 0x10, 0, 0x18, 0, byte(c.alg), 0, byte(c.id), 0, 0x10}
		for _, v := range []*big.Int{k.X, k.Y} {
			public = append(append(public, 0, byte(size)), v.FillBytes(make([]byte, size))...)
		}
		keys = append(keys, &fuzzKey{public: public, hash: c.hash, alg: c.alg, scheme: 0x18, key: k})
	}
	for _, scheme := range []uint16{0x14, 0x16} {
		k, err := rsa.GenerateKey(random, 2048)
		if err != nil {
			t.Fatal(err)
		}
		public := []byte{0, 1, 0, 0x0b, 0, 5, 4, 0x72, 0, 0, 0, 0x10, 0, byte(scheme), 0, 0x0b, 8, 0, 0, 0, 0, 0, 1, 0}
		keys = append(keys, &fuzzKey{public: append(public, k.N.FillBytes(make([]byte, 256))...), hash: crypto.SHA256, alg: 0x0b, scheme: scheme, key: k})
	}
	for _, k := range keys {
		sum := sha256.Sum256(k.public)
		k.name = append([]byte{0, 0x0b}, sum[:]...)
	}
	return keys
}

// sign makes a TPMT_SIGNATURE.
func (k *fuzzKey) sign(m *mutator, attest []byte) []byte {
	h := k.hash.New()
	h.Write(attest)
	random := rand.NewChaCha8([32]byte(seed(fmt.Sprint(m.rand.Uint64()))))
	out := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, k.scheme), k.alg)
	sized := func(b []byte) { out = append(binary.BigEndian.AppendUint16(out, uint16(len(b))), b...) }
	switch key := k.key.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(random, key, h.Sum(nil))
		if err != nil {
			m.t.Fatal(err)
		}
		size := (key.Curve.Params().BitSize + 7) / 8
		sized(r.FillBytes(make([]byte, size)))
		sized(s.FillBytes(make([]byte, size)))
	case *rsa.PrivateKey:
		var sig []byte
		var err error
		if k.scheme == 0x14 {
			sig, err = rsa.SignPKCS1v15(nil, key, k.hash, h.Sum(nil))
		} else {
			sig, err = rsa.SignPSS(random, key, k.hash, h.Sum(nil), &rsa.PSSOptions{SaltLength: m.rand.IntN(223)})
		}
		if err != nil {
			m.t.Fatal(err)
		}
		sized(sig)
	}
	return out
}

// textOf is an entry without its trailer.
func textOf(entry []byte) []byte {
	n := 1
	if len(entry) > 0 {
		n += 36 * int(entry[len(entry)-1])
	}
	return entry[:max(0, len(entry)-n)]
}

var addendum = regexp.MustCompile(`(?m)^(payload|evidence|report) [0-9]+ ([0-9a-f]{64})$|^anchor [0-9]+ [0-9a-f]{64} ([0-9a-f]{64})$`)

// retrailed puts the trailer behind a text that its lines demand.
func retrailed(text []byte) []byte {
	order := map[string][]byte{}
	for _, f := range addendum.FindAllSubmatch(text, -1) {
		if len(f[3]) > 0 {
			order["b anchor"] = f[3]
		} else {
			order["a "+string(f[1])] = f[2]
		}
	}
	out := bytes.Clone(text)
	var offsets []byte
	for _, k := range slices.Sorted(func(yield func(string) bool) {
		for k := range order {
			if !yield(k) {
				return
			}
		}
	}) {
		offsets = binary.BigEndian.AppendUint32(offsets, uint32(len(out)))
		raw, _ := hex.DecodeString(string(order[k]))
		out = append(out, raw...)
	}
	return append(append(out, offsets...), byte(len(order)))
}

// A draft is an entry that is to be made anew.
type draft struct {
	kind    string
	old     string // leaf hash, hex
	text    []byte // of a statement without signature lines
	payload []byte // nil where it is not at hand
	attest  []byte
	origin  string
	index   int
}

// rebuilt rewrites a bundle: what its entries say is altered, and all that depends
// on it is made anew, so that what is wrong is wrong at one place and deep.
func (m *mutator) rebuilt() question {
	b := pick(m, m.bundles)
	for len(b.files) == 0 || b.name == "log-split" {
		b = pick(m, m.bundles)
	}
	drafts := m.drafts(b)
	if len(drafts) == 0 {
		return m.file()
	}
	if m.oneIn(8) && len(drafts) > 1 {
		i := m.rand.IntN(len(drafts))
		if m.oneIn(2) {
			drafts = slices.Delete(drafts, i, i+1)
		} else {
			drafts = slices.Insert(drafts, i, drafts[m.rand.IntN(len(drafts))])
		}
	}
	if m.oneIn(8) {
		i, k := m.rand.IntN(len(drafts)), m.rand.IntN(len(drafts))
		drafts[i], drafts[k] = drafts[k], drafts[i]
	}
	what := b.name + ", made anew"
	altered := m.rand.IntN(len(drafts))
	n := m.rand.IntN(3)
	for i := range drafts {
		d := &drafts[i]
		d.text, d.payload, d.attest = bytes.Clone(d.text), slices.Clone(d.payload), slices.Clone(d.attest)
	}
	for range n {
		d := &drafts[altered]
		if d.payload != nil && m.oneIn(2) {
			d.payload = m.records1(d.payload)
			what += fmt.Sprintf("; the records of entry %d", altered)
		} else if d.attest != nil && m.oneIn(3) {
			m.counters(d.attest)
			what += fmt.Sprintf("; the counters of entry %d", altered)
		} else {
			d.text = m.textOnce(d.text)
			what += fmt.Sprintf("; the text of entry %d", altered)
		}
		if m.oneIn(3) {
			altered = m.rand.IntN(len(drafts))
		}
	}
	files := m.publish(drafts, b)
	var out bytes.Buffer
	if err := ledger.WriteBundle(&out, files); err != nil {
		return m.file()
	}
	return question{what, 'b', append([][]byte{out.Bytes()}, b.trust...)}
}

var indexLine = regexp.MustCompile(`(?m)^index ([0-9]{1,6})$`)

// drafts are a bundle's entries in the order of their indexes, log by log.
func (m *mutator) drafts(b loadedBundle) []draft {
	var list []draft
	for _, f := range b.files {
		if f.Folder != ledger.FolderLeaves {
			continue
		}
		name := fmt.Sprintf("%x", f.Hash)
		entry := b.body["leaves/"+name]
		e, err := ledger.ParseEntry(entry)
		if err != nil {
			continue
		}
		d := draft{old: name, text: textOf(entry), origin: e.LogOrigin(), index: 1 << 20}
		if at := indexLine.FindSubmatch(b.body["proofs/"+name]); at != nil {
			fmt.Sscan(string(at[1]), &d.index)
		}
		d.kind = strings.Split(string(entry), "/")[1]
		if s, ok := e.(*ledger.Segment); ok {
			d.payload, d.attest = b.body[fmt.Sprintf("payloads/%x", s.Payload.Digest)], s.Attest
		} else {
			d.text = d.text[:bytes.Index(d.text, []byte("\n\n"))+1]
		}
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b draft) int {
		if a.origin != b.origin {
			return -strings.Compare(a.origin, b.origin) // test before next
		}
		return a.index - b.index
	})
	return list
}

// records1 alters a list: a record, or their order.
func (m *mutator) records1(list []byte) []byte {
	var records [][]byte
	r := ima.NewReader(bytes.NewReader(list), ima.Format{Bank: ima.SHA1})
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		records = append(records, bytes.Clone(rec.Raw))
	}
	if len(records) == 0 {
		return m.bytes(list)
	}
	i := m.rand.IntN(len(records))
	switch m.rand.IntN(8) {
	case 0:
		records = slices.Delete(records, i, i+1)
	case 1:
		records = slices.Insert(records, i, records[i])
	case 2:
		k := m.rand.IntN(len(records))
		records[i], records[k] = records[k], records[i]
	case 3:
		records[i][0] = pick(m, []byte{10, 11, 0, 16, 17, 23, 24, 255})
	case 4:
		clear(records[i][4:24])
	case 5:
		records = records[:i]
	case 6:
		records[i] = m.bytes(records[i])
	default: // of boot_aggregate and its like
		at := m.rand.IntN(min(3, len(records)))
		records[at] = m.bytes(records[at])
	}
	return slices.Concat(records...)
}

// counters alters clock, counters and what else stands in a TPMS_ATTEST.
func (m *mutator) counters(attest []byte) {
	at := 6
	for range 2 { // qualifiedSigner, extraData
		if at+2 > len(attest) {
			return
		}
		at += 2 + int(binary.BigEndian.Uint16(attest[at:]))
	}
	if at+25 > len(attest) {
		return
	}
	field := attest[at+8 : at+12] // resetCount
	switch m.rand.IntN(5) {
	case 0:
		field = attest[at+12 : at+16]
	case 1:
		field = attest[at+4 : at+8] // of the clock
	case 2:
		attest[at+16] ^= byte(m.rand.IntN(3))
		return
	}
	binary.BigEndian.PutUint32(field, binary.BigEndian.Uint32(field)+uint32(m.rand.IntN(5))-2)
}

// A publisher makes a log anew.
type publisher struct {
	*mutator
	worlds  map[string]*world
	renamed map[string]string // leaf hashes, and digests of payloads
	files   []ledger.BundleSource
	hosts   map[string]*fuzzKey
	signers map[string]note.Signer
	entries []made
}

type made struct {
	w     *world
	index int
}

var hash64 = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

func (m *mutator) publish(drafts []draft, b loadedBundle) []ledger.BundleSource {
	p := &publisher{mutator: m, worlds: make(map[string]*world), renamed: make(map[string]string), hosts: make(map[string]*fuzzKey), signers: make(map[string]note.Signer)}
	for _, name := range []string{"registrar.example", "operator.example"} {
		p.signers[name], _ = noteSigner(m.t, name)
	}
	for _, f := range b.files {
		if f.Folder == ledger.FolderEvidence {
			p.keep(f.Folder, b.body[fmt.Sprintf("%s/%x", f.Folder, f.Hash)])
		}
	}
	for _, d := range drafts {
		p.add(d)
	}
	for _, e := range p.entries {
		if m.oneIn(200) {
			continue
		}
		leaf := e.w.leaves[e.index]
		p.files = append(p.files, ledger.SourceBytes(ledger.FolderProofs, e.w.proof(e.index), leaf))
	}
	seen := make(map[string]bool)
	return slices.DeleteFunc(p.files, func(f ledger.BundleSource) bool {
		name := fmt.Sprintf("%s/%x", f.Folder, f.Hash)
		defer func() { seen[name] = true }()
		return seen[name]
	})
}

func (p *publisher) keep(folder string, content []byte) {
	p.files = append(p.files, ledger.SourceBytes(folder, content, ledger.Hash{}))
}

func (p *publisher) world(name string) *world {
	if w := p.worlds[name]; w != nil {
		return w
	}
	w := newWorld(p.t)
	if name == nextOrigin {
		w.origin, w.log = nextOrigin, ed25519.NewKeyFromSeed(seed("next log"))
	}
	p.worlds[name] = w
	return w
}

// add makes an entry anew and puts it into its log.
func (p *publisher) add(d draft) {
	w := p.world(d.origin)
	if p.oneIn(4) {
		w.now = w.now.Add(time.Duration(p.rand.IntN(40)) * 24 * time.Hour)
	}
	text := hash64.ReplaceAllFunc(d.text, func(h []byte) []byte {
		if to, ok := p.renamed[string(h)]; ok && !p.oneIn(100) {
			return []byte(to)
		}
		return h
	})
	switch d.kind {
	case "segment":
		text = p.segment(w, d, text)
	case "enrolment":
		text = p.sign(p.enrolment(text), "registrar.example")
	default:
		text = p.sign(text, "operator.example")
	}
	entry := retrailed(text)
	if p.oneIn(100) {
		entry = p.bytes(entry)
	}
	leaf := w.add(entry)
	p.renamed[d.old] = fmt.Sprintf("%x", leaf)
	p.files = append(p.files, ledger.SourceBytes(ledger.FolderLeaves, entry, ledger.Hash{}))
	p.entries = append(p.entries, made{w, len(w.leaves) - 1})
}

// sign adds a signature line to a text.
func (p *publisher) sign(text []byte, by string) []byte {
	if p.oneIn(60) {
		by = pick(p.mutator, []string{"registrar.example", "operator.example"})
	}
	signed, err := note.Sign(&note.Note{Text: string(text)}, p.signers[by])
	if err != nil {
		return append(text, "\n— nobody.example AAAAAAAA\n"...)
	}
	return signed
}

var hostLine = regexp.MustCompile(`(?m)^host (\S+)$`)

// key is the AK of the host that a text names.
func (p *publisher) key(text []byte) *fuzzKey {
	host := ""
	if f := hostLine.FindSubmatch(text); f != nil {
		host = string(f[1])
	}
	if p.hosts[host] == nil {
		p.hosts[host] = pick(p.mutator, p.keys)
	}
	return p.hosts[host]
}

var (
	akLine       = regexp.MustCompile(`(?m)^ak [0-9a-f]+$`)
	publicLine   = regexp.MustCompile(`(?m)^ak-public \S+$`)
	anchorLine   = regexp.MustCompile(`(?m)^anchor .*$`)
	payloadLine  = regexp.MustCompile(`(?m)^payload .*$`)
	recordsLine  = regexp.MustCompile(`(?m)^records .*$`)
	countLine    = regexp.MustCompile(`(?m)^count .*$`)
	quoteLine    = regexp.MustCompile(`(?m)^quote \S+$`)
	sigLine      = regexp.MustCompile(`(?m)^signature \S+$`)
	registerLine = regexp.MustCompile(`(?m)^(base|end|other) ([a-z0-9_]+):([0-9]+) ([0-9a-f]+)$`)
	styleLine    = regexp.MustCompile(`(?m)^style ([a-z0-9_]+) (\S+)$`)
)

func set(text []byte, line *regexp.Regexp, format string, args ...any) []byte {
	return line.ReplaceAllLiteral(text, fmt.Appendf(nil, format, args...))
}

func (p *publisher) enrolment(text []byte) []byte {
	if p.oneIn(30) {
		return text
	}
	k := p.key(text)
	public := k.public
	if p.oneIn(20) {
		public = p.bytes(public)
	}
	text = set(text, akLine, "ak %x", k.name)
	return set(text, publicLine, "ak-public %s", base64.StdEncoding.EncodeToString(public))
}

// segment makes anchor, payload, body and quote of a segment anew.
func (p *publisher) segment(w *world, d draft, text []byte) []byte {
	k := p.key(text)
	text = set(text, akLine, "ak %x", k.name)
	if size := len(w.leaves) - p.rand.IntN(2)*p.rand.IntN(2); size >= 0 && !p.oneIn(40) {
		anchor := w.checkpoint(size)
		if p.oneIn(30) {
			anchor = p.text(anchor)
		}
		p.keep(ledger.FolderAnchors, anchor)
		root := sha256.Sum256(nil)
		if size > 0 {
			root = treeRoot(w.leaves[:size])
		}
		text = set(text, anchorLine, "anchor %d %x %x", size, root, sha256.Sum256(anchor))
	}
	if d.payload != nil {
		p.keep(ledger.FolderPayloads, d.payload)
		if !p.oneIn(20) {
			text = p.body(text, d.payload)
		}
	}
	attest := d.attest
	if !p.oneIn(30) {
		attest = p.quote(k, text, attest)
	}
	signature := k.sign(p.mutator, attest)
	if p.oneIn(30) {
		signature = p.bytes(signature)
	}
	text = set(text, quoteLine, "quote %s", base64.StdEncoding.EncodeToString(attest))
	return set(text, sigLine, "signature %s", base64.StdEncoding.EncodeToString(signature))
}

// body recomputes what follows from the records.
func (p *publisher) body(text, payload []byte) []byte {
	digest := sha256.Sum256(payload)
	if old := payloadLine.Find(text); old != nil {
		p.renamed[string(hash64.Find(old))] = fmt.Sprintf("%x", digest)
	}
	text = set(text, payloadLine, "payload %d %x", len(payload), digest)
	values := make(map[string][]byte)
	for _, f := range registerLine.FindAllSubmatch(text, -1) {
		if string(f[1]) == "base" {
			values[string(f[2])+":"+string(f[3])], _ = hex.DecodeString(string(f[4]))
		}
	}
	tree, count := ledger.NewRecordTree(), 0
	r := ima.NewReader(bytes.NewReader(payload), ima.Format{Bank: ima.SHA1, Order: ima.LittleEndian})
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		tree.Add(rec.Raw)
		count++
		if !ima.Attestable(rec.PCR) {
			continue
		}
		for _, s := range styleLine.FindAllSubmatch(text, -1) {
			bank, err := ima.ParseBank(string(s[1]))
			name := fmt.Sprintf("%s:%d", s[1], rec.PCR)
			style := slices.Index([]string{"digest", "padded", "padded-ff"}, string(s[2]))
			if err != nil || values[name] == nil || style < 0 || !bank.Available() {
				continue
			}
			h := bank.New()
			h.Write(values[name])
			h.Write(rec.Sum(bank, ima.Style(style)))
			values[name] = h.Sum(nil)
		}
	}
	if root, err := tree.Root(); err == nil && !p.oneIn(30) {
		text = set(text, recordsLine, "records %x", root)
	}
	if !p.oneIn(30) {
		text = set(text, countLine, "count %d", count)
	}
	if p.oneIn(10) {
		return text
	}
	return registerLine.ReplaceAllFunc(text, func(line []byte) []byte {
		f := registerLine.FindSubmatch(line)
		if v := values[string(f[2])+":"+string(f[3])]; string(f[1]) == "end" && v != nil {
			return fmt.Appendf(nil, "end %s:%s %x", f[2], f[3], v)
		}
		return line
	})
}

var bankIDs = map[string]uint16{"sha1": 4, "sha256": 0xb, "sha384": 0xc, "sha512": 0xd, "sm3_256": 0x12, "sha3_256": 0x27, "sha3_384": 0x28, "sha3_512": 0x29}

// quote makes a TPMS_ATTEST over the registers that a text states.
func (p *publisher) quote(k *fuzzKey, text, old []byte) []byte {
	qualified := sha256.Sum256(append([]byte{0x40, 0, 0, 0x0b}, k.name...))
	head := text
	if at := anchorLine.FindIndex(text); at != nil {
		head = text[:at[1]+1]
	}
	nonce := sha256.Sum256(head)
	out := []byte{0xff, 0x54, 0x43, 0x47, 0x80, 0x18, 0, 34, 0, 0x0b}
	out = append(append(append(out, qualified[:]...), 0, 32), nonce[:]...)
	at := 6
	for range 2 {
		if at+2 <= len(old) {
			at += 2 + int(binary.BigEndian.Uint16(old[at:]))
		}
	}
	if at+25 > len(old) {
		return old
	}
	out = append(out, old[at:at+25]...)
	type slot struct {
		bank  uint16
		index int
		value []byte
	}
	var slots []slot
	for _, f := range registerLine.FindAllSubmatch(text, -1) {
		if string(f[1]) == "base" {
			continue
		}
		s := slot{bank: bankIDs[string(f[2])]}
		fmt.Sscan(string(f[3]), &s.index)
		s.value, _ = hex.DecodeString(string(f[4]))
		slots = append(slots, s)
	}
	slices.SortStableFunc(slots, func(a, b slot) int {
		if a.bank != b.bank {
			return int(a.bank) - int(b.bank)
		}
		return a.index - b.index
	})
	h := k.hash.New()
	var selection []byte
	banks := 0
	for i, s := range slots {
		h.Write(s.value)
		if i == 0 || slots[i-1].bank != s.bank {
			selection = append(binary.BigEndian.AppendUint16(selection, s.bank), 3, 0, 0, 0)
			banks++
		}
		if s.index < 24 {
			selection[len(selection)-3+s.index/8] |= 1 << (s.index % 8)
		}
	}
	out = append(binary.BigEndian.AppendUint32(out, uint32(banks)), selection...)
	sum := h.Sum(nil)
	return append(binary.BigEndian.AppendUint16(out, uint16(len(sum))), sum...)
}
